//! The connections of a shard, found by 5-tuple and by what epoll reports.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::connection::Connection;
use crate::net::counters::ConnectionKind;
use crate::net::tcp_relay::Joining;
use crate::net::token::StreamToken;
use crate::time::Timestamp;
use crate::turn::FiveTuple;

/// Most connections of a shard.
pub(super) const MOST: usize = 1 << 16;

/// The connections of a shard.
#[derive(Default)]
pub(in crate::net) struct Connections {
    slots: Vec<Slot>,
    vacant: Vec<u16>,
    by_five_tuple: HashMap<FiveTuple, StreamToken>,
    /// Those that have something to send.
    pub(super) dirty: Vec<StreamToken>,
    /// Those that ended while something else was done.
    pub(super) broken: Vec<StreamToken>,
    /// When each is looked after.
    checks: BinaryHeap<Reverse<(Timestamp, StreamToken)>>,
    /// The shard that the connection in hand is to move to.
    pub(in crate::net) moving_to: Option<u16>,
    /// What the connection in hand is to be joined to: it carries no TURN from then on.
    pub(in crate::net) joining: Option<Joining>,
    /// How many messages, or frames without one, the connection in hand may still have handled before others have their turn.
    pub(super) left_in_turn: u32,
    /// Room for what is read, used again for each connection.
    pub(super) wire: Vec<u8>,
    pub(super) input: Vec<u8>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    // In a box: a place that was used once takes little memory.
    connection: Option<Box<Connection>>,
}

impl Connections {
    /// A message of the connection in hand, or a frame without one, was handled.
    pub(super) fn handled_one(&mut self) {
        self.left_in_turn = self.left_in_turn.saturating_sub(1);
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() - self.vacant.len() == MOST
    }

    /// Puts a connection into the table, which has room and none of that 5-tuple.
    pub(super) fn insert(&mut self, connection: Box<Connection>) -> StreamToken {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u16
        });
        let slot = &mut self.slots[usize::from(index)];
        let token = StreamToken { index, generation: slot.generation };
        self.by_five_tuple.insert(connection.five_tuple, token);
        slot.connection = Some(connection);
        token
    }

    /// Takes a connection out; its token names none any more.
    pub(in crate::net) fn remove(&mut self, token: StreamToken) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(usize::from(token.index))?;
        let connection = slot.connection.take_if(|_| slot.generation == token.generation)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(token.index);
        self.forget(&connection.five_tuple, token);
        Some(connection)
    }

    /// Has a 5-tuple lead to this connection no more.
    pub(super) fn forget(&mut self, five_tuple: &FiveTuple, token: StreamToken) {
        if self.by_five_tuple.get(five_tuple) == Some(&token) {
            self.by_five_tuple.remove(five_tuple);
        }
        if self.by_five_tuple.is_empty() {
            // After a flood of connections the memory is not kept.
            self.by_five_tuple.shrink_to(64);
        }
    }

    pub(super) fn get_mut(&mut self, token: StreamToken) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(usize::from(token.index))?;
        slot.connection.as_deref_mut().filter(|_| slot.generation == token.generation)
    }

    pub(super) fn of_client(&self, five_tuple: &FiveTuple) -> Option<StreamToken> {
        self.by_five_tuple.get(five_tuple).copied()
    }

    /// What the connection of a client is made of.
    pub(in crate::net) fn kind_of_client(&self, five_tuple: &FiveTuple) -> Option<ConnectionKind> {
        let token = self.of_client(five_tuple)?;
        self.slots.get(usize::from(token.index))?.connection.as_ref().map(|connection| connection.kind())
    }

    /// Has a connection looked after at a time, and not when it was to be before.
    pub(super) fn check_at(&mut self, token: StreamToken, at: Timestamp) {
        if let Some(connection) = self.get_mut(token) {
            connection.next_check = at;
            self.checks.push(Reverse((at, token)));
        }
    }

    /// When the next is to be looked after.
    pub(in crate::net) fn next_check(&self) -> Option<Timestamp> {
        self.checks.peek().map(|Reverse((at, _))| *at)
    }

    /// The next that is to be looked after by now.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<StreamToken> {
        while self.next_check().is_some_and(|at| at <= now) {
            let Reverse((at, token)) = self.checks.pop()?;
            // Otherwise it ended, or another time was set.
            if self.get_mut(token).is_some_and(|connection| connection.next_check == at) {
                return Some(token);
            }
        }
        None
    }

    /// Has what waits for a connection sent with the next flush.
    pub(super) fn mark_dirty(&mut self, token: StreamToken) {
        if let Some(connection) = self.get_mut(token).filter(|connection| !connection.is_dirty) {
            connection.is_dirty = true;
            self.dirty.push(token);
        }
    }
}
