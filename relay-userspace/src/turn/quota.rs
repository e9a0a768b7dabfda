//! How many relayed addresses each user and all users together hold, over all cores.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::config::CoreConfig;

/// The places taken so far. Locked when allocations come and go, never on the packet path.
#[derive(Default, Debug)]
pub(super) struct Quotas(Mutex<Held>);

#[derive(Default, Debug)]
struct Held {
    total: u32,
    by_user: HashMap<Box<str>, u32>,
}

/// The user, or all users together, may hold no more (486, RFC 8656 section 7.2).
#[derive(Debug)]
pub(super) struct QuotaReached;

impl Quotas {
    /// Takes `places` places for a user, or none.
    pub(super) fn take(&self, user: &str, places: u32, limits: &CoreConfig) -> Result<(), QuotaReached> {
        let mut held = self.held();
        let of_user = held.by_user.get(user).copied().unwrap_or(0);
        if of_user + places > limits.user_quota.unwrap_or(u32::MAX)
            || held.total + places > limits.total_quota.unwrap_or(u32::MAX)
        {
            return Err(QuotaReached);
        }
        held.total += places;
        match held.by_user.get_mut(user) {
            Some(count) => *count += places,
            None => drop(held.by_user.insert(user.into(), places)),
        }
        Ok(())
    }

    /// Gives `places` places back; a user without any is forgotten.
    pub(super) fn give_back(&self, user: &str, places: u32) {
        let mut held = self.held();
        held.total -= places;
        let count = held.by_user.get_mut(user).expect("only places taken are given back");
        *count -= places;
        if *count == 0 {
            held.by_user.remove(user);
        }
    }

    /// Places taken by all users.
    pub(super) fn total(&self) -> u32 {
        self.held().total
    }

    /// Users that hold a place.
    pub(super) fn users(&self) -> usize {
        self.held().by_user.len()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
