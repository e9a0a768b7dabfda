//! The allocations of a core, found by client and by relayed transport address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::accounts::Account;
use super::bindings::Installed;
use super::family::{Family, PerFamily, Relayed};
use super::icmp::IcmpTold;
use super::io::Outputs;
use super::metering::{Direction, Metered};
use super::mobility::Mobility;
use super::sorted_map::SortedMap;
use super::timers::{Timer, Timers};
use super::types::{AllocationId, ChannelNumber, FiveTuple, PeerAddr, RelayAddr};
use super::usage::Usage;
use crate::policy::{Bucket, PeerRules};
use crate::time::Timestamp;

/// Where an allocation lies. Reused after its end, so whatever holds one ends with the allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(u32);

/// An allocation (RFC 8656 section 3.2).
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) id: AllocationId,
    /// Where media of peers goes; requests and data may come from another for a while (see `mobility`).
    pub(super) five_tuple: FiveTuple,
    /// If its client asked for a ticket.
    pub(super) mobility: Option<Box<Mobility>>,
    /// How it began.
    pub(super) opened: Opened,
    /// What the core relayed for it.
    pub(super) usage: Usage,
    /// Never empty.
    pub(super) leases: PerFamily<Lease>,
    /// USERNAME of the request that made it: only this one may use it (RFC 8656 section 5).
    pub(super) username: Box<str>,
    /// REALM of the request that made it: a user of the same name in another realm is somebody else.
    pub(super) realm: Arc<str>,
    /// ICMP errors that were told to the client.
    pub(super) icmp_told: IcmpTold,
    /// Whose quota and rates it counts against.
    pub(super) account: Arc<Account>,
    /// Which peers its user may reach.
    pub(super) rules: Arc<PeerRules>,
    /// The limits on its data, if there are any. XDP does not keep to them, so such an allocation is not told to it.
    pub(super) metered: Option<Box<Metered>>,
    /// Answers to requests from its client's address that prove nothing.
    pub(super) as_a_stranger: Bucket,
    /// The digest of the Allocate request, and the answer that its retransmissions get.
    pub(super) request: u64,
    pub(super) answer: Box<[u8]>,
    pub(super) permissions: SortedMap<IpAddr, Permission>,
    pub(super) channels: SortedMap<ChannelNumber, Channel>,
    /// The same channels by peer.
    pub(super) numbers: SortedMap<PeerAddr, ChannelNumber>,
}

/// When an allocation was made, and with which relayed transport addresses: one of two may end before the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) at: Timestamp,
    pub(super) relayed: Relayed,
}

/// A relayed transport address and how long it is the allocation's: each has a time-to-expiry of its own (RFC 8656
/// section 3.2), because a client may refresh one of the two by itself (section 8.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) relayed: RelayAddr,
    pub(super) expires: Timestamp,
}

/// That data of a peer address may come in, from any of its ports (RFC 8656 section 9).
#[derive(Debug)]
pub(super) struct Permission {
    pub(super) expires: Timestamp,
    /// The binding that the data path knows of.
    pub(super) installed: Installed,
}

/// A channel number and its peer.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) peer: PeerAddr,
    pub(super) state: ChannelState,
    /// When the state ends.
    pub(super) expires: Timestamp,
    /// The binding that the data path knows of.
    pub(super) installed: Installed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChannelState {
    /// Data may flow while there is a permission.
    Bound,
    /// The binding expired; number and peer are not yet free for others (RFC 8656 section 12).
    Resting,
}

impl Allocation {
    /// The relayed transport addresses.
    pub(super) fn relayed(&self) -> impl Iterator<Item = RelayAddr> {
        self.leases.values().map(|lease| lease.relayed)
    }

    /// The relayed transport address that reaches a peer: the one of its family.
    pub(super) fn relayed_to(&self, peer: IpAddr) -> Option<RelayAddr> {
        self.leases.get(Family::of(peer)).map(|lease| lease.relayed)
    }

    /// Installs or refreshes a permission. Says whether that changed anything: a request may name an address many
    /// times over.
    pub(super) fn permit(&mut self, slot: Slot, peer: IpAddr, until: Timestamp, timers: &mut Timers) -> bool {
        let timer = Timer::Permission(slot, peer);
        match self.permissions.get_mut(&peer) {
            Some(permission) if permission.expires == until => return false,
            Some(permission) => timers.restart(&mut permission.expires, until, timer),
            None => {
                let installed = Installed::default();
                self.permissions.insert(peer, Permission { expires: until, installed });
                timers.start(until, timer);
            }
        }
        true
    }

    /// Binds or refreshes a channel; number and peer are known to belong together or to nobody.
    pub(super) fn bind(
        &mut self,
        slot: Slot,
        number: ChannelNumber,
        peer: PeerAddr,
        until: Timestamp,
        timers: &mut Timers,
    ) {
        let timer = Timer::Channel(slot, number);
        match self.channels.get_mut(&number) {
            Some(channel) => {
                channel.state = ChannelState::Bound;
                timers.restart(&mut channel.expires, until, timer);
            }
            None => {
                let state = ChannelState::Bound;
                self.channels
                    .insert(number, Channel { peer, state, expires: until, installed: Installed::default() });
                self.numbers.insert(peer, number);
                timers.start(until, timer);
            }
        }
    }

    /// The channel over which a peer's data goes to the client.
    pub(super) fn bound_channel(&self, peer: &PeerAddr) -> Option<ChannelNumber> {
        let number = self.numbers.get(peer)?;
        (self.channels.get(number)?.state == ChannelState::Bound).then_some(*number)
    }

    /// Whether the limits on its data, if there are any, leave room for one more datagram.
    pub(super) fn has_room(&self, direction: Direction, now: Timestamp, bytes: usize) -> bool {
        self.metered.as_ref().is_none_or(|m| m.pass(&self.account.meters, direction, now, bytes))
    }

    /// Removes the permissions and channels of one family's peers: they end with its relayed transport address, and
    /// those of the other family must not be touched (RFC 8656 section 8.1).
    pub(super) fn forget_peers(
        &mut self,
        slot: Slot,
        family: Family,
        timers: &mut Timers,
        out: &mut Outputs,
    ) {
        self.permissions.retain(|&peer, permission| {
            let stays = Family::of(peer) != family;
            if !stays {
                timers.cancel(permission.expires, Timer::Permission(slot, peer));
                permission.installed.remove(out);
            }
            stays
        });
        self.channels.retain(|&number, channel| {
            let stays = channel.peer.family() != family;
            if !stays {
                timers.cancel(channel.expires, Timer::Channel(slot, number));
                channel.installed.remove(out);
            }
            stays
        });
        self.numbers.retain(|peer, _| peer.family() != family);
    }
}

/// The live allocations. The hash maps are keyed with the process's random keys (clients choose their ports, and
/// could otherwise choose them to collide); nothing iterates over them, so no behaviour depends on those keys.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    slots: Vec<Option<Allocation>>,
    vacant: Vec<Slot>,
    by_five_tuple: HashMap<FiveTuple, Slot>,
    by_relayed: HashMap<RelayAddr, Slot>,
    by_id: HashMap<AllocationId, Slot>,
}

impl Allocations {
    pub(super) fn insert(&mut self, allocation: Allocation) -> Slot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() as u32 - 1)
        });
        self.by_five_tuple.insert(allocation.five_tuple, slot);
        self.by_relayed.extend(allocation.relayed().map(|relayed| (relayed, slot)));
        self.by_id.insert(allocation.id, slot);
        self.slots[slot.0 as usize] = Some(allocation);
        slot
    }

    /// Takes the relayed transport address of one family away from an allocation.
    pub(super) fn take_lease(&mut self, slot: Slot, family: Family) -> Option<Lease> {
        let lease = self.get_mut(slot).leases.take(family)?;
        self.by_relayed.remove(&lease.relayed);
        Some(lease)
    }

    /// Removes an allocation that has no relayed transport address any more.
    pub(super) fn remove(&mut self, slot: Slot) -> Allocation {
        let allocation = self.slots[slot.0 as usize].take().expect("a slot in use");
        debug_assert_eq!(allocation.relayed().count(), 0);
        self.vacant.push(slot);
        for place in allocation.places() {
            self.by_five_tuple.remove(&place.five_tuple);
        }
        self.by_id.remove(&allocation.id);
        allocation
    }

    pub(super) fn of_client(&self, five_tuple: &FiveTuple) -> Option<Slot> {
        self.by_five_tuple.get(five_tuple).copied()
    }

    pub(super) fn by_id(&self, id: AllocationId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// Has one more 5-tuple lead to an allocation; it led to none.
    pub(super) fn lead(&mut self, five_tuple: FiveTuple, to: Slot) {
        let before = self.by_five_tuple.insert(five_tuple, to);
        debug_assert!(before.is_none(), "{five_tuple:?} is another allocation's");
    }

    /// Has a 5-tuple lead to no allocation.
    pub(super) fn lead_no_more(&mut self, five_tuple: &FiveTuple) {
        self.by_five_tuple.remove(five_tuple);
    }

    pub(super) fn of_relayed(&self, relayed: &RelayAddr) -> Option<Slot> {
        self.by_relayed.get(relayed).copied()
    }

    /// The relayed transport addresses of all allocations.
    pub(super) fn relayed(&self) -> usize {
        self.by_relayed.len()
    }

    pub(super) fn get(&self, slot: Slot) -> &Allocation {
        self.slots[slot.0 as usize].as_ref().expect("a slot in use")
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Allocation {
        self.slots[slot.0 as usize].as_mut().expect("a slot in use")
    }

    /// How many there were at most at a time, and so how many places to look at for all of them.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The allocation in a place, if one is there now.
    pub(super) fn at(&self, place: usize) -> Option<&Allocation> {
        self.slots.get(place)?.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Allocation> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Allocation> {
        self.slots.iter_mut().flatten()
    }
}
