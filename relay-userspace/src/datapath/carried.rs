//! What the bindings that are gone have carried, by allocation: a record is used again, its counts must not be lost.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use relay_common::tables::Count;

use super::Forwarded;
use super::flow_table::FlowTable;
use super::numbers::REST;
use crate::time::Timestamp;
use crate::turn::AllocationId;

/// How long after its removal a record is read for the second time: a program that had found it before runs for
/// microseconds, and counts at its end.
const LATE: Duration = Duration::from_millis(20);

const _: () = assert!(LATE.as_nanos() < REST.as_nanos());

/// The counts of one writer's removed bindings. An allocation has an entry from the first binding that it lost until it ends.
#[derive(Default)]
pub(super) struct Carried {
    by_allocation: HashMap<AllocationId, Forwarded>,
    /// Records that may still be counted in.
    late: VecDeque<Removed>,
}

struct Removed {
    since: Timestamp,
    allocation: AllocationId,
    records: [u32; 2],
    counted: Forwarded,
}

/// What the two records of a binding have counted.
pub(super) fn read(table: &FlowTable, records: [u32; 2]) -> Forwarded {
    let [to_peer, to_client] = records.map(|record| table.forwarded(record));
    Forwarded { to_peer, to_client }
}

impl Carried {
    /// A binding was taken out of the table.
    pub(super) fn removed(
        &mut self,
        table: &FlowTable,
        allocation: AllocationId,
        records: [u32; 2],
        now: Timestamp,
    ) {
        self.count_late(table, now);
        let counted = read(table, records);
        *self.by_allocation.entry(allocation).or_default() += counted;
        self.late.push_back(Removed { since: now, allocation, records, counted });
    }

    /// Adds what was counted after the binding was taken out. Called before a record is used again, which is not before it
    /// rested for [`REST`].
    pub(super) fn count_late(&mut self, table: &FlowTable, now: Timestamp) {
        while let Some(removed) = self.late.pop_front_if(|removed| now.since(removed.since) >= LATE) {
            // Otherwise it has ended, and its line is written.
            if let Some(sum) = self.by_allocation.get_mut(&removed.allocation) {
                let all = read(table, removed.records);
                *sum += Forwarded {
                    to_peer: since(all.to_peer, removed.counted.to_peer),
                    to_client: since(all.to_client, removed.counted.to_client),
                };
            }
        }
    }

    pub(super) fn of(&self, allocation: AllocationId) -> Forwarded {
        self.by_allocation.get(&allocation).copied().unwrap_or_default()
    }

    /// Forgets an allocation.
    pub(super) fn close(&mut self, allocation: AllocationId) -> Forwarded {
        self.by_allocation.remove(&allocation).unwrap_or_default()
    }
}

fn since(now: Count, before: Count) -> Count {
    Count {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    }
}
