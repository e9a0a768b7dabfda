//! Walks over all allocations of a shard, to tell the operator of them or to end some.
//!
//! A shard may have hundreds of thousands of them, and their counts lie in memory that is in no cache. So a walk takes one
//! slice in each turn of the shard's loop: media waits for a slice at the most.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::batch::Arrival;
use super::counters::ConnectionKind;
use super::shard::Shard;
use crate::datapath::{FastPath, Forwarded};
use crate::time::Timestamp;
use crate::turn::{AllocationId, EndCause, Event, Input, Look, Output, Session, Usage};

/// How long a slice takes, and a little more.
const SLICE: Duration = Duration::from_micros(500);

/// Places between two looks at the clock.
const PLACES: usize = 16;

/// Most walks that wait in a shard. Each has a caller that waits too.
const MOST_WALKS: usize = 8;

/// Names an allocation of a server: `SHARD-NUMBER`, as the log has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionId {
    /// The number of the shard that holds it.
    pub shard: u16,
    /// Its name there.
    pub allocation: AllocationId,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.allocation.0)
    }
}

/// Not `SHARD-NUMBER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a session is named SHARD-NUMBER, such as 0-17")]
pub struct NoSessionId;

impl FromStr for SessionId {
    type Err = NoSessionId;

    fn from_str(text: &str) -> Result<Self, NoSessionId> {
        let (shard, allocation) = text.split_once('-').ok_or(NoSessionId)?;
        let number =
            |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let shard = number(shard).and_then(|n| u16::try_from(n).ok()).ok_or(NoSessionId)?;
        Ok(Self { shard, allocation: AllocationId(number(allocation).ok_or(NoSessionId)?) })
    }
}

/// Which allocations to tell of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionQuery {
    /// Only those of this user: see [`Look::is_of`].
    pub user: Option<String>,
    /// At most so many: those with the most data.
    pub most: usize,
}

/// Which allocations to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// This one.
    One(SessionId),
    /// All of a user: see [`Look::is_of`].
    User(String),
}

/// What a shard found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// How many there are.
    pub total: u64,
    /// Those with the most data, in no order.
    pub sessions: Vec<FoundSession>,
}

/// An allocation, and what the fast path carried for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundSession {
    /// Its name in the server.
    pub id: SessionId,
    /// What the core knows.
    pub session: Session,
    /// What never reached the core.
    pub fast: Forwarded,
    /// What the client's connection is made of, if it has one.
    pub connection: Option<ConnectionKind>,
}

impl FoundSession {
    /// Bytes of data in both directions, however they went.
    pub fn bytes(&self) -> u64 {
        bytes(&self.session.usage, &self.fast)
    }
}

fn bytes(usage: &Usage, fast: &Forwarded) -> u64 {
    [usage.to_peer.relayed, usage.to_client.relayed, fast.to_peer, fast.to_client]
        .iter()
        .map(|c| c.bytes)
        .sum()
}

/// In the order of their data; older ones first where it is the same.
#[derive(Debug)]
struct ByData(FoundSession);

impl ByData {
    fn rank(&self) -> (u64, Reverse<SessionId>) {
        (self.0.bytes(), Reverse(self.0.id))
    }
}

impl Ord for ByData {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for ByData {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByData {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByData {}

/// One walk, and how far it is.
#[derive(Debug)]
pub(super) struct Walk {
    next: usize,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Find { query: SessionQuery, total: u64, best: BinaryHeap<Reverse<ByData>>, reply: Sender<Found> },
    End { which: Selection, ended: u64, reply: Sender<u64> },
}

impl Walk {
    pub(super) fn find(query: SessionQuery, reply: Sender<Found>) -> Self {
        Self { next: 0, task: Task::Find { query, total: 0, best: BinaryHeap::new(), reply } }
    }

    pub(super) fn end(which: Selection, reply: Sender<u64>) -> Self {
        Self { next: 0, task: Task::End { which, ended: 0, reply } }
    }
}

/// The walks of a shard, one after the other.
#[derive(Default, Debug)]
pub(super) struct Walks(VecDeque<Walk>);

impl Walks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more. Beyond the bound it is dropped, and who asked hears nothing.
    pub(super) fn add(&mut self, walk: Walk) {
        if self.0.len() < MOST_WALKS {
            self.0.push_back(walk);
        }
    }
}

impl Shard {
    /// Takes one slice of the walk in hand.
    pub(super) fn walk_on(&mut self, now: Timestamp) {
        let Some(mut walk) = self.walks.0.pop_front() else { return };
        let start = Timestamp::now();
        let mut done = false;
        while !done && Timestamp::now().since(start) < SLICE {
            done = self.walk_places(now, &mut walk);
        }
        if !done {
            return self.walks.0.push_front(walk);
        }
        // Who asked may have given up.
        match walk.task {
            Task::Find { total, best, reply, .. } => {
                let sessions = best.into_iter().map(|Reverse(ByData(session))| session).collect();
                let _ = reply.send(Found { total, sessions });
            }
            Task::End { ended, reply, .. } => {
                let _ = reply.send(ended);
            }
        }
    }

    /// Whether it was the last.
    fn walk_places(&mut self, now: Timestamp, walk: &mut Walk) -> bool {
        let places = walk.next..self.core.places().min(walk.next + PLACES);
        walk.next = places.end;
        match &mut walk.task {
            Task::Find { query, total, best, .. } => {
                for look in places.filter_map(|place| self.core.look(place)) {
                    if query.user.as_ref().is_some_and(|user| !look.is_of(user)) {
                        continue;
                    }
                    *total += 1;
                    let fast = carried(&mut *self.fast_path, look);
                    let found = (bytes(&look.usage(), &fast), Reverse(self.number_of(look)));
                    if best.len() == query.most {
                        // `most` may be zero.
                        let Some(Reverse(least)) = best.peek() else { continue };
                        if found <= least.rank() {
                            continue;
                        }
                        best.pop();
                    }
                    let (id, session) = (found.1.0, look.session(now));
                    let connection = self.connections.kind_of_client(&session.five_tuple);
                    best.push(Reverse(ByData(FoundSession { id, session, fast, connection })));
                }
            }
            Task::End { which: Selection::One(id), ended, .. } => {
                if id.shard == self.number {
                    *ended += self.end_session(now, id.allocation);
                }
                return true;
            }
            Task::End { which: Selection::User(user), ended, .. } => {
                for place in places {
                    let look = self.core.look(place).filter(|look| look.is_of(user));
                    if let Some(id) = look.map(|look| look.allocation()) {
                        *ended += self.end_session(now, id);
                    }
                }
            }
        }
        walk.next >= self.core.places()
    }

    fn number_of(&self, look: Look<'_>) -> SessionId {
        SessionId { shard: self.number, allocation: look.allocation() }
    }

    /// How many it ended: one, or none if there is none of this name.
    fn end_session(&mut self, now: Timestamp, allocation: AllocationId) -> u64 {
        self.core.handle(now, Input::End(allocation), &mut self.outputs);
        let by_operator = |output: &&Output| {
            matches!(output, Output::Event(Event::AllocationEnded { cause: EndCause::Operator, .. }))
        };
        let ended = self.outputs.items.iter().filter(by_operator).count();
        self.carry_out(now, Arrival::default());
        ended as u64
    }
}

/// What the fast path carried for an allocation so far.
fn carried(fast_path: &mut dyn FastPath, look: Look<'_>) -> Forwarded {
    let mut sum = fast_path.forwarded_before(look.allocation());
    for forwarded in look.bindings().filter_map(|binding| fast_path.forwarded(binding)) {
        sum += forwarded;
    }
    sum
}
