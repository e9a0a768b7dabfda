//! Numbers of table slots, which rest between two uses.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::time::Timestamp;

/// How long a slot rests after it was taken out of the table. A program that found it before runs for microseconds;
/// a second is far beyond any preemption, so no reader ever sees a slot change hands.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// Hands out the numbers of a range, each to one holder at a time.
#[derive(Debug)]
pub(crate) struct Numbers {
    fresh: Range<u32>,
    resting: VecDeque<(Timestamp, u32)>,
}

impl Numbers {
    /// All numbers of the range are free.
    pub(crate) fn new(range: Range<u32>) -> Self {
        Self { fresh: range, resting: VecDeque::new() }
    }

    /// A number, or `None` while all are held or resting. Rested ones first: their memory is in use already.
    pub(crate) fn take(&mut self, now: Timestamp) -> Option<u32> {
        if self.resting.front().is_some_and(|&(since, _)| now.since(since) >= REST) {
            return self.resting.pop_front().map(|(_, n)| n);
        }
        self.fresh.next()
    }

    /// Takes back a number that nothing names any more.
    pub(crate) fn give_back(&mut self, number: u32, now: Timestamp) {
        self.resting.push_back((now, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_given_back_is_not_handed_out_before_it_has_rested() {
        let start = Timestamp(5_000_000_000);
        let mut numbers = Numbers::new(1..3);
        assert_eq!(numbers.take(start), Some(1));
        assert_eq!(numbers.take(start), Some(2));
        numbers.give_back(1, start);
        assert_eq!(numbers.take(start + (REST - Duration::from_nanos(1))), None);
        assert_eq!(numbers.take(start + REST), Some(1));
        assert_eq!(numbers.take(start + REST), None);
    }
}
