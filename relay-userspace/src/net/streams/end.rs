//! How connections end: by their client, for want of anything from it, or by moving to another shard.

use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use relay_common::reason::Reason;
use relay_common::tables::Count;
use tungstenite::protocol::frame::coding::CloseCode;

use super::connection::Connection;
use super::outgoing::Outgoing;
use super::{Framing, seconds, websocket};
use crate::net::batch::Arrival;
use crate::net::mailbox::Letter;
use crate::net::shard::Shard;
use crate::net::token::{StreamToken, Token};
use crate::time::Timestamp;
use crate::turn::{AllocationId, FiveTuple, Input};

/// How long a connection may be without an allocation.
const UNUSED: Duration = seconds(60);

/// How long a client may take nothing of what it is sent when no more fits into its queue.
const STUCK: Duration = seconds(30);

/// How long a client that was told to end may take for it.
const LINGER: Duration = seconds(5);

impl Shard {
    /// Ends what broke off meanwhile, and looks after the connections whose time it is.
    pub(in crate::net) fn check_connections(&mut self, now: Timestamp) {
        while let Some(token) = self.connections.broken.pop() {
            self.close(now, token);
        }
        while let Some(token) = self.connections.due(now) {
            match self.next_check(now, token) {
                Some(at) => self.connections.check_at(token, at),
                None => self.close(now, token),
            }
        }
    }

    /// When a connection is to be looked after next; `None` if it has been there for too long.
    fn next_check(&mut self, now: Timestamp, token: StreamToken) -> Option<Timestamp> {
        let connection = self.connections.get_mut(token)?;
        connection.shrink();
        let has_allocation = self.core.has_allocation(&connection.five_tuple);
        if has_allocation || connection.had_allocation {
            // It may have ended just now, and the next one is on its way.
            connection.served = now;
        }
        connection.had_allocation = has_allocation;
        let unused = now.since(connection.served) >= UNUSED;
        if connection.closing.is_some() || connection.is_stuck(now) || !connection.was_heard || unused {
            return None;
        }
        let soon = connection.blocked_since.map(|since| since + STUCK).filter(|at| *at > now);
        let unused = connection.served + UNUSED;
        Some(soon.map_or(unused, |soon| soon.min(unused)))
    }

    /// Hands a connection to the shard that has its client's allocation, with what of it is not handled yet.
    pub(super) fn hand_over(&mut self, token: StreamToken, shard: u16, messages: Vec<u8>, rest: Vec<u8>) {
        let Some(mut connection) = self.connections.remove(token) else { return };
        if self.stream_epoll.delete(connection.socket()).is_err() {
            // It cannot be, and would be reported here for ever.
            return self.counters.connections(connection.kind()).closed.add(1);
        }
        (connection.messages, connection.rest) = (messages, rest);
        // Names of allocations are those of one shard.
        connection.owned_by(None);
        (connection.is_dirty, connection.interest) = (false, EpollFlags::EPOLLIN);
        self.mailboxes[usize::from(shard)].post(Letter::Connection(connection));
    }

    /// Ends a connection that TURN cannot go on by. A WebSocket is told why, and may say goodbye (RFC 6455 section 7.1.1).
    pub(super) fn refuse(&mut self, now: Timestamp, token: StreamToken, code: CloseCode, left: usize) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if code != CloseCode::Normal {
            self.counters.datagram(Reason::Malformed, left as u64);
        }
        if connection.framing == Framing::Turn {
            return self.close(now, token);
        }
        websocket::write_close(connection.outgoing.answers(), code);
        connection.finish(&self.counters);
        let (owner, lost) = (connection.owner, connection.outgoing.give_up(&self.counters));
        // What could not be sent is not waited for: only the client's goodbye is, which must be read to be heard.
        (connection.outgoing, connection.is_held_back) = (Outgoing::default(), false);
        (connection.blocked_since, connection.closing) = (None, Some(now + LINGER));
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, Token::Stream(token).to_bits());
        let told = self.stream_epoll.modify(connection.socket(), &mut event).is_ok();
        let five_tuple = connection.five_tuple;
        if !told {
            self.connections.broken.push(token);
        }
        self.connections.forget(&five_tuple, token);
        self.connections.check_at(token, now + LINGER);
        self.client_gone(now, five_tuple, (owner, lost), false);
    }

    /// Ends a connection.
    pub(super) fn close(&mut self, now: Timestamp, token: StreamToken) {
        let Some(mut connection) = self.connections.remove(token) else { return };
        let five_tuple = connection.five_tuple;
        self.counters.connections(connection.kind()).closed.add(1);
        if connection.closing.is_some() {
            return;
        }
        if connection.framing == Framing::WebSocket {
            websocket::write_close(connection.outgoing.answers(), CloseCode::Away);
        }
        let is_stuck = connection.is_stuck(now);
        connection.finish(&self.counters);
        let (owner, lost) = (connection.owner, connection.outgoing.give_up(&self.counters));
        drop(connection);
        self.client_gone(now, five_tuple, (owner, lost), is_stuck);
    }

    /// Tells the core, which hears first what was never sent to the client of which allocation.
    fn client_gone(
        &mut self,
        now: Timestamp,
        five_tuple: FiveTuple,
        (owner, lost): (Option<AllocationId>, Count),
        is_stuck: bool,
    ) {
        if let Some(owner) = owner {
            self.core.not_sent(owner, lost);
        }
        self.core.handle(now, Input::ClientGone { five_tuple, is_stuck }, &mut self.outputs);
        self.carry_out(now, Arrival::default());
    }
}

impl Connection {
    /// Whether its client takes nothing though its queue is full.
    pub(super) fn is_stuck(&self, now: Timestamp) -> bool {
        self.outgoing.is_full() && self.blocked_since.is_some_and(|since| now.since(since) >= STUCK)
    }
}
