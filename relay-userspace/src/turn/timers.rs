//! What happens when: a hierarchical timing wheel. Every timer is in the list of its place there, so that one is moved or
//! removed when what it stands for changes or ends. None is ever stale, none is early or late by a nanosecond, and nothing is
//! searched.

use std::net::IpAddr;

use super::allocations::Slot;
use super::family::Family;
use super::reservations::Token;
use super::tcp::ConnectionId;
use super::types::{ChannelNumber, RelayAddr};
use super::wheel::{PLACES, Wheel};
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

/// How many kinds of timers there are.
const RANKS: usize = 7;

impl Timer {
    const fn rank(&self) -> usize {
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
    wheel: Wheel,
    /// The first timer of each place of the wheel, and then of those whose time has come, by their rank.
    firsts: Box<[u32]>,
    entries: Vec<Entry>,
    /// The first of the entries that are free, each of which names the next.
    free: u32,
    len: usize,
    /// Until then no place of the wheel begins, so that one comparison is all that a packet costs.
    quiet_until: Timestamp,
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    /// `None` if it is free.
    timer: Option<Timer>,
    /// The next one in the list of its place; the next free entry.
    next: u32,
    /// The one before, or [`PLACE`] and its place if it is the first.
    before: u32,
}

const NONE: u32 = u32::MAX;
const PLACE: u32 = 1 << 31;

impl Default for Timers {
    fn default() -> Self {
        Self {
            wheel: Wheel::default(),
            firsts: [NONE; PLACES + RANKS].into(),
            entries: Vec::new(),
            free: NONE,
            len: 0,
            quiet_until: Timestamp(u64::MAX),
        }
    }
}

impl Timers {
    pub(super) fn start(&mut self, at: Timestamp, timer: Timer) -> Deadline {
        let entry = self.take_entry(Entry { at, timer: Some(timer), next: NONE, before: NONE });
        self.len += 1;
        self.link(entry);
        Deadline { at, entry }
    }

    pub(super) fn cancel(&mut self, deadline: Deadline) {
        self.check(deadline);
        self.remove(deadline.entry);
    }

    /// Moves a timer to another time.
    pub(super) fn restart(&mut self, deadline: &mut Deadline, to: Timestamp) {
        self.check(*deadline);
        deadline.at = to;
        self.unlink(deadline.entry);
        self.entries[deadline.entry as usize].at = to;
        self.link(deadline.entry);
    }

    /// Takes one timer whose time has come, the earliest first.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if now < self.quiet_until {
            self.wheel.advance(now);
            return None;
        }
        loop {
            if let Some(entry) = self.first_due() {
                return Some(self.remove(entry));
            }
            let place = self.wheel.first();
            let begins = place.map_or(Timestamp(u64::MAX), |place| self.wheel.start_of(place));
            self.wheel.advance(begins.min(now));
            match place {
                Some(place) if begins <= now => self.spread(place),
                _ => {
                    self.quiet_until = begins;
                    return None;
                }
            }
        }
    }

    /// When to look again. Where several timers lie in one place of the wheel that is when the place begins, which may be
    /// before the first of them ends: then they are told apart, and none is taken.
    pub(super) fn next(&self) -> Option<Timestamp> {
        if self.first_due().is_some() {
            return Some(self.wheel.clock());
        }
        let place = self.wheel.first()?;
        let first = &self.entries[self.firsts[place] as usize];
        // One that was placed when it was beyond the wheel may be later than what lies in the places after.
        let alone = first.next == NONE && self.wheel.place_of(first.at) == place;
        Some(if alone { first.at } else { self.wheel.start_of(place) })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn first_due(&self) -> Option<u32> {
        self.firsts[PLACES..].iter().copied().find(|&first| first != NONE)
    }

    /// Places what lies in a place of the wheel that the clock has come to anew.
    fn spread(&mut self, place: usize) {
        let mut entry = std::mem::replace(&mut self.firsts[place], NONE);
        self.wheel.set_used(place, false);
        while entry != NONE {
            let next = self.entries[entry as usize].next;
            self.link(entry);
            entry = next;
        }
    }

    /// Puts an entry into the list of where its time is.
    fn link(&mut self, entry: u32) {
        let Entry { at, timer, .. } = &self.entries[entry as usize];
        let place = if *at > self.wheel.clock() {
            self.wheel.place_of(*at)
        } else {
            PLACES + timer.as_ref().map_or(0, Timer::rank)
        };
        let next = std::mem::replace(&mut self.firsts[place], entry);
        let linked = &mut self.entries[entry as usize];
        (linked.next, linked.before) = (next, PLACE | place as u32);
        if next != NONE {
            self.entries[next as usize].before = entry;
            return;
        }
        let begins = if place < PLACES {
            self.wheel.set_used(place, true);
            self.wheel.start_of(place)
        } else {
            self.wheel.clock()
        };
        self.quiet_until = self.quiet_until.min(begins);
    }

    fn unlink(&mut self, entry: u32) {
        let Entry { next, before, .. } = self.entries[entry as usize];
        if before & PLACE == 0 {
            self.entries[before as usize].next = next;
        } else {
            let place = (before & !PLACE) as usize;
            self.firsts[place] = next;
            if next == NONE && place < PLACES {
                self.wheel.set_used(place, false);
            }
        }
        if next != NONE {
            self.entries[next as usize].before = before;
        }
    }

    fn check(&self, deadline: Deadline) {
        let entry = &self.entries[deadline.entry as usize];
        debug_assert!(
            entry.timer.is_some() && entry.at == deadline.at(),
            "{deadline:?} was of another timer"
        );
    }

    fn take_entry(&mut self, new: Entry) -> u32 {
        if self.free == NONE {
            assert!(self.entries.len() < PLACE as usize, "more timers than there can be ports");
            self.entries.push(new);
            return self.entries.len() as u32 - 1;
        }
        let free = self.free;
        self.free = std::mem::replace(&mut self.entries[free as usize], new).next;
        free
    }

    /// Takes a timer out; its entry is free.
    fn remove(&mut self, entry: u32) -> Timer {
        self.unlink(entry);
        self.len -= 1;
        let freed = &mut self.entries[entry as usize];
        freed.next = std::mem::replace(&mut self.free, entry);
        freed.timer.take().expect("what is in a list is in use")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LATEST: u64 = 4 << 42;

    /// One of two kinds.
    fn timer(n: u64) -> Timer {
        if n.is_multiple_of(3) {
            Timer::Connection(ConnectionId(n as u32))
        } else {
            Timer::Reservation(n.to_be_bytes())
        }
    }

    fn name(timer: &Timer) -> u64 {
        match timer {
            Timer::Connection(ConnectionId(n)) => u64::from(*n),
            Timer::Reservation(n) => u64::from_be_bytes(*n),
            other => panic!("{other:?} was not started"),
        }
    }

    /// Times of every size, from a nanosecond to five hours.
    fn times() -> impl Strategy<Value = u64> {
        (any::<u64>(), 20..64_u32).prop_map(|(any, shift)| (any >> shift) % LATEST)
    }

    proptest! {
        /// Against a map that is sorted: whatever is started, moved and cancelled, the same timers come in the same order,
        /// those too that are started while others are taken.
        #[test]
        fn timers_come_when_and_in_the_order_that_they_are_due(
            began in times(),
            steps in prop::collection::vec((0..6_u8, any::<u16>(), times()), 1..300),
        ) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            let (mut now, mut started) = (began, 0);
            let mut start = |timers: &mut Timers, at| {
                started += 1;
                (started, timers.start(Timestamp(at), timer(started)))
            };
            for (step, which, time) in steps {
                let any = model.keys().nth(usize::from(which) % model.len().max(1)).copied();
                match (step, any) {
                    (0..=2, _) => model.extend([start(&mut timers, now + time)]),
                    (3, Some(name)) => timers.restart(model.get_mut(&name).unwrap(), Timestamp(now + time)),
                    (4, Some(name)) => timers.cancel(model.remove(&name).unwrap()),
                    _ => {
                        now += time;
                        while let Some(due) = timers.pop_due(Timestamp(now)) {
                            let first = model.iter().map(|(&n, d)| (d.at(), timer(n).rank())).min();
                            let at = model.remove(&name(&due)).unwrap().at();
                            prop_assert_eq!(first, Some((at, due.rank())));
                            prop_assert!(at <= Timestamp(now));
                            if name(&due).is_multiple_of(4) {
                                model.extend([start(&mut timers, at.0 + time / 2)]);
                            }
                        }
                        prop_assert!(model.values().all(|d| d.at() > Timestamp(now)));
                        prop_assert!(timers.next().is_none_or(|next| next > Timestamp(now)));
                    }
                }
                let first = model.values().map(|d| d.at()).min();
                prop_assert_eq!(timers.next().is_some(), first.is_some());
                prop_assert!(timers.next() <= first);
                prop_assert_eq!(timers.len(), model.len());
            }
        }

        /// Whoever looks only when told to misses none, and is told so at most once more for each level of the wheel.
        #[test]
        fn looks_are_few_and_none_is_late(began in times(), delays in prop::collection::vec(times(), 1..50)) {
            let mut timers = Timers::default();
            timers.pop_due(Timestamp(began));
            let deadlines: BTreeMap<_, _> =
                (1..).zip(&delays).map(|(n, delay)| (n, timers.start(Timestamp(began + delay), timer(n)))).collect();
            let (mut taken, mut looks) = (0, 0);
            while let Some(now) = timers.next() {
                looks += 1;
                while let Some(due) = timers.pop_due(now) {
                    prop_assert_eq!(deadlines[&name(&due)].at(), now);
                    taken += 1;
                }
            }
            prop_assert_eq!(taken, delays.len());
            let rounds = LATEST as usize >> 42;
            prop_assert!(looks <= (4 + rounds) * taken, "{} looks for {} timers", looks, taken);
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
    fn a_timer_that_is_alone_is_looked_for_when_it_is_due() {
        let mut timers = Timers::default();
        timers.pop_due(Timestamp(1 << 50));
        let at = Timestamp((1 << 50) + 600_123_456_789);
        let mut deadline = timers.start(at, timer(1));
        assert_eq!(timers.next(), Some(at));
        timers.restart(&mut deadline, Timestamp(at.0 + 7));
        assert_eq!(timers.next(), Some(Timestamp(at.0 + 7)));
        assert_eq!(timers.pop_due(Timestamp(at.0 + 6)), None);
        assert_eq!(timers.pop_due(Timestamp(at.0 + 7)), Some(timer(1)));
        assert_eq!(timers.next(), None);
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
    fn a_timer_takes_no_more_than_40_bytes() {
        assert!(size_of::<Entry>() <= 40);
        assert_eq!(size_of::<Deadline>(), 12);
    }
}
