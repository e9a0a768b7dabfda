//! Sending to clients by their connections: what one batch of peers' datagrams came to, in one call each.

use std::ops::Range;

use nix::sys::epoll::EpollEvent;
use relay_common::channel;
use relay_common::reason::Reason;
use relay_common::wire::stun::kind;

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
        let (head, body) = message;
        let reason = match arrival.origin {
            // Else a timer that ran out with this input: its answer must arrive.
            Origin::Peer if is_data(head) => Some(Reason::ToClient),
            Origin::Icmp => Some(Reason::Icmp),
            Origin::Peer | Origin::Client => None,
        };
        let Some(token) = self.connections.of_client(five_tuple) else {
            // It closed a moment ago.
            return self.counters.datagram(Reason::SendFailed, arrival.bytes);
        };
        let Some(connection) = self.connections.get_mut(token) else { return };
        if reason.is_none() {
            // Only what the client asks by it, and is answered, can give a connection another allocation.
            connection.owned_by(self.core.allocation_of(five_tuple));
        }
        // All that the peer sent: without a channel it is in the head.
        let relayed = (reason == Some(Reason::ToClient)).then(|| self.batch.datagram(arrival).len() as u32);
        let message = Whole { head, body: &self.batch.datagram(arrival)[body] };
        let fate = reason.map(|reason| Fate { reason, bytes: arrival.bytes as u32, relayed });
        connection.outgoing.push(connection.framing, message, fate);
        if connection.outgoing.has_too_much() {
            // It may only be that nothing was sent yet of a large batch.
            let sent = connection.blocked_since.is_some() || connection.send(&self.counters).is_ok();
            let lost = connection.outgoing.make_room(&self.counters);
            if let Some(owner) = connection.owner {
                self.core.not_sent(owner, lost);
            }
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

/// Whether a message carries data: ChannelData, or a Data indication.
fn is_data(head: &[u8]) -> bool {
    let first = head.first_chunk().map_or(0, |first| u16::from_be_bytes(*first));
    channel::is_channel(first) || first == kind::DATA_INDICATION.get()
}
