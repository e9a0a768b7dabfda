//! The sink's histogram of latencies.

use anyhow::Result;
use aya::Ebpf;
use relay_common::bench::traffic::{BUCKETS, most_of};

use super::tables::{Counted, counters};
use crate::figures::Latency;

/// How many packets took how long, by [bucket](relay_common::bench::traffic::bucket).
#[derive(Clone, Debug)]
pub(super) struct Histogram(Vec<u64>);

impl Counted for Histogram {
    fn of(ebpf: &Ebpf) -> Result<Self> {
        let counts = counters::<u64>(ebpf, "LATENCY")?;
        let sum = |bucket| Ok(counts.get(&bucket, 0)?.iter().sum());
        Ok(Self((0..BUCKETS).map(sum).collect::<Result<_>>()?))
    }

    fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().zip(&before.0).map(|(now, before)| now - before).collect())
    }
}

impl Histogram {
    /// `None` where nothing was measured.
    pub(super) fn latency(&self) -> Option<Latency> {
        Some(Latency { p50: self.within(500)?, p99: self.within(990)?, p999: self.within(999)? })
    }

    /// Within how many nanoseconds so many of a thousand packets arrived; at most 3 % more than it was.
    fn within(&self, of_thousand: u64) -> Option<u64> {
        let all: u64 = self.0.iter().sum();
        let wanted = (all * of_thousand).div_ceil(1000).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(most_of(bucket as u32))
    }
}

#[cfg(test)]
mod tests {
    use relay_common::bench::traffic::bucket;

    use super::*;

    #[test]
    fn percentiles_are_the_packets_own_latencies() {
        let mut histogram = Histogram(vec![0; BUCKETS as usize]);
        assert_eq!(histogram.latency(), None);
        for ns in 1..=100_000 {
            histogram.0[bucket(ns) as usize] += 1;
        }
        let latency = histogram.latency().unwrap();
        for (found, right) in [(latency.p50, 50_000), (latency.p99, 99_000), (latency.p999, 99_900)] {
            assert!((right..right + right / 32 + 1).contains(&found), "{found} for {right}");
        }
    }

    #[test]
    fn one_slow_packet_of_a_hundred_is_beyond_the_99th() {
        let mut histogram = Histogram(vec![0; BUCKETS as usize]);
        histogram.0[bucket(1_000) as usize] = 99;
        histogram.0[bucket(1_000_000) as usize] = 1;
        let Latency { p50, p99, p999 } = histogram.latency().unwrap();
        assert!(p50 < 1_100 && p99 < 1_100 && p999 >= 1_000_000, "{p50} {p99} {p999}");
    }
}
