//! What became of the packets that XDP saw.

use aya::maps::{MapData, PerCpuArray};
use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::shared_map::Pod;

/// Packets and bytes by [`Reason`], indexed by its number.
pub type Totals = [Count; Reason::COUNT];

/// The program's counters, one set a CPU.
pub(super) struct Counters {
    map: PerCpuArray<MapData, Pod<Count>>,
}

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, Pod<Count>>) -> Self {
        Self { map }
    }

    /// The sums over all CPUs, since the program was loaded.
    pub(super) fn read(&self) -> Totals {
        std::array::from_fn(|reason| match self.map.get(&(reason as u32), 0) {
            Ok(values) => sum(values.iter().map(|v| v.0)),
            Err(error) => {
                tracing::warn!(%error, "the kernel did not tell a counter");
                Count::default()
            }
        })
    }
}

fn sum(counts: impl Iterator<Item = Count>) -> Count {
    counts.fold(Count::default(), |a, b| Count { packets: a.packets + b.packets, bytes: a.bytes + b.bytes })
}
