//! The allocations of a core, found by client and by relayed transport address.

use std::net::IpAddr;
use std::sync::Arc;

use super::accounts::Account;
use super::bindings::Installed;
use super::family::{Family, PerFamily, Relayed};
use super::icmp::IcmpTold;
use super::io::Outputs;
use super::metering::{Direction, Metered};
use super::mobility::Mobility;
use super::slot_index::SlotIndex;
use super::sorted_map::SortedMap;
use super::tcp::TcpAllocation;
use super::timers::{Deadline, Timer, Timers};
use super::types::{AllocationId, ChannelNumber, FiveTuple, PeerAddr, RelayAddr};
use super::usage::Usage;
use crate::policy::{Bucket, PeerRules};
use crate::time::Timestamp;

/// Where an allocation lies. Reused after its end, so whatever holds one ends with the allocation.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Slot(u32);

#[cfg(test)]
impl Slot {
    pub(super) const fn nth(n: u32) -> Self {
        Self(n)
    }
}

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
    /// How long each of the relayed transport addresses is the allocation's: a client may refresh one of the two by itself,
    /// so each has a time-to-expiry of its own (RFC 8656 sections 3.2 and 8.1). Never empty.
    pub(super) leases: PerFamily<Deadline>,
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
    /// The limits on its data, if there are any.
    pub(super) metered: Option<Arc<Metered>>,
    /// Answers to requests from its client's address that prove nothing.
    pub(super) as_a_stranger: Bucket,
    /// The digest of the Allocate request, and the answer that its retransmissions get.
    pub(super) request: u64,
    pub(super) answer: Box<[u8]>,
    /// If peers are reached over TCP (RFC 6062).
    pub(super) tcp: Option<Box<TcpAllocation>>,
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

/// That data of a peer address may come in, from any of its ports (RFC 8656 section 9).
#[derive(Debug)]
pub(super) struct Permission {
    pub(super) expires: Deadline,
    /// The binding that the data path knows of.
    pub(super) installed: Installed,
}

/// A channel number and its peer.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) peer: PeerAddr,
    pub(super) state: ChannelState,
    /// When the state ends.
    pub(super) expires: Deadline,
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
    /// The relayed transport addresses that it still has.
    pub(super) fn relayed(&self) -> impl Iterator<Item = RelayAddr> {
        self.leases.iter().filter_map(|(family, _)| self.opened.relayed.get(family).copied())
    }

    /// The relayed transport address that reaches a peer: the one of its family.
    pub(super) fn relayed_to(&self, peer: IpAddr) -> Option<RelayAddr> {
        let family = Family::of(peer);
        self.leases.get(family).and(self.opened.relayed.get(family)).copied()
    }

    /// Installs or refreshes a permission. Says whether that changed anything: a request may name an address many
    /// times over.
    pub(super) fn permit(&mut self, slot: Slot, peer: IpAddr, until: Timestamp, timers: &mut Timers) -> bool {
        match self.permissions.get_mut(&peer) {
            Some(permission) if permission.expires.at() == until => return false,
            Some(permission) => timers.restart(&mut permission.expires, until),
            None => {
                let expires = timers.start(until, Timer::Permission(slot, peer));
                self.permissions.insert(peer, Permission { expires, installed: Installed::default() });
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
        match self.channels.get_mut(&number) {
            Some(channel) => {
                channel.state = ChannelState::Bound;
                timers.restart(&mut channel.expires, until);
            }
            None => {
                let (state, installed) = (ChannelState::Bound, Installed::default());
                let expires = timers.start(until, Timer::Channel(slot, number));
                self.channels.insert(number, Channel { peer, state, expires, installed });
                self.numbers.insert(peer, number);
            }
        }
    }

    /// The channel over which a peer's data goes to the client.
    pub(super) fn bound_channel(&self, peer: &PeerAddr) -> Option<ChannelNumber> {
        let number = self.numbers.get(peer)?;
        (self.channels.get(number)?.state == ChannelState::Bound).then_some(*number)
    }

    /// The number of the meter that the data path counts its data by: 0 where nothing is limited, `None` where it has
    /// no row to count in, and so must not forward for this allocation by itself.
    pub(super) fn meter(&self) -> Option<u32> {
        match &self.metered {
            None => Some(0),
            Some(metered) => Some(metered.number()).filter(|&number| number != 0),
        }
    }

    /// Whether the limits on its data, if there are any, leave room for one more datagram.
    pub(super) fn has_room(&self, direction: Direction, now: Timestamp, bytes: usize) -> bool {
        self.metered.as_ref().is_none_or(|m| m.pass(&self.account, direction, now, bytes))
    }

    /// Removes the permissions and channels of one family's peers: they end with its relayed transport address, and
    /// those of the other family must not be touched (RFC 8656 section 8.1).
    pub(super) fn forget_peers(&mut self, family: Family, timers: &mut Timers, out: &mut Outputs) {
        self.permissions.retain(|&peer, permission| {
            let stays = Family::of(peer) != family;
            if !stays {
                timers.cancel(permission.expires);
                permission.installed.remove(out);
            }
            stays
        });
        self.channels.retain(|_, channel| {
            let stays = channel.peer.family() != family;
            if !stays {
                timers.cancel(channel.expires);
                channel.installed.remove(out);
            }
            stays
        });
        self.numbers.retain(|peer, _| peer.family() != family);
    }
}

/// The live allocations.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    slots: Vec<Option<Allocation>>,
    vacant: Vec<Slot>,
    by_five_tuple: SlotIndex,
    by_relayed: SlotIndex,
    by_id: SlotIndex,
}

impl Allocations {
    /// Where the next allocation will lie.
    pub(super) fn next_slot(&self) -> Slot {
        self.vacant.last().copied().unwrap_or(Slot(self.slots.len() as u32))
    }

    /// Puts an allocation into the [next slot](Self::next_slot).
    pub(super) fn insert(&mut self, allocation: Allocation) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() as u32 - 1)
        });
        self.by_five_tuple.insert(&allocation.five_tuple, slot);
        for relayed in allocation.relayed() {
            self.by_relayed.insert(&relayed, slot);
        }
        self.by_id.insert(&allocation.id, slot);
        self.slots[slot.0 as usize] = Some(allocation);
    }

    /// Takes the relayed transport address of one family away from an allocation.
    pub(super) fn take_lease(&mut self, slot: Slot, family: Family) -> Option<RelayAddr> {
        let allocation = self.get_mut(slot);
        allocation.leases.take(family)?;
        let relayed = *allocation.opened.relayed.get(family)?;
        self.by_relayed.remove(&relayed, slot);
        Some(relayed)
    }

    /// Removes an allocation that has no relayed transport address any more.
    pub(super) fn remove(&mut self, slot: Slot) -> Allocation {
        let allocation = self.slots[slot.0 as usize].take().expect("a slot in use");
        debug_assert_eq!(allocation.relayed().count(), 0);
        self.vacant.push(slot);
        for place in allocation.places() {
            self.by_five_tuple.remove(&place.five_tuple, slot);
        }
        self.by_id.remove(&allocation.id, slot);
        allocation
    }

    pub(super) fn of_client(&self, five_tuple: &FiveTuple) -> Option<Slot> {
        let leads_to = |slot| self.get(slot).places().any(|place| place.five_tuple == *five_tuple);
        self.by_five_tuple.get(five_tuple, leads_to)
    }

    pub(super) fn by_id(&self, id: AllocationId) -> Option<Slot> {
        self.by_id.get(&id, |slot| self.get(slot).id == id)
    }

    /// Has one more 5-tuple, which led to none, lead to an allocation, one of whose places it is now.
    pub(super) fn lead(&mut self, five_tuple: &FiveTuple, to: Slot) {
        debug_assert!(self.of_client(five_tuple).is_none(), "{five_tuple:?} is another allocation's");
        self.by_five_tuple.insert(five_tuple, to);
    }

    /// Has a 5-tuple, which led to this allocation, lead to none.
    pub(super) fn lead_no_more(&mut self, five_tuple: &FiveTuple, to: Slot) {
        self.by_five_tuple.remove(five_tuple, to);
    }

    pub(super) fn of_relayed(&self, relayed: &RelayAddr) -> Option<Slot> {
        self.by_relayed.get(relayed, |slot| self.get(slot).relayed().any(|own| own == *relayed))
    }

    /// How many relayed transport addresses all allocations have.
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
