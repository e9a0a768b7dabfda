//! What became of the packets that XDP saw, on each interface and on all together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use aya::maps::{MapData, PerCpuArray};
use relay_common::interface::{SLOTS, counter};
use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::shared_map::Pod;

/// Packets and bytes by [`Reason`], indexed by its number.
pub type Totals = [Count; Reason::COUNT];

/// The program's counters, one set a slot and CPU. The program only adds; who a slot belongs to, and what it counted
/// for others before, is known here alone.
pub(super) struct Counters {
    /// What a slot holds, over all CPUs.
    slot: Box<dyn Fn(u32) -> Totals + Send + Sync>,
    owners: Mutex<BTreeMap<u32, Owner>>,
    /// Slots that ever had an owner, and slot 0: the others hold zeros, and reading one takes 40 system calls.
    used: AtomicU32,
}

/// An interface with a slot.
struct Owner {
    slot: u32,
    /// What the slot held when the interface got it.
    before: Totals,
}

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, Pod<Count>>) -> Self {
        Self::reading(move |slot| {
            Reason::ALL.map(|reason| match map.get(&counter(slot, reason), 0) {
                Ok(values) => sum(values.iter().map(|v| v.0)),
                Err(error) => {
                    tracing::warn!(%error, "the kernel did not tell a counter");
                    Count::default()
                }
            })
        })
    }

    fn reading(slot: impl Fn(u32) -> Totals + Send + Sync + 'static) -> Self {
        Self { slot: Box::new(slot), owners: Mutex::default(), used: AtomicU32::new(1) }
    }

    /// The sums over all interfaces, since the program was loaded: they never go back, whatever interfaces go.
    pub(super) fn read(&self) -> Totals {
        (0..self.used.load(Ordering::Relaxed))
            .map(|slot| (self.slot)(slot))
            .fold(ZERO, |a, b| pairwise(&a, &b, add))
    }

    /// What an interface counted since it has its slot; `None` for one without.
    pub(super) fn of(&self, ifindex: u32) -> Option<Totals> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let Owner { slot, before } = owners.get(&ifindex)?;
        Some(pairwise(&(self.slot)(*slot), before, subtract))
    }

    /// The slot of an interface, which gets one and counts from zero if it had none; 0 when all are taken.
    pub(super) fn open(&self, ifindex: u32) -> u32 {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(&ifindex) {
            return owner.slot;
        }
        let Some(slot) = (1..SLOTS).find(|slot| owners.values().all(|owner| owner.slot != *slot)) else {
            return 0;
        };
        self.used.fetch_max(slot + 1, Ordering::Relaxed);
        owners.insert(ifindex, Owner { slot, before: (self.slot)(slot) });
        slot
    }

    /// Lets others have the slot of an interface.
    pub(super) fn close(&self, ifindex: u32) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(&ifindex);
    }
}

const ZERO: Totals = [Count { packets: 0, bytes: 0 }; Reason::COUNT];

fn sum(counts: impl Iterator<Item = Count>) -> Count {
    counts.fold(Count::default(), add)
}

fn pairwise(a: &Totals, b: &Totals, with: impl Fn(Count, Count) -> Count) -> Totals {
    std::array::from_fn(|reason| with(a[reason], b[reason]))
}

fn add(a: Count, b: Count) -> Count {
    Count { packets: a.packets + b.packets, bytes: a.bytes + b.bytes }
}

fn subtract(a: Count, b: Count) -> Count {
    Count { packets: a.packets.saturating_sub(b.packets), bytes: a.bytes.saturating_sub(b.bytes) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    impl Counters {
        /// Where no program counts.
        pub(in crate::datapath) fn of_nothing() -> Self {
            Self::reading(|_| ZERO)
        }
    }

    #[test]
    fn an_interface_that_takes_over_a_slot_counts_from_zero_and_the_sum_goes_on() {
        let program = Arc::new(Mutex::new([ZERO; SLOTS as usize]));
        let read = program.clone();
        let counters = Counters::reading(move |slot| read.lock().unwrap()[slot as usize]);
        let count = |slot: u32, packets| {
            let counted = &mut program.lock().unwrap()[slot as usize][Reason::ToPeer as usize];
            *counted = add(*counted, Count { packets, bytes: 100 * packets });
        };
        let seen = |ifindex| counters.of(ifindex).map(|t| t[Reason::ToPeer as usize].packets);

        let slot = counters.open(5);
        assert_eq!((slot, counters.open(5), counters.open(6)), (1, 1, 2));
        count(slot, 10);
        count(2, 7);
        assert_eq!((seen(5), seen(6), seen(4)), (Some(10), Some(7), None));

        counters.close(5);
        assert_eq!((counters.open(9), seen(9), seen(5)), (slot, Some(0), None));
        count(slot, 3);
        count(0, 1);
        assert_eq!(counters.of(9).unwrap()[Reason::ToPeer as usize], Count { packets: 3, bytes: 300 });
        assert_eq!(counters.read()[Reason::ToPeer as usize].packets, 10 + 7 + 3 + 1);
    }
}
