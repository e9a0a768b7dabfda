//! ICMP errors about what was sent to peers, from the sockets that hear of them to the core, which tells clients.

use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};

use super::batch::{Arrival, MOST_ERRORS, PeerError};
use super::icmp;
use super::shard::Shard;
use super::token::{Family, RelayToken};
use crate::time::Timestamp;
use crate::turn::{Input, PeerAddr, RelayAddr};

impl Shard {
    /// Takes the ICMP errors of a family that wait, some of them: for all relayed transport addresses together.
    pub(super) fn take_icmp(&mut self, family: Family) {
        let Some(receiver) = self.relays.shared_mut().and_then(|shared| shared.receiver(family)) else {
            return;
        };
        let mut message = [0; icmp::ENOUGH];
        let mut errors = [None; MOST_ERRORS];
        let icmp = receiver.icmp.as_raw_fd();
        for place in &mut errors {
            let Ok(length) = recv(icmp, &mut message, MsgFlags::MSG_DONTWAIT) else { break };
            *place = icmp::read(family == 1, &message[..length]);
        }
        for error in errors.into_iter().flatten() {
            // Else it is about something that others on this host sent, or long over.
            if let Some(relay) = self.relays.token(RelayAddr(error.relayed)) {
                let error = PeerError { relay, peer: error.peer, icmp: error.icmp };
                self.batch.keep_error(error, &self.counters);
            }
        }
    }

    /// Takes the ICMP errors that wait at a relayed transport address: epoll reports the socket until they are gone.
    pub(super) fn take_errors(&mut self, token: RelayToken) {
        if let Some(relay) = self.relays.own(token) {
            self.batch.receive_errors(token, &relay.socket, &self.counters);
        }
    }

    /// Tells clients the ICMP errors that were taken, by epoll's report or on the way of other datagrams.
    pub(super) fn tell_errors(&mut self, now: Timestamp) {
        while let Some(error) = self.batch.errors().pop() {
            // Otherwise it was closed meanwhile.
            if !self.relays.is_open(error.relay) {
                continue;
            }
            let relayed = self.relays.relayed(error.relay);
            let input = Input::IcmpError { relayed, peer: PeerAddr(error.peer), icmp: error.icmp };
            self.core.handle(now, input, &mut self.outputs);
            self.carry_out(now, Arrival::icmp(relayed.0));
        }
        self.flush();
    }
}
