//! What happens when: one ordered set, from which timers are removed when what they stand for changes or ends, so
//! that none is ever stale and the next wake-up is exact.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::allocations::Slot;
use super::family::Family;
use super::reservations::Token;
use super::types::{ChannelNumber, RelayAddr};
use crate::time::Timestamp;

/// What ends at a point in time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// The lifetime of an allocation's relayed transport address of one family.
    Lease(Slot, Family),
    /// A permission.
    Permission(Slot, IpAddr),
    /// A channel binding, or the time after it in which its number and peer stay together.
    Channel(Slot, ChannelNumber),
    /// A reserved port that this core reserved.
    Reservation(Token),
    /// The time for which a port that another program held is not tried again.
    ForeignPort(RelayAddr),
    /// The oldest answer kept for retransmissions.
    Answers,
}

/// All timers of a core.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Timestamp, Timer)>,
    /// The first of the set, at hand for the check made for every packet.
    next: Option<Timestamp>,
}

impl Timers {
    pub(super) fn start(&mut self, at: Timestamp, timer: Timer) {
        self.set.insert((at, timer));
        self.next = self.set.first().map(|(at, _)| *at);
    }

    pub(super) fn cancel(&mut self, at: Timestamp, timer: Timer) {
        let was_there = self.set.remove(&(at, timer));
        debug_assert!(was_there, "{timer:?} was not set for {at:?}");
        self.next = self.set.first().map(|(at, _)| *at);
    }

    /// Moves a timer from `*deadline` to `to`, and the deadline with it.
    pub(super) fn restart(&mut self, deadline: &mut Timestamp, to: Timestamp, timer: Timer) {
        self.cancel(*deadline, timer);
        *deadline = to;
        self.start(to, timer);
    }

    /// Takes one timer whose time has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next? > now {
            return None;
        }
        let (_, due) = self.set.pop_first()?;
        self.next = self.set.first().map(|(at, _)| *at);
        Some(due)
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }
}
