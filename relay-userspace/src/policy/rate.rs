//! Rates, and the token buckets that hold to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relay_common::meter::{Cost, Limit};

use crate::time::Timestamp;

/// So many units in so much time, and so many at once after a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    units: u64,
    period: u64,
    limit: Limit,
}

impl Rate {
    /// `units` in each `period`; `burst` of them at once, when nothing was taken for long enough. None of the three may
    /// be zero, a unit may take up to four hours, and a single [`Bucket::take`] of more than `burst` units always fails.
    pub const fn new(units: u64, period: Duration, burst: u64) -> Self {
        let nanos = period.as_nanos();
        assert!(units > 0 && nanos > 0 && burst > 0, "a rate of nothing is no rate");
        let cost = cost(nanos, units);
        let time = saturate(burst as u128 * nanos / units as u128);
        // The cost is rounded up by less than a part in four million: what is as large as the burst must pass all the same.
        let least = cost.of(burst);
        let burst = if time < least { least } else { time };
        Self { units, period: saturate(nanos), limit: Limit { cost, burst } }
    }

    /// Units in each second, rounded down.
    pub fn per_second(&self) -> u64 {
        (u128::from(self.units) * 1_000_000_000 / u128::from(self.period)) as u64
    }

    /// As a meter holds it.
    pub const fn limit(&self) -> Limit {
        self.limit
    }
}

/// What a unit costs where `units` take so many nanoseconds, to as many bits as there are.
const fn cost(nanos: u128, units: u64) -> Cost {
    let mut shift = Cost::MOST_SHIFT;
    loop {
        let mantissa = (nanos << shift).div_ceil(units as u128);
        if mantissa < 1 << Cost::MANTISSA_BITS {
            return Cost::new(mantissa as u64, shift);
        }
        assert!(shift > 0, "a unit in more than four hours is no rate");
        shift -= 1;
    }
}

/// Short of the end of the clock by so much that nothing added to a bucket goes round it.
const fn saturate(nanos: u128) -> u64 {
    if nanos > 1 << 62 { 1 << 62 } else { nanos as u64 }
}

/// A token bucket in one word: the time at which it will be full again (the generic cell rate algorithm of ATM, where
/// that is the theoretical arrival time). It has no rate of its own, so a reload changes the rate of every bucket at
/// once, and no timer. Any number of threads may take from it without a lock.
#[derive(Default, Debug)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes `units`, or nothing.
    pub fn take(&self, rate: &Rate, now: Timestamp, units: u64) -> bool {
        rate.limit.take(&self.0, now.0, units)
    }

    /// When nothing is owed any more, and the bucket may be forgotten.
    pub fn full_at(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    /// A bucket as everybody imagines it: tokens drip in until it is full. Tokens are counted in parts of
    /// `1 / period`, so that nothing is rounded.
    struct Model {
        rate: Rate,
        full: u128,
        level: u128,
        at: u64,
    }

    impl Model {
        fn new(rate: Rate, burst: u64) -> Self {
            let full = u128::from(burst) * u128::from(rate.period);
            Self { rate, full, level: full, at: START.0 }
        }

        fn take(&mut self, now: Timestamp, units: u64) -> bool {
            let dripped = u128::from(now.0 - self.at) * u128::from(self.rate.units);
            (self.level, self.at) = ((self.level + dripped).min(self.full), now.0);
            let cost = u128::from(units) * u128::from(self.rate.period);
            let fits = cost <= self.level;
            if fits {
                self.level -= cost;
            }
            fits
        }
    }

    #[test]
    fn a_burst_passes_then_the_rate_does() {
        let rate = Rate::new(10, Duration::from_secs(1), 3);
        let bucket = Bucket::default();
        let at = |millis| START + Duration::from_millis(millis);
        let take = |millis| bucket.take(&rate, at(millis), 1);
        assert_eq!([take(0), take(0), take(0), take(0)], [true, true, true, false]);
        assert_eq!([take(99), take(100), take(100), take(199), take(200)], [false, true, false, false, true]);
        assert_eq!([take(9_000); 1], [true]);
        assert_eq!([take(9_000), take(9_000), take(9_000)], [true, true, false]);
    }

    #[test]
    fn no_more_than_the_burst_passes_whatever_the_number_of_threads() {
        let rate = Rate::new(1, Duration::from_secs(1), 1_000);
        let bucket = Bucket::default();
        let taken: u64 = std::thread::scope(|scope| {
            let taker = || (0..1_000).filter(|_| bucket.take(&rate, START, 1)).count() as u64;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(taker)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000);
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
        // Pauses of all sizes, from none to longer than any bucket takes to fill.
        let pause = prop_oneof![Just(0_u64), 0..1_000_u64, 0..2_000_000_u64, 0..5_000_000_000_u64];
        prop::collection::vec((pause, 0..100_u64), 1..200)
    }

    proptest! {
        /// Where a unit takes a whole number of nanoseconds, the word and the imagined bucket agree to the last unit.
        #[test]
        fn it_does_what_a_bucket_with_tokens_does(
            units in prop::sample::select(vec![1_u64, 2, 8, 1_000, 1_000_000, 1_000_000_000]),
            burst in 1..300_u64,
            steps in steps(),
        ) {
            let rate = Rate::new(units, Duration::from_secs(1), burst);
            let (bucket, mut model, mut now) = (Bucket::default(), Model::new(rate, burst), START);
            for (pause, units) in steps {
                now = now + Duration::from_nanos(pause);
                prop_assert_eq!(bucket.take(&rate, now, units), model.take(now, units));
            }
        }

        /// Whatever the rate, it is never exceeded by more than the rounding, a nanosecond's worth for each step.
        #[test]
        fn it_never_lets_through_more_than_burst_and_rate(
            units in 1..2_000_000_000_u64,
            burst in 1..300_u64,
            steps in steps(),
        ) {
            let rate = Rate::new(units, Duration::from_secs(1), burst);
            let (bucket, mut now, mut taken) = (Bucket::default(), START, 0);
            let slack = steps.len() as u128 + 1;
            for (pause, units) in steps {
                now = now + Duration::from_nanos(pause);
                if bucket.take(&rate, now, units) {
                    taken += units;
                }
            }
            let time = now.since(START).as_nanos() + slack;
            let most = u128::from(burst) + time * u128::from(units) / 1_000_000_000 + 1;
            prop_assert!(u128::from(taken) <= most, "{} of at most {}", taken, most);
        }
    }
}
