//! What allocations relayed, and what the operator sees of them.

use std::sync::Arc;
use std::time::Duration;

use relay_common::tables::Count;

use super::allocations::{Allocation, ChannelState};
use super::core::Core;
use super::family::Relayed;
use super::metering::Direction;
use super::types::{AllocationId, BindingId, FiveTuple};
use crate::time::Timestamp;

/// What the core decided about the data of an allocation. What the data path forwarded by itself is not in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// From the client to its peers.
    pub to_peer: Way,
    /// From the peers to the client.
    pub to_client: Way,
}

/// The data of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// Relayed: datagrams, and bytes of data without the headers of TURN, UDP and IP.
    pub relayed: Count,
    /// Datagrams that went no further.
    pub dropped: u64,
}

impl Usage {
    pub(super) const fn of(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::ToPeer => &mut self.to_peer,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

impl Way {
    /// Counts as dropped what was counted as relayed.
    fn take_back(&mut self, lost: Count) {
        self.relayed.packets = self.relayed.packets.saturating_sub(lost.packets);
        self.relayed.bytes = self.relayed.bytes.saturating_sub(lost.bytes);
        self.dropped += lost.packets;
    }

    pub(super) fn note(&mut self, relayed: bool, bytes: usize) {
        if relayed {
            self.relayed += Count { packets: 1, bytes: bytes as u64 };
        } else {
            self.dropped += 1;
        }
    }
}

/// What an allocation was, at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The realm of its user.
    pub realm: Arc<str>,
    /// Where the client was at last.
    pub five_tuple: FiveTuple,
    /// What it began with.
    pub relayed: Relayed,
    /// How long it lived.
    pub age: Duration,
    /// What the core relayed for it.
    pub usage: Usage,
}

impl Allocation {
    pub(super) fn summary(&self, now: Timestamp) -> Summary {
        Summary {
            realm: Arc::clone(&self.realm),
            five_tuple: self.five_tuple,
            relayed: self.opened.relayed,
            age: now.since(self.opened.at),
            usage: self.usage,
        }
    }
}

/// An allocation at a moment, with everything about it that an operator may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its name in its core.
    pub allocation: AllocationId,
    /// USERNAME of the request that made it.
    pub username: String,
    /// The realm of that user.
    pub realm: Arc<str>,
    /// Where media goes.
    pub five_tuple: FiveTuple,
    /// What it relays from.
    pub relayed: Relayed,
    /// How long it has lived.
    pub age: Duration,
    /// How long it lives yet, unless its client refreshes it.
    pub expires_in: Duration,
    /// Live permissions.
    pub permissions: usize,
    /// Bound channels.
    pub channels: usize,
    /// Connections with peers, of a TCP allocation (RFC 6062).
    pub connections: usize,
    /// What the core relayed.
    pub usage: Usage,
}

/// A look at one allocation, which costs next to nothing until the [`Session`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a>(&'a Allocation);

impl Core {
    /// The allocation that a 5-tuple leads to.
    pub fn allocation_of(&self, five_tuple: &FiveTuple) -> Option<AllocationId> {
        self.allocations.of_client(five_tuple).map(|slot| self.allocations.get(slot).id)
    }

    /// Data that this core relayed to the client of an allocation was dropped before it was sent: datagrams, and bytes of data.
    pub fn not_sent(&mut self, allocation: AllocationId, lost: Count) {
        if let Some(slot) = self.allocations.by_id(allocation) {
            self.allocations.get_mut(slot).usage.to_client.take_back(lost);
        }
    }

    /// How many places there are to look at for all allocations, one each or none. It never shrinks.
    pub fn places(&self) -> usize {
        self.allocations.places()
    }

    /// The allocation in a place. It stays there for its life.
    pub fn look(&self, place: usize) -> Option<Look<'_>> {
        self.allocations.at(place).map(Look)
    }
}

impl<'a> Look<'a> {
    /// Its name in its core.
    pub const fn allocation(&self) -> AllocationId {
        self.0.id
    }

    /// Whether it is this user's: by USERNAME, or by the name in a time-limited one (EXPIRY:NAME).
    pub fn is_of(&self, user: &str) -> bool {
        *self.0.username == *user || self.0.account.person() == user
    }

    /// What the core relayed for it.
    pub const fn usage(&self) -> Usage {
        self.0.usage
    }

    /// Its bindings that the data path knows of.
    pub fn bindings(&self) -> impl Iterator<Item = BindingId> + use<'a> {
        self.0.bindings().map(|binding| binding.id)
    }

    /// All about it.
    pub fn session(&self, now: Timestamp) -> Session {
        let allocation = self.0;
        let mut relayed = Relayed::default();
        for address in allocation.relayed() {
            relayed.insert(address.family(), address);
        }
        let expires = allocation.leases.values().map(|lease| lease.at()).max().unwrap_or(now);
        let bound = |state| state == ChannelState::Bound;
        Session {
            allocation: allocation.id,
            username: String::from(&*allocation.username),
            realm: Arc::clone(&allocation.realm),
            five_tuple: allocation.five_tuple,
            relayed,
            age: now.since(allocation.opened.at),
            expires_in: expires.since(now),
            permissions: allocation.permissions.len(),
            channels: allocation.channels.iter().filter(|(_, channel)| bound(channel.state)).count(),
            connections: allocation.tcp.as_ref().map_or(0, |tcp| tcp.connections.len()),
            usage: allocation.usage,
        }
    }
}
