//! Log lines that come as often as strangers, or the network, cause them, held to a rate (one [`Throttle`] for each kind of message).

use std::time::Duration;

use crate::time::Timestamp;

/// Lets a few messages through in every interval and counts the others.
#[derive(Debug)]
pub(crate) struct Throttle {
    most: u32,
    passed: u32,
    suppressed: u64,
    since: Timestamp,
}

const INTERVAL: Duration = Duration::from_secs(10);

impl Throttle {
    /// Lets `most` messages through in ten seconds.
    pub(crate) const fn new(most: u32) -> Self {
        Self { most, passed: 0, suppressed: 0, since: Timestamp(0) }
    }

    /// Whether a message may be logged now; if so, how many were not since the last one that was.
    pub(crate) fn pass(&mut self, now: Timestamp) -> Option<u64> {
        if now.since(self.since) >= INTERVAL {
            (self.since, self.passed) = (now, 0);
        }
        if self.passed == self.most {
            self.suppressed += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_is_held_to_its_rate_and_the_suppressed_are_counted() {
        let mut throttle = Throttle::new(2);
        let start = Timestamp(1_000_000_000_000);
        let logged: Vec<_> = (0..100).map(|_| throttle.pass(start)).collect();
        assert_eq!(logged[..3], [Some(0), Some(0), None]);
        assert_eq!(logged.iter().flatten().count(), 2);
        assert_eq!(throttle.pass(start + INTERVAL), Some(98));
        assert_eq!(throttle.pass(start + INTERVAL), Some(0));
        assert_eq!(throttle.pass(start + INTERVAL), None);
    }
}
