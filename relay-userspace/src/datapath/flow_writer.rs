//! A shard's hand in the flow table: turns bindings into records, two each, and takes them out again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use relay_common::addr::{Endpoint, NetIp};
use relay_common::flow::{FlowRecord, Path};
use relay_common::next_hop::HAIRPIN;

use super::carried::{self, Carried};
use super::claims::Share;
use super::flow_table::{FlowTable, Position};
use super::{FastPath, Forwarded, NotInstalled};
use crate::time::Timestamp;
use crate::turn::{AllocationId, Binding, BindingId, RelayAddress, Via};

/// Who fills in a record's next hop and keeps it up to date.
pub trait NextHopSource: Send + Sync {
    /// Sets the record's next hop for packets to `destination` from our address `source`, now and whenever it
    /// changes, until [`detach`](NextHopSource::detach). The record is written but not published.
    fn attach(&self, record: u32, destination: IpAddr, source: IpAddr);
    /// Says that two records are the two directions of one binding: the next hop of each that is attached is the other's way
    /// back, now and whenever it changes, until it is detached.
    fn pair(&self, records: [u32; 2]);
    /// Forgets the record, which is withdrawn.
    fn detach(&self, record: u32);
}

/// Installs and removes the bindings of one shard. It claims records up to its share, so writers of several shards work on
/// one table without a lock.
pub struct FlowWriter {
    table: Arc<FlowTable>,
    hops: Arc<dyn NextHopSource>,
    share: Share,
    relay: Arc<[RelayAddress]>,
    /// The most bindings that leave room for a permission.
    most_with_permissions: usize,
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
    /// Whether a [`NextHopSource`] knows of it.
    attached: bool,
}

impl FlowWriter {
    /// A writer that holds no bindings, and has so many of the table's records to itself. All writers' `records` together
    /// are at most what [`FlowTable::len`] says, less one. `relay` are the addresses that all allocations of the server relay
    /// from.
    pub fn new(
        table: Arc<FlowTable>,
        hops: Arc<dyn NextHopSource>,
        records: u32,
        relay: Arc<[RelayAddress]>,
    ) -> Self {
        assert!(records < table.len(), "{records} of {} records", table.len());
        // The last quarter is for channels alone: they carry the media of calls, most permissions only the search for a way.
        let most_with_permissions = records as usize / 2 / 4 * 3;
        Self {
            table,
            hops,
            share: Share::new(records),
            relay,
            most_with_permissions,
            installed: HashMap::new(),
            carried: Carried::default(),
        }
    }

    /// [`FastPath::bind`] at a given time. Both directions or none.
    pub fn bind_at(&mut self, binding: &Binding, now: Timestamp) -> Result<(), NotInstalled> {
        self.unbind_at(binding.id, now);
        let installed = self.install_both(binding, now);
        if installed.is_err() {
            self.table.refused.fetch_add(1, Ordering::Relaxed);
        }
        installed
    }

    /// [`FastPath::extend`] at a given time. A binding that found no room is tried again, so that a table that was full
    /// is made good for by the next refreshes.
    pub fn extend_at(&mut self, binding: &Binding, now: Timestamp) {
        if let Some(held) = self.installed.get(&binding.id) {
            held.directions.iter().for_each(|one| self.table.set_deadline(one.record, binding.deadline));
        } else if self.install_both(binding, now).is_ok() {
            self.table.promoted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// [`FastPath::unbind`] at a given time.
    pub fn unbind_at(&mut self, binding: BindingId, now: Timestamp) {
        if let Some(Held { allocation, directions }) = self.installed.remove(&binding) {
            directions.into_iter().for_each(|one| self.remove(one, now));
            self.carried.removed(&self.table, allocation, directions.map(|one| one.record), now);
            self.table.bindings.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn install_both(&mut self, binding: &Binding, now: Timestamp) -> Result<(), NotInstalled> {
        if binding.via == Via::Indications && self.installed.len() >= self.most_with_permissions {
            return Err(NotInstalled::Full);
        }
        // Before any of their records is used again.
        self.carried.count_late(&self.table, now);
        let path = Path::from(binding);
        let records = match self.inside(&path) {
            Some(path) => [
                FlowRecord { next_hop: HAIRPIN, ..FlowRecord::client_to_peer(&path) },
                FlowRecord::peer_to_client(&path).inside(),
            ],
            None => [FlowRecord::client_to_peer(&path), FlowRecord::peer_to_client(&path)],
        };
        let [to_peer, to_client] =
            records.map(|record| FlowRecord { deadline: binding.deadline.0, meter: binding.meter, ..record });
        let both = self.install(&to_peer, now).and_then(|to_peer| {
            let to_client = self.install(&to_client, now);
            if to_client.is_none() {
                self.remove(to_peer, now);
            }
            Some([to_peer, to_client?])
        });
        let directions = both.ok_or(NotInstalled::Full)?;
        self.hops.pair(directions.map(|one| one.record));
        self.installed.insert(binding.id, Held { allocation: binding.allocation, directions });
        self.table.bindings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The path of a binding whose peer is a client of this server too, by the addresses that the two are told: a Send
    /// indication names the peer so, and a Data indication is to. What one sends to the other never leaves this host, so
    /// nothing else is asked of its addresses.
    fn inside(&self, path: &Path) -> Option<Path> {
        let public = |of: Endpoint| {
            let relay = self.relay.iter().find(|relay| NetIp::from(relay.local) == of.ip)?;
            Some(Endpoint { ip: relay.public.into(), ..of })
        };
        Some(Path { peer: public(path.peer)?, relayed: public(path.relayed)?, ..*path })
    }

    fn install(&mut self, flow: &FlowRecord, now: Timestamp) -> Option<Installed> {
        let hash = flow.key.hash(self.table.seed());
        let record = self.share.take(self.table.claims(), self.table.likely_record(hash), now)?;
        self.table.write(record, flow);
        let attached = flow.next_hop != HAIRPIN;
        if attached {
            self.hops.attach(record, flow.dst.into(), flow.src.into());
        }
        let Some(position) = self.table.publish(hash, record) else {
            self.release(record, attached, now);
            return None;
        };
        Some(Installed { record, position, attached })
    }

    fn remove(&mut self, Installed { record, position, attached }: Installed, now: Timestamp) {
        self.table.withdraw(position, record);
        self.release(record, attached, now);
    }

    fn release(&mut self, record: u32, attached: bool, now: Timestamp) {
        if attached {
            self.hops.detach(record);
        }
        self.share.give_back(record, now);
    }
}

impl FastPath for FlowWriter {
    fn bind(&mut self, binding: &Binding) -> Result<(), NotInstalled> {
        self.bind_at(binding, Timestamp::now())
    }

    fn extend(&mut self, binding: &Binding) {
        self.extend_at(binding, Timestamp::now());
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
