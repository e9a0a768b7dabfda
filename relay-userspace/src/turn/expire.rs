//! What happens when time runs out, and how an allocation ends.

use std::net::IpAddr;
use std::time::Duration;

use super::allocations::{ChannelState, Slot};
use super::answers::RequestKey;
use super::bindings::Bound;
use super::core::Core;
use super::family::Family;
use super::io::{EndCause, Event, Output, Outputs};
use super::mobility::forget;
use super::timers::Timer;
use super::types::{AllocationId, ChannelNumber};

/// How long the number and the peer of an expired channel binding stay together. RFC 8656 section 12 has the client
/// wait as long before it binds either elsewhere, so that no packet under way is taken for the new peer's.
const CHANNEL_REST: Duration = Duration::from_secs(300);

impl Core {
    /// Ends everything whose time has come, so that whatever the tables hold is alive.
    pub(super) fn expire(&mut self, out: &mut Outputs) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Lease(slot, family) => self.end_lease(slot, family, EndCause::Expired, out),
                Timer::Permission(slot, peer) => self.permission_expired(slot, peer, out),
                Timer::Channel(slot, number) => self.channel_expired(slot, number, out),
                Timer::Reservation(token) => {
                    if let Some(reservation) = self.shared.reservations.expire(&token) {
                        self.shared.ports.release(reservation.relayed);
                        self.shared.accounts.give_back(&reservation.account, 1, self.now);
                    }
                }
                Timer::Connection(connection) => self.connection_expired(connection, out),
                Timer::ForeignPort(relayed) => self.shared.ports.release(*relayed),
                Timer::Answers => {
                    self.answers_expire = None;
                    self.answers.expire(self.now);
                    self.follow_answers();
                }
            }
        }
    }

    /// Ends an allocation, or its relayed transport addresses of some families, before their time.
    pub(super) fn end(
        &mut self,
        slot: Slot,
        families: impl Fn(Family) -> bool,
        cause: EndCause,
        out: &mut Outputs,
    ) {
        let leases = self.allocations.get(slot).leases;
        for (family, &lease) in leases.iter().filter(|(family, _)| families(*family)) {
            self.timers.cancel(lease);
            self.end_lease(slot, family, cause, out);
        }
    }

    /// Closes an allocation's relayed transport address of one family, with what belongs to it; the allocation ends
    /// with its last one. The lease's timer has run or been cancelled.
    fn end_lease(&mut self, slot: Slot, family: Family, cause: EndCause, out: &mut Outputs) {
        let Some(relayed) = self.allocations.take_lease(slot, family) else { return };
        self.end_connections(slot, family, out);
        let allocation = self.allocations.get_mut(slot);
        allocation.forget_peers(family, &mut self.timers, out);
        out.items.push(match allocation.tcp {
            None => Output::CloseRelay { relayed },
            Some(_) => Output::CloseTcpRelay { relayed },
        });
        self.given_up.push(relayed);
        if allocation.relayed().next().is_some() {
            return;
        }

        let ended = self.allocations.remove(slot);
        ended.places().for_each(|place| forget(place, out));
        self.shared.accounts.give_back(&ended.account, 1, self.now);
        out.items.push(Output::Event(Event::AllocationEnded {
            allocation: ended.id,
            summary: Box::new(ended.summary(self.now)),
            username: ended.username.into(),
            cause,
        }));
    }

    /// Ends an allocation because the operator says so.
    pub(super) fn end_by_operator(&mut self, id: AllocationId, out: &mut Outputs) {
        if let Some(slot) = self.allocations.by_id(id) {
            self.end(slot, |_| true, EndCause::Operator, out);
        }
    }

    /// Keeps an answer for retransmissions of its request.
    pub(super) fn keep_answer(&mut self, request: RequestKey, answer: Box<[u8]>) {
        self.answers.insert(self.now, request, answer);
        self.follow_answers();
    }

    /// Has the timer run for the answer that is the oldest now.
    fn follow_answers(&mut self) {
        match (&mut self.answers_expire, self.answers.next_expiry()) {
            (Some(deadline), Some(at)) if deadline.at() != at => self.timers.restart(deadline, at),
            (none @ None, Some(at)) => *none = Some(self.timers.start(at, Timer::Answers)),
            // There is none less than before but when the timer ran.
            _ => {}
        }
    }

    fn permission_expired(&mut self, slot: Slot, peer: IpAddr, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        if let Some(mut permission) = allocation.permissions.remove(&peer) {
            permission.installed.remove(out);
        }
        allocation.settle_peer(peer, &mut self.next_binding, out);
    }

    fn channel_expired(&mut self, slot: Slot, number: ChannelNumber, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        let Some(channel) = allocation.channels.get_mut(&number) else { return };
        match channel.state {
            ChannelState::Bound => {
                channel.state = ChannelState::Resting;
                let rested = channel.expires.at() + CHANNEL_REST;
                channel.expires = self.timers.start(rested, Timer::Channel(slot, number));
                allocation.settle(Bound::Channel(number), &mut self.next_binding, out);
            }
            ChannelState::Resting => {
                let peer = channel.peer;
                allocation.channels.remove(&number);
                allocation.numbers.remove(&peer);
            }
        }
    }
}
