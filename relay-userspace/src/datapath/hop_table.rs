//! The rows of the NEXT_HOPS table: one neighbour on one interface with one MTU each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use relay_common::next_hop::{MAX_L2, NextHop};
use relay_common::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, MAX_TAGS};

use super::netlink::{Kernel, Kick, Link, Neighbour, Route};
use super::next_hop::NextHopStatus;
use super::shared_map::{SharedWords, from_words, to_words};
use crate::numbers::Numbers;
use crate::time::Timestamp;

const ROW_WORDS: usize = size_of::<NextHop>() / 8;

/// Most neighbours that the kernel is asked for by us while they do not answer: a quarter of those that it remembers unless
/// told otherwise (`gc_thresh3`). Clients name peers on a link of ours as they like, and with thousands that are not there
/// the kernel would forget the routers. Beyond these it looks for a neighbour when it sends there itself.
const MOST_ASKED: usize = 256;

/// An interface that runs the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attached {
    /// Whether packets that came in by another interface may leave by it.
    pub(super) redirect: bool,
}

/// What makes a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct HopKey {
    oif: u32,
    via: IpAddr,
    mtu: u16,
    /// The EtherType of the packets; an IPv4 route may go via an IPv6 neighbour (RFC 5549).
    ethertype: u16,
}

#[derive(Clone, Copy, Debug)]
struct Hop {
    row: u32,
    destinations: u32,
    resolved: bool,
}

/// The table and what is needed to fill it.
pub(super) struct HopTable {
    kernel: Box<dyn Kernel>,
    rows: Arc<SharedWords>,
    attached: BTreeMap<u32, Attached>,
    numbers: Numbers,
    hops: HashMap<HopKey, Hop>,
    /// How many of the hops are not resolved.
    unresolved: usize,
    /// Interfaces by index, `None` for one that is gone; forgotten when any changes.
    links: HashMap<u32, Option<Link>>,
    /// Neighbours that the kernel is to look for, with the interface.
    pub(super) kicks: Vec<(u32, IpAddr, Kick)>,
}

/// The way out by an interface: itself, or the one that it is a VLAN of.
struct Egress {
    ifindex: u32,
    redirect: bool,
    mac: [u8; 6],
    mtu: u32,
    /// EtherType and VLAN number, outermost first.
    tags: Vec<(u16, u16)>,
}

impl HopTable {
    pub(super) fn new(
        kernel: Box<dyn Kernel>,
        rows: Arc<SharedWords>,
        attached: BTreeMap<u32, Attached>,
    ) -> Self {
        let numbers = Numbers::new(1..(rows.len() / ROW_WORDS) as u32);
        Self {
            kernel,
            rows,
            attached,
            numbers,
            hops: HashMap::new(),
            unresolved: 0,
            links: HashMap::new(),
            kicks: Vec::new(),
        }
    }

    /// The hop towards a destination; `None` when the fast path cannot reach it.
    pub(super) fn route(&mut self, to: IpAddr, from: IpAddr) -> Option<HopKey> {
        let told = self.kernel.route(to, from);
        self.told(told, to)
    }

    /// The same with what the kernel has told of the destination's route.
    pub(super) fn told(&mut self, told: io::Result<Option<Route>>, to: IpAddr) -> Option<HopKey> {
        let route = match told {
            Ok(route) => route?,
            Err(e) => {
                tracing::debug!(%to, error = %e, "the kernel did not tell a route");
                return None;
            }
        };
        self.key(route, to)
    }

    /// The hop of a route by which a destination is reached.
    pub(super) fn key(&mut self, route: Route, to: IpAddr) -> Option<HopKey> {
        let egress = self.egress(route.oif)?;
        Some(HopKey {
            oif: route.oif,
            via: route.gateway.unwrap_or(to),
            mtu: route.mtu.unwrap_or(u32::MAX).min(egress.mtu).min(u32::from(u16::MAX)) as u16,
            ethertype: if to.is_ipv4() { ETHERTYPE_IPV4.get() } else { ETHERTYPE_IPV6.get() },
        })
    }

    /// Takes a share in a hop for a destination, `None` for any; it gets a row when it has none, and there is `None` when no
    /// row is free. The last quarter is for routers: peers on the link are whoever clients name, and must not take the row
    /// of everybody's next gateway.
    pub(super) fn acquire(&mut self, key: Option<HopKey>, to: Option<IpAddr>) -> Option<HopKey> {
        let key = key?;
        if let Some(hop) = self.hops.get_mut(&key) {
            hop.destinations += 1;
            return Some(key);
        }
        let rows = self.rows.len() / ROW_WORDS - 1;
        if to == Some(key.via) && self.hops.len() >= rows - rows / 4 {
            return None;
        }
        let row = self.numbers.take(Timestamp::now())?;
        // Taken for resolved, so that `update` has it looked for when it is not.
        let resolved = self.unresolved < MOST_ASKED;
        self.unresolved += usize::from(!resolved);
        self.hops.insert(key, Hop { row, destinations: 1, resolved });
        self.update(key);
        Some(key)
    }

    /// Gives a share back; the row of a hop without shares is made unusable, rests and is free.
    pub(super) fn release(&mut self, key: Option<HopKey>) {
        let Some(key) = key else { return };
        let Some(hop) = self.hops.get_mut(&key) else { return };
        hop.destinations -= 1;
        if hop.destinations == 0 {
            let row = hop.row;
            self.unresolved -= usize::from(!hop.resolved);
            self.hops.remove(&key);
            self.write(row, NextHop::default());
            self.numbers.give_back(row, Timestamp::now());
        }
    }

    /// The row of a hop; 0 for none.
    pub(super) fn row(&self, key: Option<HopKey>) -> u32 {
        key.and_then(|key| self.hops.get(&key)).map_or(0, |hop| hop.row)
    }

    /// Looks at one neighbour again.
    pub(super) fn refresh(&mut self, oif: u32, via: IpAddr) {
        let keys: Vec<_> = self.hops.keys().filter(|k| k.oif == oif && k.via == via).copied().collect();
        keys.into_iter().for_each(|key| self.update(key));
    }

    /// Looks at every neighbour and interface again.
    pub(super) fn refresh_all(&mut self) {
        let keys: Vec<_> = self.hops.keys().copied().collect();
        keys.into_iter().for_each(|key| self.update(key));
    }

    /// Whether any of these interfaces ever mattered: on a host of containers most come and go unnoticed.
    pub(super) fn uses_any(&self, interfaces: &[u32]) -> bool {
        interfaces.iter().any(|i| self.links.contains_key(i) || self.attached.contains_key(i))
    }

    /// From now on these interfaces run the program; whether that is news.
    pub(super) fn set_attached(&mut self, attached: BTreeMap<u32, Attached>) -> bool {
        let changed = self.attached != attached;
        self.attached = attached;
        changed
    }

    /// Forgets what is known of interfaces: one has changed.
    pub(super) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// Asks again for the neighbours that are not known, those first by which most is reached.
    pub(super) fn retry(&mut self) {
        let mut unresolved: Vec<_> = self.hops.iter().filter(|(_, hop)| !hop.resolved).collect();
        unresolved.sort_unstable_by_key(|(_, hop)| Reverse(hop.destinations));
        let asked = unresolved.into_iter().take(MOST_ASKED);
        self.kicks.extend(asked.map(|(key, _)| (key.oif, key.via, Kick::Resolve)));
    }

    pub(super) fn status(&self) -> Vec<NextHopStatus> {
        self.hops
            .iter()
            .map(|(key, hop)| NextHopStatus {
                interface: key.oif,
                via: key.via,
                mtu: key.mtu,
                resolved: hop.resolved,
                destinations: hop.destinations,
            })
            .collect()
    }

    /// Brings a hop's row in line with what the kernel knows now.
    fn update(&mut self, key: HopKey) {
        let neighbour = self.kernel.neighbour(key.oif, key.via).unwrap_or_else(|e| {
            tracing::debug!(via = %key.via, error = %e, "the kernel did not tell a neighbour");
            Neighbour::Unknown
        });
        let egress = self.egress(key.oif);
        let value = match (neighbour, egress) {
            (Neighbour::Known(mac) | Neighbour::Stale(mac), Some(egress)) => next_hop(&key, mac, &egress),
            _ => NextHop::default(),
        };
        let Some(hop) = self.hops.get_mut(&key) else { return };
        let was_resolved = std::mem::replace(&mut hop.resolved, value.ifindex != 0);
        self.unresolved = self.unresolved + usize::from(was_resolved) - usize::from(hop.resolved);
        let row = hop.row;
        match neighbour {
            Neighbour::Stale(_) => self.kicks.push((key.oif, key.via, Kick::Confirm)),
            // Once when it is lost; from then on `retry` sets the pace.
            Neighbour::Unknown if was_resolved => self.kicks.push((key.oif, key.via, Kick::Resolve)),
            _ => {}
        }
        self.write(row, value);
    }

    /// Writes a row unless it says the same already. Generation and interface are one word: it is first made odd and
    /// unusable, last even and usable.
    fn write(&self, row: u32, value: NextHop) {
        const {
            assert!(offset_of!(NextHop, generation) < 8 && offset_of!(NextHop, ifindex) < 8);
        }
        let words = &self.rows[row as usize * ROW_WORDS..][..ROW_WORDS];
        let old: NextHop =
            from_words::<_, ROW_WORDS>(&std::array::from_fn(|i| words[i].load(Ordering::Relaxed)));
        if (NextHop { generation: old.generation, ..value }) == old {
            return;
        }
        let unusable = NextHop { generation: old.generation | 1, ..NextHop::default() };
        words[0].store(to_words::<_, ROW_WORDS>(&unusable)[0], Ordering::Relaxed);
        fence(Ordering::Release);
        let new = NextHop { generation: unusable.generation.wrapping_add(1), ..value };
        let new: [u64; ROW_WORDS] = to_words(&new);
        for i in 1..ROW_WORDS {
            words[i].store(new[i], Ordering::Relaxed);
        }
        words[0].store(new[0], Ordering::Release);
    }

    /// The way out by an interface; `None` when it is down, no Ethernet, or does not lead to one with the program.
    fn egress(&mut self, oif: u32) -> Option<Egress> {
        let first = self.link(oif)?;
        let (mac, mtu) = (first.mac?, first.mtu);
        let mut tags = Vec::new();
        let mut link = first;
        while link.up {
            if let Some(Attached { redirect }) = self.attached.get(&link.index) {
                tags.reverse();
                return Some(Egress { ifindex: link.index, redirect: *redirect, mac, mtu, tags });
            }
            let vlan = link.vlan.filter(|_| tags.len() < MAX_TAGS)?;
            tags.push((vlan.ethertype, vlan.id));
            link = self.link(vlan.lower)?;
        }
        None
    }

    fn link(&mut self, ifindex: u32) -> Option<Link> {
        if let Some(link) = self.links.get(&ifindex) {
            return link.clone();
        }
        match self.kernel.link(ifindex) {
            Ok(link) => self.links.entry(ifindex).or_insert(link).clone(),
            Err(e) => {
                tracing::debug!(ifindex, error = %e, "the kernel did not tell an interface");
                None
            }
        }
    }
}

/// The row for a neighbour whose address is known.
fn next_hop(key: &HopKey, mac: [u8; 6], egress: &Egress) -> NextHop {
    let mut l2 = Vec::with_capacity(MAX_L2);
    l2.extend(mac);
    l2.extend(egress.mac);
    for (ethertype, id) in &egress.tags {
        l2.extend(ethertype.to_be_bytes());
        l2.extend(id.to_be_bytes());
    }
    l2.extend(key.ethertype.to_be_bytes());
    NextHop {
        ifindex: egress.ifindex,
        mtu: key.mtu,
        redirect: egress.redirect.into(),
        ..NextHop::with_header(&l2)
    }
}
