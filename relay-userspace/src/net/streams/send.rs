//! Sending to clients by their connections: what one batch of peers' datagrams came to, in one call each.

use std::ops::Range;

use nix::sys::epoll::EpollEvent;
use relay_common::reason::Reason;

use super::Whole;
use super::outgoing::Fate;
use crate::net::batch::{Arrival, Origin};
use crate::net::shard::Shard;
use crate::net::token::{StreamToken, Token};
use crate::time::Timestamp;
use crate::turn::FiveTuple;

impl Shard {
    /// Queues a message to a client for its connection. It has an IP header of its own: nothing of the one that a peer's
    /// datagram came with goes on.
    pub(in crate::net) fn queue_for_connection(
        &mut self,
        now: Timestamp,
        five_tuple: &FiveTuple,
        message: (&[u8], Range<usize>),
        arrival: Arrival,
    ) {
        let reason = match arrival.origin {
            Origin::Client => None,
            Origin::Icmp => Some(Reason::Icmp),
            Origin::Peer => Some(Reason::ToClient),
        };
        let Some(token) = self.connections.of_client(five_tuple) else {
            // It closed a moment ago.
            return self.counters.datagram(Reason::SendFailed, arrival.bytes);
        };
        let Some(connection) = self.connections.get_mut(token) else { return };
        let (head, body) = message;
        let message = Whole { head, body: &self.batch.datagram(arrival)[body] };
        let fate = reason.map(|reason| Fate { reason, bytes: arrival.bytes as u32 });
        connection.outgoing.push(connection.framing, message, fate);
        if connection.outgoing.has_too_much() {
            // It may only be that nothing was sent yet of a large batch.
            let sent = connection.blocked_since.is_some() || connection.send(&self.counters).is_ok();
            connection.outgoing.make_room(&self.counters);
            if !sent || connection.is_stuck(now) {
                self.connections.broken.push(token);
            }
        }
        self.connections.mark_dirty(token);
    }

    /// Sends what waits for all connections.
    pub(in crate::net) fn flush_connections(&mut self) {
        while let Some(token) = self.connections.dirty.pop() {
            self.send_connection(token);
        }
    }

    /// Sends what waits for a connection, as far as the kernel takes it.
    pub(super) fn send_connection(&mut self, token: StreamToken) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        connection.is_dirty = false;
        if connection.closing.is_some() {
            return;
        }
        let sent = connection.send(&self.counters).map_err(drop);
        let wanted = connection.wanted();
        let mut event = EpollEvent::new(wanted, Token::Stream(token).to_bits());
        let told = wanted == connection.interest
            || self.stream_epoll.modify(connection.socket(), &mut event).is_ok();
        connection.interest = wanted;
        if sent.is_err() || !told {
            self.connections.broken.push(token);
        }
    }
}
