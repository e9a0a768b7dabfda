//! The associations of a shard, found by their client's 5-tuple.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::Common;
use crate::dtls::{Association, Failure};
use crate::net::streams::Place;
use crate::time::Timestamp;
use crate::turn::FiveTuple;

/// Handshakes of a shard that are not over. The one that began first makes room for another. Tests have few.
pub(super) const MOST_HANDSHAKES: usize = if cfg!(any(test, fuzzing)) { 4 } else { 256 };

/// The associations of a shard.
#[derive(Default)]
pub(in crate::net) struct Associations {
    /// Nothing where DTLS is not served.
    pub(in crate::net) common: Option<Arc<Common>>,
    entries: HashMap<FiveTuple, Box<Entry>>,
    /// When each is looked after. What was decided otherwise since is passed over.
    checks: BinaryHeap<Reverse<(Timestamp, FiveTuple)>>,
    /// Handshakes, oldest first, some of them over.
    handshakes: VecDeque<(FiveTuple, Timestamp)>,
    handshaking: usize,
    /// Those that failed while something else was done.
    pub(super) broken: Vec<(FiveTuple, Failure)>,
    /// How many handshakes may still begin before others have their turn.
    pub(super) left_in_turn: u32,
    /// Room for what is sent or was heard, used again for each.
    pub(super) buffer: Vec<u8>,
    pub(super) heard: Heard,
    pub(super) plain: Vec<u8>,
}

/// Messages that came in one datagram.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: Vec<Range<usize>>,
}

/// An association, and what the shard knows of it.
pub(super) struct Entry {
    pub(super) association: Association,
    pub(super) began: Timestamp,
    pub(super) is_connected: bool,
    /// Datagrams that came before it was.
    pub(super) datagrams: u32,
    /// An alert in the clear came in its client's name.
    pub(super) was_refused: bool,
    /// It sent a message once.
    pub(super) was_heard: bool,
    /// Whether it had an allocation when somebody looked after it last.
    pub(super) had_allocation: bool,
    /// When it was known to have an allocation, or else came.
    pub(super) served: Timestamp,
    /// When dimpl wants to be asked.
    pub(super) timer: Timestamp,
    /// When it is to be looked after otherwise.
    pub(super) patience: Timestamp,
    /// When somebody looks, for either.
    next_check: Timestamp,
    /// In the limits of who let it in.
    pub(super) place: Place,
}

impl Entry {
    pub(super) fn new(association: Association, now: Timestamp, patience: Timestamp, place: Place) -> Self {
        Self {
            association,
            began: now,
            is_connected: false,
            datagrams: 0,
            was_refused: false,
            was_heard: false,
            had_allocation: false,
            served: now,
            timer: patience,
            patience,
            next_check: Timestamp(u64::MAX),
            place,
        }
    }
}

impl Associations {
    pub(super) fn get_mut(&mut self, client: &FiveTuple) -> Option<&mut Entry> {
        self.entries.get_mut(client).map(|entry| &mut **entry)
    }

    /// Adds one whose handshake begins, where there is none.
    pub(super) fn insert(&mut self, client: FiveTuple, entry: Entry) {
        self.handshakes.push_back((client, entry.began));
        self.handshaking += 1;
        self.entries.insert(client, Box::new(entry));
        self.look_again(&client);
    }

    /// Notes that a handshake is over.
    pub(super) fn connected(&mut self) {
        self.handshaking -= 1;
    }

    pub(super) fn remove(&mut self, client: &FiveTuple) -> Option<Box<Entry>> {
        let entry = self.entries.remove(client)?;
        if !entry.is_connected {
            self.handshaking -= 1;
        }
        if self.entries.is_empty() {
            // After a flood the memory is not kept.
            self.entries.shrink_to(64);
            self.checks = BinaryHeap::new();
            self.handshakes = VecDeque::new();
        }
        Some(entry)
    }

    /// How many there are, and how many of them are handshakes.
    #[cfg(any(test, fuzzing))]
    pub(super) fn count(&self) -> (usize, usize) {
        let handshakes = self.entries.values().filter(|entry| !entry.is_connected).count();
        assert_eq!(handshakes, self.handshaking);
        (self.entries.len(), handshakes)
    }

    /// Takes all out.
    pub(super) fn drain(&mut self) -> HashMap<FiveTuple, Box<Entry>> {
        self.handshaking = 0;
        mem::take(&mut self.entries)
    }

    /// The handshake that has been going on for the longest, if there are as many as may be.
    pub(super) fn oldest_of_too_many(&mut self) -> Option<FiveTuple> {
        while let Some((client, began)) = self.handshakes.front() {
            let entry = self.entries.get(client);
            let goes_on = entry.is_some_and(|entry| !entry.is_connected && entry.began == *began);
            if goes_on {
                break;
            }
            self.handshakes.pop_front();
        }
        if self.handshaking < MOST_HANDSHAKES {
            return None;
        }
        self.handshakes.front().map(|(client, _)| *client)
    }

    /// Has an association looked after when its next time comes.
    pub(super) fn look_again(&mut self, client: &FiveTuple) {
        let Some(entry) = self.entries.get_mut(client) else { return };
        let at = entry.timer.min(entry.patience);
        // What is already to come earlier finds out then.
        if at < entry.next_check {
            entry.next_check = at;
            self.checks.push(Reverse((at, *client)));
        }
    }

    /// When the next is to be looked after.
    pub(in crate::net) fn next_check(&self) -> Option<Timestamp> {
        self.checks.peek().map(|Reverse((at, _))| *at)
    }

    /// The next that is to be looked after by now.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<FiveTuple> {
        while self.next_check().is_some_and(|at| at <= now) {
            let Reverse((at, client)) = self.checks.pop()?;
            if let Some(entry) = self.get_mut(&client).filter(|entry| entry.next_check == at) {
                entry.next_check = Timestamp(u64::MAX);
                return Some(client);
            }
        }
        None
    }
}
