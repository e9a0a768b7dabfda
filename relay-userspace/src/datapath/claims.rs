//! Who has which record of the flow table. All shards claim from one bitmap without a lock, each as many as its share is, so
//! that a record can lie where its key's hash says whichever shard has the key.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::numbers::REST;
use crate::time::Timestamp;

/// A bit for each record: set while one has it, and while it rests.
#[derive(Debug)]
pub(super) struct Claims(Box<[AtomicU64]>);

impl Claims {
    /// Of so many records all but record 0, which is never used, are free.
    pub(super) fn new(records: u32) -> Self {
        let words: Box<[AtomicU64]> = (0..records.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)).collect();
        words[0].store(1, Ordering::Relaxed);
        if let (Some(last), beyond @ 1..) = (words.last(), records % u64::BITS) {
            last.fetch_or(u64::MAX << beyond, Ordering::Relaxed);
        }
        Self(words)
    }

    /// Claims `wanted` or, where another has it, one near it. `None` when none is free; also when others give back and claim
    /// at the same moment, each time behind the one who looks.
    fn claim(&self, wanted: u32) -> Option<u32> {
        let (first, bit) = ((wanted / u64::BITS) as usize, wanted % u64::BITS);
        if self.try_bit(first, bit) {
            return Some(wanted);
        }
        (first..self.0.len()).chain(0..first).find_map(|word| {
            loop {
                let free = !self.0[word].load(Ordering::Relaxed);
                if free == 0 {
                    return None;
                }
                let bit = free.trailing_zeros();
                if self.try_bit(word, bit) {
                    return Some(word as u32 * u64::BITS + bit);
                }
            }
        })
    }

    /// Acquire: what the last holder wrote to the record was written before.
    fn try_bit(&self, word: usize, bit: u32) -> bool {
        self.0[word].fetch_or(1 << bit, Ordering::Acquire) & 1 << bit == 0
    }

    fn release(&self, record: u32) {
        self.0[(record / u64::BITS) as usize].fetch_and(!(1 << (record % u64::BITS)), Ordering::Release);
    }
}

/// What a shard has of the records.
#[derive(Debug)]
pub(super) struct Share {
    /// How many it may have, those that rest among them.
    most: u32,
    held: u32,
    resting: VecDeque<(Timestamp, u32)>,
}

/// So many rested records are given back at a time: more than are taken, and not all that a thousand clients leave at once.
const BACK_AT_ONCE: usize = 2;

impl Share {
    /// A share of so many records. All shares together are no more than there are records.
    pub(super) fn new(most: u32) -> Self {
        Self { most, held: 0, resting: VecDeque::new() }
    }

    /// A record, `wanted` if it is free. `None` while all of the share are held or resting.
    pub(super) fn take(&mut self, claims: &Claims, wanted: u32, now: Timestamp) -> Option<u32> {
        for _ in 0..BACK_AT_ONCE {
            let rested = self.resting.pop_front_if(|&mut (since, _)| now.since(since) >= REST);
            let Some((_, record)) = rested else { break };
            claims.release(record);
            self.held -= 1;
        }
        if self.held == self.most {
            return None;
        }
        let record = claims.claim(wanted)?;
        self.held += 1;
        Some(record)
    }

    /// Takes back a record that nothing names any more.
    pub(super) fn give_back(&mut self, record: u32, now: Timestamp) {
        self.resting.push_back((now, record));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    const START: Timestamp = Timestamp(5_000_000_000);

    #[test]
    fn a_record_that_is_wanted_is_had_unless_another_has_it_or_it_rests() {
        let claims = Claims::new(200);
        let (mut one, mut other) = (Share::new(100), Share::new(99));
        assert_eq!(one.take(&claims, 130, START), Some(130));
        let beside = other.take(&claims, 130, START).expect("there are others");
        assert_ne!(beside, 130);
        one.give_back(130, START);
        let early = START + (REST - Duration::from_nanos(1));
        assert_ne!(one.take(&claims, 130, early), Some(130));
        // Its last holder gives it back when it takes the next.
        assert_eq!(one.take(&claims, 7, START + REST), Some(7));
        assert_eq!(other.take(&claims, 130, START + REST), Some(130));
    }

    #[test]
    fn every_record_but_the_first_is_handed_out_once() {
        for records in [2, 63, 64, 65, 128, 200] {
            let claims = Claims::new(records);
            let mut share = Share::new(records - 1);
            let had: HashSet<_> = (0..records).map_while(|_| share.take(&claims, 1, START)).collect();
            assert_eq!(had, (1..records).collect(), "of {records}");
        }
    }

    #[test]
    fn a_shard_has_no_more_than_its_share_and_others_have_theirs() {
        let claims = Claims::new(101);
        let mut shares = [Share::new(50), Share::new(50)];
        for share in &mut shares {
            let had: Vec<_> = (0..60).map_while(|_| share.take(&claims, 1, START)).collect();
            assert_eq!(had.len(), 50);
            had.into_iter().for_each(|record| share.give_back(record, START));
            assert_eq!(share.take(&claims, 1, START), None, "they rest");
        }
    }

    #[test]
    fn two_shards_that_claim_at_once_never_have_the_same() {
        let claims = Claims::new(1_025);
        let had = std::thread::scope(|scope| {
            let shard = || {
                let mut share = Share::new(512);
                (0..512).filter_map(|n| share.take(&claims, 1 + n % 7, START)).collect::<Vec<_>>()
            };
            let threads = [scope.spawn(shard), scope.spawn(shard)];
            threads.map(|thread| thread.join().expect("it does not panic")).concat()
        });
        assert_eq!(had.len(), 1_024);
        assert_eq!(had.into_iter().collect::<HashSet<_>>().len(), 1_024);
    }
}
