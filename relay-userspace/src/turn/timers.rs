//! What happens when: a heap in which every timer knows its place, so that one is moved or removed when what it stands
//! for changes or ends. None is ever stale, the next wake-up is exact, and nothing is searched.

use std::net::IpAddr;

use super::allocations::Slot;
use super::family::Family;
use super::reservations::Token;
use super::tcp::ConnectionId;
use super::types::{ChannelNumber, RelayAddr};
use crate::time::Timestamp;

/// What ends at a point in time. What ends at the same time ends in this order. There are several for each allocation, so
/// that what is rare and large is in a box.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    ForeignPort(Box<RelayAddr>),
    /// The oldest answer kept for retransmissions.
    Answers,
    /// The time for a peer to answer, or for the client to bind a connection (RFC 6062).
    Connection(ConnectionId),
}

impl Timer {
    const fn rank(&self) -> u32 {
        match self {
            Self::Lease(..) => 0,
            Self::Permission(..) => 1,
            Self::Channel(..) => 2,
            Self::Reservation(_) => 3,
            Self::ForeignPort(_) => 4,
            Self::Answers => 5,
            Self::Connection(_) => 6,
        }
    }
}

/// When something ends, and the timer that was started for it. Without padding: it is in every permission and channel.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub(super) struct Deadline {
    at: Timestamp,
    entry: u32,
}

impl Deadline {
    /// When.
    pub(super) const fn at(self) -> Timestamp {
        self.at
    }
}

/// All timers of a core.
#[derive(Debug)]
pub(super) struct Timers {
    /// The children of the place `n` are in `4 n + 1` to `4 n + 4`: half as many levels as with two, and one cache line.
    heap: Vec<Key>,
    entries: Vec<Entry>,
    /// The first of the entries that are free, each of which names the next.
    free: u32,
}

/// A timer's place in time: when, its rank and its entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    at: Timestamp,
    /// The rank in the upper bits, the entry in the lower ones.
    name: u32,
}

const ENTRY_BITS: u32 = 29;
const NONE: u32 = u32::MAX;
const CHILDREN: usize = 4;

#[derive(Debug)]
struct Entry {
    /// `None` if it is free.
    timer: Option<Timer>,
    /// Its place in the heap; the next free entry.
    place: u32,
}

impl Key {
    const fn entry(self) -> usize {
        (self.name & ((1 << ENTRY_BITS) - 1)) as usize
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self { heap: Vec::new(), entries: Vec::new(), free: NONE }
    }
}

impl Timers {
    pub(super) fn start(&mut self, at: Timestamp, timer: Timer) -> Deadline {
        let rank = timer.rank();
        let entry = self.take_entry(timer);
        self.heap.push(Key { at, name: rank << ENTRY_BITS | entry });
        self.rise(self.heap.len() - 1);
        Deadline { at, entry }
    }

    pub(super) fn cancel(&mut self, deadline: Deadline) {
        let place = self.place_of(deadline);
        self.remove(place);
    }

    /// Moves a timer to another time.
    pub(super) fn restart(&mut self, deadline: &mut Deadline, to: Timestamp) {
        let place = self.place_of(*deadline);
        deadline.at = to;
        self.heap[place].at = to;
        self.settle(place);
    }

    /// Takes one timer whose time has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        Some(self.remove(0))
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.first().map(|key| key.at)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    fn place_of(&self, deadline: Deadline) -> usize {
        let place = self.entries[deadline.entry as usize].place as usize;
        debug_assert_eq!(
            (self.heap[place].at, self.heap[place].entry()),
            (deadline.at, deadline.entry as usize)
        );
        place
    }

    fn take_entry(&mut self, timer: Timer) -> u32 {
        let new = Entry { timer: Some(timer), place: 0 };
        if self.free == NONE {
            assert!(self.entries.len() < 1 << ENTRY_BITS, "more timers than there can be ports");
            self.entries.push(new);
            return self.entries.len() as u32 - 1;
        }
        let free = self.free;
        let entry = &mut self.entries[free as usize];
        self.free = entry.place;
        *entry = new;
        free
    }

    /// Takes the timer in a place out; the last one fills the gap.
    fn remove(&mut self, place: usize) -> Timer {
        let key = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
        }
        let entry = &mut self.entries[key.entry()];
        entry.place = std::mem::replace(&mut self.free, key.entry() as u32);
        entry.timer.take().expect("what is in the heap has an entry")
    }

    /// Puts a key whose time may be any where it belongs.
    fn settle(&mut self, place: usize) {
        let place = self.rise(place);
        self.sink(place);
    }

    fn rise(&mut self, mut place: usize) -> usize {
        let key = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent] <= key {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, key);
        place
    }

    fn sink(&mut self, mut place: usize) {
        let key = self.heap[place];
        loop {
            let first = CHILDREN * place + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child]) else { break };
            if key <= self.heap[least] {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, key);
    }

    fn put(&mut self, place: usize, key: Key) {
        self.heap[place] = key;
        self.entries[key.entry()].place = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn timer(n: u64) -> Timer {
        Timer::Reservation(n.to_be_bytes())
    }

    proptest! {
        /// Against a map that is sorted: whatever is started, moved and cancelled, the same timers come in the same order of time.
        #[test]
        fn timers_come_in_the_order_of_time(steps in prop::collection::vec((0..4_u8, any::<u16>(), 0..500_u64), 1..300)) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            let mut now = 0;
            for (n, (step, which, time)) in (0..).zip(steps) {
                let any = model.keys().nth(usize::from(which) % model.len().max(1)).copied();
                match (step, any) {
                    (0 | 1, _) => _ = model.insert(n, timers.start(Timestamp(now + time), timer(n))),
                    (2, Some(name)) => timers.restart(model.get_mut(&name).unwrap(), Timestamp(now + time)),
                    (3, Some(name)) => timers.cancel(model.remove(&name).unwrap()),
                    _ => {}
                }
                prop_assert_eq!(timers.next(), model.values().map(|d| d.at()).min());
                prop_assert_eq!(timers.len(), model.len());
                if time % 7 == 0 {
                    now += time;
                    let mut last = Timestamp(0);
                    while let Some(Timer::Reservation(name)) = timers.pop_due(Timestamp(now)) {
                        let at = model.remove(&u64::from_be_bytes(name)).unwrap().at();
                        prop_assert!(last <= at && at <= Timestamp(now));
                        last = at;
                    }
                    prop_assert!(model.values().all(|d| d.at() > Timestamp(now)));
                }
            }
        }
    }

    #[test]
    fn what_ends_at_the_same_time_ends_in_the_order_of_its_kind() {
        let mut timers = Timers::default();
        let at = Timestamp(5);
        for kind in [timer(1), Timer::Answers, Timer::Lease(Slot::default(), Family::V6)] {
            timers.start(at, kind);
        }
        let order: Vec<_> = std::iter::from_fn(|| timers.pop_due(at)).map(|t| t.rank()).collect();
        assert_eq!(order, [0, 3, 5]);
    }

    #[test]
    fn a_million_comings_and_goings_take_no_more_memory_than_there_were_at_once() {
        let mut timers = Timers::default();
        for n in 0..1_000_000 {
            let deadline = timers.start(Timestamp(n), timer(n));
            timers.cancel(deadline);
        }
        assert_eq!((timers.len(), timers.entries.len()), (0, 1));
    }

    #[test]
    fn a_timer_takes_no_more_than_48_bytes() {
        assert!(size_of::<Key>() + size_of::<Entry>() <= 48);
        assert_eq!(size_of::<Deadline>(), 12);
    }
}
