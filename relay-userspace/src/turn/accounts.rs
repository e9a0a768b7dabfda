//! What each user holds and has used up, over all cores: places of the quotas, and the token buckets of rates.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashTable;

use super::metering;
use crate::meter_bank::Meter;
use crate::policy::Bucket;
use crate::time::Timestamp;

/// Most accounts kept for their buckets alone. Their users authenticated within the last minute or so.
const MOST_IDLE: usize = 1 << 16;

/// One user, whatever the number of allocations. Found once, when an allocation is made, which then holds on to it, so
/// that nothing is looked up or locked for a packet.
#[derive(Debug)]
pub(super) struct Account {
    name: Box<str>,
    /// Counts what all allocations of the user relay together, from the first whose user is limited.
    pub(super) meter: OnceLock<Box<Meter>>,
    /// New permissions.
    pub(super) new_peers: Bucket,
    /// Connections with peers (RFC 6062), of all allocations.
    connections: AtomicUsize,
}

/// All accounts. Asked when allocations come and go, never on the packet path.
///
/// A user may have allocations at several shards, so all of them ask here. What they ask is spread over many parts by the
/// user's name, each with a lock that is held for less than a microsecond: two shards meet only when they let in or out users of
/// the same part within that time.
#[derive(Debug)]
pub(super) struct Accounts {
    /// Places taken by all users.
    total: AtomicU32,
    parts: Box<[Part]>,
    keys: RandomState,
}

/// Apart from the others also in the CPU's cache.
#[derive(Default, Debug)]
#[repr(align(64))]
struct Part(Mutex<Books>);

#[derive(Default, Debug)]
struct Books {
    /// Users with a place, and those whose buckets are not full yet.
    by_name: HashTable<Entry>,
    /// Users without a place, by the time at which their buckets are full. Until then they are remembered: who hangs up
    /// and comes again goes on where he was.
    idle: BTreeSet<(Timestamp, Box<str>)>,
    /// Most of them.
    most_idle: usize,
}

#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    /// Under which time it is among the idle ones; 0 if it is not. The buckets do not tell: XDP counts until the bindings
    /// are withdrawn, which is after the last place was given back.
    idle_until: Timestamp,
    places: u32,
}

/// How many places there are.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Quotas {
    pub(super) user: Option<u32>,
    pub(super) total: Option<u32>,
}

/// The user, or all users together, may hold no more (486, RFC 8656 section 7.2).
#[derive(Debug)]
pub(super) struct QuotaReached;

impl Default for Accounts {
    fn default() -> Self {
        Self::in_parts(128)
    }
}

impl Accounts {
    fn in_parts(parts: usize) -> Self {
        let books = || Books { most_idle: MOST_IDLE / parts, ..Books::default() };
        let parts = iter::repeat_with(|| Part(books().into())).take(parts).collect();
        Self { total: AtomicU32::new(0), parts, keys: RandomState::new() }
    }

    /// Takes `places` places for a user, or none.
    pub(super) fn take(
        &self,
        user: &str,
        places: u32,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<Arc<Account>, QuotaReached> {
        let most = quotas.user.unwrap_or(u32::MAX);
        let (hash, mut books) = self.books_of(user);
        let account = books.take(hash, user, places, now, most, &self.keys)?;
        // Only then those of all users: a user that has too many must not take a place from others even for a moment.
        let most = quotas.total.unwrap_or(u32::MAX);
        let more = |total: u32| total.checked_add(places).filter(|&total| total <= most);
        if self.total.fetch_update(Relaxed, Relaxed, more).is_err() {
            books.give_back(hash, &account, places, now, &self.keys);
            return Err(QuotaReached);
        }
        Ok(account)
    }

    /// Gives `places` places back. A user without any is forgotten as soon as that makes no difference.
    pub(super) fn give_back(&self, account: &Account, places: u32, now: Timestamp) {
        let (hash, mut books) = self.books_of(&account.name);
        books.give_back(hash, account, places, now, &self.keys);
        self.total.fetch_sub(places, Relaxed);
    }

    /// Places taken by all users.
    pub(super) fn total(&self) -> u32 {
        self.total.load(Relaxed)
    }

    /// Users that hold a place.
    pub(super) fn users(&self) -> usize {
        let of_part = |part: &Part| {
            let books = part.books();
            books.by_name.len() - books.idle.len()
        };
        self.parts.iter().map(of_part).sum()
    }

    fn books_of(&self, user: &str) -> (u64, MutexGuard<'_, Books>) {
        let hash = self.keys.hash_one(user);
        // Neither the upper nor the lower bits, by which the table places a user.
        (hash, self.parts[(hash >> 32) as usize % self.parts.len()].books())
    }
}

impl Part {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn take(
        &mut self,
        hash: u64,
        user: &str,
        places: u32,
        now: Timestamp,
        most: u32,
        keys: &RandomState,
    ) -> Result<Arc<Account>, QuotaReached> {
        self.forget_idle(now, keys);
        let found = self.by_name.find_mut(hash, |entry| *entry.account.name == *user);
        let of_user = found.as_ref().map_or(0, |entry| entry.places);
        if of_user.checked_add(places).is_none_or(|places| places > most) {
            return Err(QuotaReached);
        }
        let Some(entry) = found else {
            let account = Arc::new(Account {
                name: user.into(),
                meter: OnceLock::new(),
                new_peers: Bucket::default(),
                connections: AtomicUsize::new(0),
            });
            let entry = Entry { account: account.clone(), idle_until: Timestamp(0), places };
            self.by_name.insert_unique(hash, entry, |entry| keys.hash_one(&*entry.account.name));
            return Ok(account);
        };
        if entry.idle_until > Timestamp(0) {
            self.idle.remove(&(std::mem::take(&mut entry.idle_until), user.into()));
        }
        entry.places += places;
        Ok(Arc::clone(&entry.account))
    }

    fn give_back(&mut self, hash: u64, account: &Account, places: u32, now: Timestamp, keys: &RandomState) {
        let found = self.by_name.find_entry(hash, |entry| std::ptr::eq(&*entry.account, account));
        let mut entry = found.expect("only places taken are given back");
        entry.get_mut().places -= places;
        if entry.get().places == 0 {
            let full_at = account.full_at();
            if full_at <= now {
                entry.remove();
            } else {
                entry.get_mut().idle_until = full_at;
                self.idle.insert((full_at, account.name.clone()));
            }
        }
        self.forget_idle(now, keys);
    }

    /// Forgets users whose buckets are full, and those nearest to it when there are too many.
    fn forget_idle(&mut self, now: Timestamp, keys: &RandomState) {
        while let Some((full_at, _)) = self.idle.first()
            && (*full_at <= now || self.idle.len() > self.most_idle)
        {
            let (_, name) = self.idle.pop_first().expect("there is a first");
            let of_name = |entry: &Entry| entry.account.name == name;
            if let Ok(entry) = self.by_name.find_entry(keys.hash_one(&*name), of_name) {
                entry.remove();
            }
        }
    }
}

impl Account {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name that the operator knows the user by. [`Realm::account`](crate::auth::Realm::account) puts the realm and a
    /// backslash before it, or just the backslash, where it is not all there is.
    pub(super) fn person(&self) -> &str {
        self.name.split_once('\\').map_or(&self.name, |(_, person)| person)
    }

    /// Takes a place for a connection with a peer, if the user has not `most` already.
    pub(super) fn take_connection(&self, most: usize) -> bool {
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        self.connections.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives that place back.
    pub(super) fn give_back_connection(&self) {
        let taken = self.connections.fetch_sub(1, Relaxed);
        debug_assert!(taken > 0, "a connection ended twice");
    }

    fn full_at(&self) -> Timestamp {
        self.meter
            .get()
            .map(|meter| metering::full_at(meter))
            .unwrap_or_default()
            .max(self.new_peers.full_at())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter_bank::MeterBank;
    use crate::policy::Rate;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_user_without_a_place_is_remembered_until_its_buckets_are_full() {
        let (accounts, quotas) = (Accounts::default(), Quotas::default());
        let rate = Rate::new(1, Duration::from_secs(1), 30);
        let account = accounts.take("alice", 1, START, quotas).unwrap();
        assert!(account.new_peers.take(&rate, START, 30));
        accounts.give_back(&account, 1, START);
        assert_eq!((accounts.total(), accounts.users()), (0, 0));

        let again = accounts.take("alice", 1, after(29), quotas).unwrap();
        assert!(Arc::ptr_eq(&account, &again), "hanging up is no way out");
        assert_eq!(accounts.users(), 1);
        accounts.give_back(&again, 1, after(29));
        let fresh = accounts.take("alice", 1, after(30), quotas).unwrap();
        assert!(!Arc::ptr_eq(&account, &fresh), "full buckets need not be remembered");
    }

    #[test]
    fn a_user_that_xdp_counts_after_its_last_place_is_not_forgotten_while_it_has_one_again() {
        let (accounts, quotas, bank) =
            (Accounts::default(), Quotas::default(), Arc::new(MeterBank::default()));
        let account = accounts.take("alice", 1, START, quotas).unwrap();
        let line = &account.meter.get_or_init(|| bank.take(START).into()).row().to_peer;
        line.packets.set(Rate::new(1, Duration::from_secs(1), 30).limit());
        assert!(line.take(START.0, 0));
        accounts.give_back(&account, 1, START);
        assert!(line.take(START.0, 0), "the bindings are withdrawn a moment later");

        let again = accounts.take("alice", 1, START, quotas).unwrap();
        assert!(Arc::ptr_eq(&account, &again));
        accounts.take("bob", 1, after(60), quotas).unwrap();
        assert_eq!((accounts.users(), accounts.total()), (2, 2));
        accounts.give_back(&again, 1, after(60));
        assert_eq!((accounts.users(), accounts.total()), (1, 1));
    }

    #[test]
    fn places_taken_at_once_by_many_threads_are_never_more_than_there_are() {
        let accounts = Accounts::default();
        let quotas = Quotas { user: Some(30), total: Some(100) };
        let take_all = |thread: usize| {
            let taken = (0..1_000).filter_map(|n| {
                let user = ["alice", "bob", "carol", "dave"][(thread + n) % 4];
                accounts.take(user, 1, START, quotas).ok()
            });
            taken.collect::<Vec<_>>()
        };
        let taken: Vec<_> = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || take_all(thread)));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((taken.len(), accounts.total(), accounts.users()), (100, 100, 4));
        taken.iter().for_each(|account| accounts.give_back(account, 1, START));
        assert_eq!((accounts.total(), accounts.users()), (0, 0));
    }

    #[test]
    fn a_user_that_is_refused_takes_no_place_from_others_meanwhile() {
        let accounts = Accounts::default();
        let quotas = Quotas { user: Some(1), total: Some(2) };
        accounts.take("alice", 1, START, quotas).unwrap();
        let (_, held) = accounts.books_of("alice");
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| accounts.take("alice", 1, START, quotas).is_err());
            // It waits for the lock. All the while, the last place is free.
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(1));
                assert_eq!(accounts.total(), 1);
            }
            drop(held);
            assert!(refused.join().unwrap());
        });
    }

    #[test]
    fn a_user_that_finds_the_server_full_keeps_no_place() {
        let accounts = Accounts::default();
        let quotas = Quotas { user: Some(2), total: Some(1) };
        let alice = accounts.take("alice", 1, START, quotas).unwrap();
        assert!(accounts.take("alice", 1, START, quotas).is_err());
        assert!(accounts.take("bob", 1, START, quotas).is_err());
        assert_eq!((accounts.total(), accounts.users()), (1, 1));
        accounts.give_back(&alice, 1, START);
        assert_eq!((accounts.total(), accounts.users()), (0, 0));
    }

    #[test]
    fn no_more_than_so_many_idle_users_are_remembered() {
        let (accounts, quotas) = (Accounts::in_parts(1), Quotas::default());
        let rate = Rate::new(1, Duration::from_secs(1), u64::MAX >> 32);
        for n in 0..MOST_IDLE as u64 + 100 {
            let account = accounts.take(&n.to_string(), 1, START, quotas).unwrap();
            assert!(account.new_peers.take(&rate, START, 1_000 + n));
            accounts.give_back(&account, 1, START);
        }
        let books = accounts.parts[0].books();
        assert_eq!((books.by_name.len(), books.idle.len()), (MOST_IDLE, MOST_IDLE));
        let remembers = |name: &str| books.by_name.iter().any(|entry| *entry.account.name == *name);
        assert!(!remembers("99") && remembers("100"), "nearest to full first");
    }
}
