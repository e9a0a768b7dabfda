//! The limits on the data of a TCP allocation, for whoever carries it.

use std::fmt;
use std::sync::Arc;

use super::super::accounts::Account;
use super::super::allocations::Allocation;
use super::super::metering::{Direction, Metered};
use crate::time::Timestamp;

/// How fast a connection may carry data: by the same meters as all other data of its allocation and its user.
#[derive(Clone)]
pub struct Pace(Option<(Arc<Metered>, Arc<Account>)>);

impl Pace {
    pub(super) fn of(allocation: &Allocation) -> Self {
        Self(allocation.metered.clone().map(|metered| (metered, Arc::clone(&allocation.account))))
    }

    /// As fast as it can.
    pub const fn unlimited() -> Self {
        Self(None)
    }

    /// Whether there are limits. What is carried must be taken in pieces then that a meter may let pass.
    pub const fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Whether so many bytes may go on now; they count as one datagram.
    pub fn take(&self, direction: Direction, now: Timestamp, bytes: usize) -> bool {
        self.0.as_ref().is_none_or(|(metered, account)| metered.pass(account, direction, now, bytes))
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("limited", &self.is_limited()).finish()
    }
}

/// The same meters.
impl PartialEq for Pace {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some((one, _)), Some((two, _))) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() == two.is_none(),
        }
    }
}

impl Eq for Pace {}
