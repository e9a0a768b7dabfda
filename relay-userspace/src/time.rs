//! The one clock: nanoseconds of `CLOCK_MONOTONIC`, which the XDP program reads too.

use std::ops::Add;
use std::time::Duration;

/// A point in time, in nanoseconds of `CLOCK_MONOTONIC`. Deadlines in the XDP tables are in the same unit, so one
/// comparison serves the protocol core and the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The clock's reading now.
    pub fn now() -> Self {
        let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .expect("CLOCK_MONOTONIC exists on every Linux");
        Self(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
    }

    /// The time from `earlier` until this point, zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_clock_is_its_end_and_not_the_past() {
        // 2^64 ns and one more: cut to 64 bits it would be 1 ns.
        let beyond = Duration::from_nanos(u64::MAX) + Duration::from_nanos(2);
        assert_eq!(Timestamp(5) + beyond, Timestamp(u64::MAX));
        assert_eq!(Timestamp(5) + Duration::MAX, Timestamp(u64::MAX));
        assert_eq!(Timestamp(5) + Duration::from_nanos(2), Timestamp(7));
    }
}
