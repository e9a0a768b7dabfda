//! Next hops: which record of the flow table leaves by which link-layer header, kept true while routes and
//! neighbours change.
//!
//! A *destination* is a peer's or client's address with our own address as source: what a route is looked up by. A
//! *hop* is a row of the NEXT_HOPS table: one neighbour on one interface with one MTU. Thousands of destinations
//! behind one router share a hop, so the row they all read stays in the CPU's cache. When a route changes, the
//! records of the destinations that moved are pointed to another hop; when a neighbour changes, its row is rewritten.
//!
//! Row 0 is never usable: what has no hop (local, unreachable, behind an interface without the program, or beyond
//! the table's size) points to it and takes the slow path.
//!
//! Asked at bind time and by the [`Monitor`](super::monitor::Monitor), never for a packet; so one lock is enough. It is held
//! for less than a microsecond: what takes time is asking the kernel for a route, which each shard does before, by a socket
//! of its own.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use nix::sys::eventfd::{EfdFlags, EventFd};
use relay_common::next_hop::NextHop;
use serde::{Deserialize, Serialize};

use super::flow_table::FlowTable;
use super::flow_writer::NextHopSource;
use super::hop_table::{Attached, HopKey, HopTable};
use super::monitor::Changes;
use super::netlink::{Kernel, Kick, Route};

/// Rows of the NEXT_HOPS table. Neighbours, not destinations: four times the kernel's own limit on neighbours
/// (`net.ipv4.neigh.default.gc_thresh3`, 1,024). What finds no row takes the slow path.
pub const NEXT_HOPS: u32 = 4096;

/// Destinations looked up in one holding of the lock, about 5 us each: a shard that binds meanwhile waits for one
/// batch, not for a whole routing table.
const BATCH: usize = 64;

/// The next hops of all records. See the module.
pub struct NextHops {
    inner: Mutex<Inner>,
    flows: Arc<FlowTable>,
    wake: EventFd,
    /// To ask for routes by without the lock, one for each shard.
    lookups: Mutex<Vec<Box<dyn Kernel>>>,
    /// Whether routes are to be looked up again, because other interfaces run the program than did.
    look_again: AtomicBool,
}

/// One row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NextHopStatus {
    /// Index of the interface that the route names.
    pub interface: u32,
    /// The neighbour.
    pub via: IpAddr,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// Whether its link-layer address is known: else packets take the slow path.
    pub resolved: bool,
    /// How many destinations are reached by it.
    pub destinations: u32,
}

struct Inner {
    hops: HopTable,
    destinations: Vec<Destination>,
    by_key: HashTable<u32>,
    keys: RandomState,
    /// How often routes may have changed: a route that was asked for without the lock is good if none did meanwhile.
    changes: u64,
    free: Vec<u32>,
    /// The destination of each record, by number.
    of_record: Vec<u32>,
    /// The record of the other direction, by number; 0 for none. It has this one's next hop as its way back.
    partner: Vec<u32>,
    /// The hops of the default routes.
    defaults: [Option<HopKey>; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct DestinationKey {
    to: IpAddr,
    from: IpAddr,
}

#[derive(Clone, Copy, Debug)]
struct Destination {
    key: DestinationKey,
    hop: Option<HopKey>,
    /// Records that point here; zero for a free slot.
    records: u32,
}

const NO_DESTINATION: u32 = u32::MAX;

impl NextHops {
    /// No next hops yet. `attached` are the interfaces that run the program, by index.
    pub(super) fn new(
        kernel: Box<dyn Kernel>,
        rows: Arc<super::SharedWords>,
        flows: Arc<FlowTable>,
        attached: BTreeMap<u32, Attached>,
    ) -> nix::Result<Self> {
        Ok(Self {
            inner: Mutex::new(Inner {
                hops: HopTable::new(kernel, rows, attached),
                destinations: Vec::new(),
                by_key: HashTable::new(),
                keys: RandomState::new(),
                changes: 0,
                free: Vec::new(),
                of_record: vec![NO_DESTINATION; flows.len() as usize],
                partner: vec![0; flows.len() as usize],
                defaults: [None; 2],
            }),
            flows,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            lookups: Mutex::default(),
            look_again: AtomicBool::new(false),
        })
    }

    /// The same with more ways to ask the kernel, so that as many shards may ask at once.
    pub(super) fn with_lookups(self, kernels: Vec<Box<dyn Kernel>>) -> Self {
        Self { lookups: Mutex::new(kernels), ..self }
    }

    /// Next hops by this host's routes, in memory of their own and with no interface to leave by: for measurements.
    pub fn private(flows: Arc<FlowTable>) -> std::io::Result<Self> {
        let rows = super::SharedWords::private(NEXT_HOPS as usize * size_of::<NextHop>())?;
        let open = || super::netlink::Netlink::open().map(Box::new);
        Ok(Self::new(open()?, Arc::new(rows), flows, BTreeMap::new())?.with_lookups(vec![open()?]))
    }

    /// Every row in use.
    pub fn status(&self) -> Vec<NextHopStatus> {
        self.lock().hops.status()
    }

    /// From now on these interfaces run the program. No row names another on return; who moves to them the monitor sees
    /// to, for two at a time could undo each other's work.
    pub(super) fn set_attached(&self, attached: BTreeMap<u32, Attached>) {
        let mut inner = self.lock();
        if inner.hops.set_attached(attached) {
            inner.hops.forget_links();
            inner.hops.refresh_all();
            self.look_again.store(true, Ordering::Relaxed);
            // Fails only when the counter is at its end, and then the monitor is awake.
            let _ = self.wake.write(1);
        }
    }

    /// Whether everything is to be looked at again.
    pub(super) fn take_look_again(&self) -> bool {
        self.look_again.swap(false, Ordering::Relaxed)
    }

    /// Follows what has changed.
    pub(super) fn apply(&self, changes: &Changes) {
        self.lock().changes += 1;
        let everything = changes.everything || self.lock().hops.uses_any(&changes.links);
        if everything {
            self.lock().hops.forget_links();
        }
        if everything || !changes.routes.is_empty() {
            self.follow_routes(|to| everything || changes.concerns(to));
        }
        let mut inner = self.lock();
        if everything {
            inner.hops.refresh_all();
            // A neighbour may have been asked for before its interface could carry the question.
            inner.hops.retry();
        } else {
            changes.neighbours.iter().for_each(|&(ifindex, ip)| inner.hops.refresh(ifindex, ip));
        }
    }

    /// Has the kernel asked again for neighbours that did not answer.
    pub(super) fn retry(&self) {
        self.lock().hops.retry();
    }

    /// The rows of the hops that these routes lead to, of IPv4 and IPv6, each with a gateway; 0 for none. They are kept for
    /// as long as they are asked for.
    pub(super) fn hold_defaults(&self, routes: [Option<Route>; 2]) -> [u32; 2] {
        let mut inner = self.lock();
        let Inner { hops, defaults, .. } = &mut *inner;
        let any = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        for ((held, route), to) in defaults.iter_mut().zip(routes).zip(any) {
            let key = route.and_then(|route| hops.key(route, to));
            // The new share before the old one is given back: a row that stays is not made unusable in between.
            let new = hops.acquire(key, None);
            hops.release(std::mem::replace(held, new));
        }
        defaults.map(|hop| hops.row(hop))
    }

    /// Neighbours that the kernel is to look for.
    pub(super) fn take_kicks(&self) -> Vec<(u32, IpAddr, Kick)> {
        std::mem::take(&mut self.lock().hops.kicks)
    }

    /// Becomes readable when there are [kicks](NextHops::take_kicks), or when it is written to.
    pub(super) fn wake(&self) -> &EventFd {
        &self.wake
    }

    fn follow_routes(&self, concerned: impl Fn(IpAddr) -> bool) {
        let mut moves = Vec::new();
        let mut next = 0;
        loop {
            let mut inner = self.lock();
            let Inner { hops, destinations, .. } = &mut *inner;
            if next >= destinations.len() {
                break;
            }
            for (id, destination) in destinations.iter().enumerate().skip(next).take(BATCH) {
                if destination.records > 0 && concerned(destination.key.to) {
                    let hop = hops.route(destination.key.to, destination.key.from);
                    if hop != destination.hop {
                        moves.push((id as u32, destination.key, hop));
                    }
                }
            }
            next += BATCH;
        }
        self.lock().relocate(moves, &self.flows);
    }

    /// The destination, which is made if there is none.
    fn destination(&self, key: DestinationKey) -> (MutexGuard<'_, Inner>, u32) {
        let inner = self.lock();
        if let Some(id) = inner.find(&key) {
            return (inner, id);
        }
        let changes = inner.changes;
        drop(inner);
        let told = self.look_up(&key);
        let mut inner = self.lock();
        // Another shard may have made it meanwhile.
        let id = inner.find(&key).unwrap_or_else(|| {
            let told = told.filter(|_| inner.changes == changes);
            let hop = match told {
                Some(told) => inner.hops.told(told, key.to),
                None => inner.hops.route(key.to, key.from),
            };
            inner.add(key, hop)
        });
        (inner, id)
    }

    /// Asks the kernel for a route without the lock; `None` if there is nothing to ask by.
    fn look_up(&self, key: &DestinationKey) -> Option<std::io::Result<Option<Route>>> {
        let lookups = || self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kernel = lookups().pop()?;
        let told = kernel.route(key.to, key.from);
        lookups().push(kernel);
        Some(told)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock cannot leave a row half written, and stale next hops beat no server.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NextHopSource for NextHops {
    fn attach(&self, record: u32, destination: IpAddr, source: IpAddr) {
        let (mut inner, id) = self.destination(DestinationKey { to: destination, from: source });
        inner.destinations[id as usize].records += 1;
        inner.of_record[record as usize] = id;
        // Under the lock, so that a route change cannot come between looking up and writing.
        inner.point(record, &self.flows);
        if !inner.hops.kicks.is_empty() {
            // Fails only when the counter is at its end, and then the monitor is awake.
            let _ = self.wake.write(1);
        }
    }

    fn pair(&self, [a, b]: [u32; 2]) {
        let mut inner = self.lock();
        (inner.partner[a as usize], inner.partner[b as usize]) = (b, a);
        inner.point(a, &self.flows);
        inner.point(b, &self.flows);
    }

    fn detach(&self, record: u32) {
        let mut inner = self.lock();
        let partner = std::mem::take(&mut inner.partner[record as usize]);
        if partner != 0 {
            inner.partner[partner as usize] = 0;
            // The row may be another neighbour's soon.
            self.flows.set_way_back(partner, 0);
        }
        let id = std::mem::replace(&mut inner.of_record[record as usize], NO_DESTINATION);
        let destination = &mut inner.destinations[id as usize];
        destination.records -= 1;
        if destination.records == 0 {
            let Destination { key, hop, .. } = *destination;
            let hash = inner.keys.hash_one(key);
            if let Ok(entry) = inner.by_key.find_entry(hash, |&other| other == id) {
                entry.remove();
            }
            inner.free.push(id);
            inner.hops.release(hop);
        }
    }
}

impl Inner {
    fn find(&self, key: &DestinationKey) -> Option<u32> {
        let is_it = |&id: &u32| self.destinations[id as usize].key == *key;
        self.by_key.find(self.keys.hash_one(key), is_it).copied()
    }

    /// Makes a destination that is reached by this hop.
    fn add(&mut self, key: DestinationKey, wanted: Option<HopKey>) -> u32 {
        let hop = self.hops.acquire(wanted, Some(key.to));
        let destination = Destination { key, hop, records: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.destinations[id as usize] = destination;
                id
            }
            None => {
                self.destinations.push(destination);
                self.destinations.len() as u32 - 1
            }
        };
        let Self { by_key, keys, destinations, .. } = self;
        by_key.insert_unique(keys.hash_one(key), id, |&id| keys.hash_one(destinations[id as usize].key));
        id
    }

    /// Points a record to its destination's row, and its partner's way back with it. One without a destination stays here.
    fn point(&self, record: u32, flows: &FlowTable) {
        let destination = self.of_record[record as usize];
        if destination == NO_DESTINATION {
            return;
        }
        let row = self.hops.row(self.destinations[destination as usize].hop);
        flows.set_next_hop(record, row);
        match self.partner[record as usize] {
            0 => {}
            partner => flows.set_way_back(partner, row),
        }
    }

    /// Gives destinations new hops and points their records there, before the old hops are let go.
    fn relocate(&mut self, moves: Vec<(u32, DestinationKey, Option<HopKey>)>, flows: &FlowTable) {
        let mut moved = HashSet::new();
        let mut left = Vec::new();
        for (id, key, hop) in moves {
            // The slot may have changed hands since its route was looked up.
            if self.find(&key) == Some(id) {
                let new = self.hops.acquire(hop, Some(key.to));
                left.push(std::mem::replace(&mut self.destinations[id as usize].hop, new));
                moved.insert(id);
            }
        }
        if moved.is_empty() {
            return;
        }
        for (record, id) in self.of_record.iter().enumerate() {
            if moved.contains(id) {
                self.point(record as u32, flows);
            }
        }
        left.into_iter().for_each(|hop| self.hops.release(hop));
    }
}

#[cfg(test)]
#[path = "next_hop_tests.rs"]
mod tests;
