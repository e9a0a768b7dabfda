//! What happens when time runs out, and how an allocation ends.

use std::net::IpAddr;
use std::time::Duration;

use super::allocations::{ChannelState, Slot};
use super::answers::RequestKey;
use super::core::Core;
use super::io::{EndCause, Event, Output, Outputs};
use super::timers::Timer;
use super::types::ChannelNumber;

/// How long the number and the peer of an expired channel binding stay together. RFC 8656 section 12 has the client
/// wait as long before it binds either elsewhere, so that no packet under way is taken for the new peer's.
const CHANNEL_REST: Duration = Duration::from_secs(300);

impl Core {
    /// Ends everything whose time has come, so that whatever the tables hold is alive.
    pub(super) fn expire(&mut self, out: &mut Outputs) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Allocation(slot) => self.end(slot, EndCause::Expired, out),
                Timer::Permission(slot, peer) => self.permission_expired(slot, peer, out),
                Timer::Channel(slot, number) => self.channel_expired(slot, number, out),
                Timer::Reservation(token) => {
                    if let Some(reservation) = self.shared.reservations.expire(&token) {
                        self.shared.ports.release(reservation.relayed);
                        self.shared.accounts.give_back(&reservation.account, 1, self.now);
                    }
                }
                Timer::ForeignPort(relayed) => self.shared.ports.release(relayed),
                Timer::Answers => {
                    self.answers.expire(self.now);
                    self.start_answers_timer();
                }
            }
        }
    }

    /// Ends an allocation and everything that belongs to it. Its own timer has run or been cancelled.
    pub(super) fn end(&mut self, slot: Slot, cause: EndCause, out: &mut Outputs) {
        let ended = self.allocations.remove(slot);
        ended.cancel_timers(slot, &mut self.timers);
        out.items.extend(ended.bindings().map(|binding| Output::Unbind { binding: binding.id }));
        out.items.push(Output::CloseRelay { relayed: ended.relayed });
        self.given_up.push(ended.relayed);
        self.shared.accounts.give_back(&ended.account, 1, self.now);
        out.items.push(Output::Event(Event::AllocationEnded {
            allocation: ended.id,
            username: ended.username.into(),
            cause,
        }));
    }

    /// Keeps an answer for retransmissions of its request.
    pub(super) fn keep_answer(&mut self, request: RequestKey, answer: Box<[u8]>) {
        if let Some(at) = self.answers.next_expiry() {
            self.timers.cancel(at, Timer::Answers);
        }
        self.answers.insert(self.now, request, answer);
        self.start_answers_timer();
    }

    fn start_answers_timer(&mut self) {
        if let Some(at) = self.answers.next_expiry() {
            self.timers.start(at, Timer::Answers);
        }
    }

    fn permission_expired(&mut self, slot: Slot, peer: IpAddr, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        allocation.permissions.remove(&peer);
        allocation.settle_peer(peer, &mut self.next_binding, out);
    }

    fn channel_expired(&mut self, slot: Slot, number: ChannelNumber, out: &mut Outputs) {
        let allocation = self.allocations.get_mut(slot);
        let Some(channel) = allocation.channels.get_mut(&number) else { return };
        match channel.state {
            ChannelState::Bound => {
                channel.state = ChannelState::Resting;
                channel.expires = channel.expires + CHANNEL_REST;
                self.timers.start(channel.expires, Timer::Channel(slot, number));
                allocation.settle(number, &mut self.next_binding, out);
            }
            ChannelState::Resting => {
                let peer = channel.peer;
                allocation.channels.remove(&number);
                allocation.numbers.remove(&peer);
            }
        }
    }
}
