//! A shard's hand in the flow table: turns bindings into records, two each, and takes them out again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use relay_common::flow::{FlowRecord, Path};

use super::carried::{self, Carried};
use super::flow_table::{FlowTable, Position};
use super::numbers::Numbers;
use super::{FastPath, Forwarded, NotInstalled};
use crate::time::Timestamp;
use crate::turn::{AllocationId, Binding, BindingId};

/// Who fills in a record's next hop and keeps it up to date.
pub trait NextHopSource: Send + Sync {
    /// Sets the record's next hop for packets to `destination` from our address `source`, now and whenever it
    /// changes, until [`detach`](NextHopSource::detach). The record is written but not published.
    fn attach(&self, record: u32, destination: IpAddr, source: IpAddr);
    /// Says that two attached records are the two directions of one binding: the next hop of each is the other's way back,
    /// now and whenever it changes, until one of them is detached.
    fn pair(&self, records: [u32; 2]);
    /// Forgets the record, which is withdrawn.
    fn detach(&self, record: u32);
}

/// Installs and removes the bindings of one shard. It numbers its records from a range of its own, so writers of
/// several shards work on one table without a lock.
pub struct FlowWriter {
    table: Arc<FlowTable>,
    hops: Arc<dyn NextHopSource>,
    numbers: Numbers,
    installed: HashMap<BindingId, Held>,
    carried: Carried,
}

/// A binding in the table.
struct Held {
    allocation: AllocationId,
    directions: [Installed; 2],
}

#[derive(Clone, Copy)]
struct Installed {
    record: u32,
    position: Position,
}

impl FlowWriter {
    /// A writer that holds no bindings. No other writer may have a record of `records`, which must not hold 0.
    pub fn new(table: Arc<FlowTable>, hops: Arc<dyn NextHopSource>, records: Range<u32>) -> Self {
        assert!(records.start > 0 && records.end <= table.len(), "{records:?} of {} records", table.len());
        Self {
            table,
            hops,
            numbers: Numbers::new(records),
            installed: HashMap::new(),
            carried: Carried::default(),
        }
    }

    /// [`FastPath::bind`] at a given time. Both directions or none.
    pub fn bind_at(&mut self, binding: &Binding, now: Timestamp) -> Result<(), NotInstalled> {
        self.unbind_at(binding.id, now);
        // Before any of their records is used again.
        self.carried.count_late(&self.table, now);
        let path = Path::from(binding);
        let directions = [FlowRecord::client_to_peer(&path), FlowRecord::peer_to_client(&path)];
        let both = self.install(&directions[0], binding.deadline, now).and_then(|to_peer| {
            match self.install(&directions[1], binding.deadline, now) {
                Some(to_client) => Some([to_peer, to_client]),
                None => {
                    self.remove(to_peer, now);
                    None
                }
            }
        });
        let Some(both) = both else {
            self.table.refused.fetch_add(1, Ordering::Relaxed);
            return Err(NotInstalled::Full);
        };
        self.hops.pair(both.map(|one| one.record));
        self.installed.insert(binding.id, Held { allocation: binding.allocation, directions: both });
        self.table.bindings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// [`FastPath::unbind`] at a given time.
    pub fn unbind_at(&mut self, binding: BindingId, now: Timestamp) {
        if let Some(Held { allocation, directions }) = self.installed.remove(&binding) {
            directions.into_iter().for_each(|one| self.remove(one, now));
            self.carried.removed(&self.table, allocation, directions.map(|one| one.record), now);
            self.table.bindings.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn install(&mut self, flow: &FlowRecord, deadline: Timestamp, now: Timestamp) -> Option<Installed> {
        let record = self.numbers.take(now)?;
        self.table.write(record, &FlowRecord { deadline: deadline.0, ..*flow });
        self.hops.attach(record, flow.dst.into(), flow.src.into());
        let Some(position) = self.table.publish(flow.key.hash(self.table.seed()), record) else {
            self.hops.detach(record);
            self.numbers.give_back(record, now);
            return None;
        };
        Some(Installed { record, position })
    }

    fn remove(&mut self, Installed { record, position }: Installed, now: Timestamp) {
        self.table.withdraw(position, record);
        self.hops.detach(record);
        self.numbers.give_back(record, now);
    }
}

impl FastPath for FlowWriter {
    fn bind(&mut self, binding: &Binding) -> Result<(), NotInstalled> {
        self.bind_at(binding, Timestamp::now())
    }

    fn extend(&mut self, binding: &Binding) {
        for one in self.installed.get(&binding.id).into_iter().flat_map(|held| held.directions) {
            self.table.set_deadline(one.record, binding.deadline);
        }
    }

    fn unbind(&mut self, binding: BindingId) {
        self.unbind_at(binding, Timestamp::now());
    }

    fn forwarded(&self, binding: BindingId) -> Option<Forwarded> {
        let held = self.installed.get(&binding)?;
        Some(carried::read(&self.table, held.directions.map(|one| one.record)))
    }

    fn forwarded_before(&mut self, allocation: AllocationId) -> Forwarded {
        self.carried.count_late(&self.table, Timestamp::now());
        self.carried.of(allocation)
    }

    fn close(&mut self, allocation: AllocationId) -> Forwarded {
        self.carried.close(allocation)
    }
}

/// A writer that goes takes its bindings along: nobody would be left to remove them.
impl Drop for FlowWriter {
    fn drop(&mut self) {
        let now = Timestamp::now();
        for id in self.installed.keys().copied().collect::<Vec<_>>() {
            self.unbind_at(id, now);
        }
    }
}

#[cfg(test)]
#[path = "flow_writer_tests.rs"]
mod tests;
