//! What each user holds and has used up, over all cores: places of the quotas, and the token buckets of rates.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    pub(super) meter: OnceLock<Meter>,
    /// New permissions.
    pub(super) new_peers: Bucket,
}

/// All accounts. Locked when allocations come and go, never on the packet path.
#[derive(Default, Debug)]
pub(super) struct Accounts(Mutex<Books>);

#[derive(Default, Debug)]
struct Books {
    /// Places taken by all users.
    total: u32,
    /// Users with a place, and those whose buckets are not full yet.
    by_name: HashMap<Box<str>, Entry>,
    /// Users without a place, by the time at which their buckets are full. Until then they are remembered: who hangs up
    /// and comes again goes on where he was.
    idle: BTreeSet<(Timestamp, Box<str>)>,
}

#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    places: u32,
    /// Under which time it is among the idle ones. The buckets do not tell: XDP counts until the bindings are withdrawn, which
    /// is after the last place was given back.
    idle_until: Option<Timestamp>,
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

impl Accounts {
    /// Takes `places` places for a user, or none.
    pub(super) fn take(
        &self,
        user: &str,
        places: u32,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<Arc<Account>, QuotaReached> {
        let mut books = self.books();
        books.forget_idle(now);
        let of_user = books.by_name.get(user).map_or(0, |entry| entry.places);
        if of_user + places > quotas.user.unwrap_or(u32::MAX)
            || books.total + places > quotas.total.unwrap_or(u32::MAX)
        {
            return Err(QuotaReached);
        }
        books.total += places;
        books.wake(user);
        let entry = books.by_name.entry(user.into()).or_insert_with(|| Entry::new(user));
        entry.places += places;
        Ok(Arc::clone(&entry.account))
    }

    /// Gives `places` places back. A user without any is forgotten as soon as that makes no difference.
    pub(super) fn give_back(&self, account: &Account, places: u32, now: Timestamp) {
        let mut books = self.books();
        books.total -= places;
        let entry = books.by_name.get_mut(&account.name).expect("only places taken are given back");
        entry.places -= places;
        if entry.places == 0 {
            let full_at = account.full_at();
            entry.idle_until = Some(full_at);
            books.idle.insert((full_at, account.name.clone()));
        }
        books.forget_idle(now);
    }

    /// Places taken by all users.
    pub(super) fn total(&self) -> u32 {
        self.books().total
    }

    /// Users that hold a place.
    pub(super) fn users(&self) -> usize {
        let books = self.books();
        books.by_name.len() - books.idle.len()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// The user is not idle any more.
    fn wake(&mut self, user: &str) {
        if let Some(at) = self.by_name.get_mut(user).and_then(|entry| entry.idle_until.take()) {
            self.idle.remove(&(at, user.into()));
        }
    }

    /// Forgets users whose buckets are full, and those nearest to it when there are too many.
    fn forget_idle(&mut self, now: Timestamp) {
        while let Some((full_at, _)) = self.idle.first()
            && (*full_at <= now || self.idle.len() > MOST_IDLE)
        {
            let (_, name) = self.idle.pop_first().expect("there is a first");
            self.by_name.remove(&name);
        }
    }
}

impl Entry {
    fn new(user: &str) -> Self {
        let account = Account { name: user.into(), meter: OnceLock::new(), new_peers: Bucket::default() };
        Self { account: Arc::new(account), places: 0, idle_until: None }
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

    fn full_at(&self) -> Timestamp {
        self.meter.get().map(metering::full_at).unwrap_or_default().max(self.new_peers.full_at())
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
        let line = &account.meter.get_or_init(|| bank.take(START)).row().to_peer;
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
    fn no_more_than_so_many_idle_users_are_remembered() {
        let (accounts, quotas) = (Accounts::default(), Quotas::default());
        let rate = Rate::new(1, Duration::from_secs(1), u64::MAX >> 32);
        for n in 0..MOST_IDLE as u64 + 100 {
            let account = accounts.take(&n.to_string(), 1, START, quotas).unwrap();
            assert!(account.new_peers.take(&rate, START, 1_000 + n));
            accounts.give_back(&account, 1, START);
        }
        let books = accounts.books();
        assert_eq!((books.by_name.len(), books.idle.len()), (MOST_IDLE, MOST_IDLE));
        assert!(
            !books.by_name.contains_key("99") && books.by_name.contains_key("100"),
            "nearest to full first"
        );
    }
}
