//! Ports kept for the second half of an RTP/RTCP pair (EVEN-PORT with R = 1, RFC 8656 section 7.2), over all cores.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::accounts::Account;
use super::types::RelayAddr;

/// How long a port is kept: RFC 8656 section 7.2 recommends at least 30 seconds.
pub(super) const LIFETIME: Duration = Duration::from_secs(30);

/// The value of RESERVATION-TOKEN: random, so that it cannot be guessed.
pub(super) type Token = [u8; 8];

/// A port that nobody but its user may claim. It holds its port in the pool and a place in its user's quota, which
/// pass to the allocation that claims it.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) relayed: RelayAddr,
    pub(super) account: Arc<Account>,
}

/// All reservations of a server.
#[derive(Default, Debug)]
pub(super) struct Reservations(Mutex<HashMap<Token, Reservation>>);

impl Reservations {
    /// Keeps a reservation under a token from `draw`, which is asked again should the token be taken.
    pub(super) fn insert(&self, reservation: Reservation, mut draw: impl FnMut() -> Token) -> Token {
        let mut map = self.map();
        loop {
            if let Entry::Vacant(vacant) = map.entry(draw()) {
                let token = *vacant.key();
                vacant.insert(reservation);
                return token;
            }
        }
    }

    /// The reservation, when it belongs to this user; it is gone then.
    pub(super) fn claim(&self, token: &Token, user: &str) -> Option<Reservation> {
        let mut map = self.map();
        (map.get(token)?.account.name() == user).then(|| map.remove(token)).flatten()
    }

    /// The reservation, if nobody claimed it in time.
    pub(super) fn expire(&self, token: &Token) -> Option<Reservation> {
        self.map().remove(token)
    }

    pub(super) fn len(&self) -> usize {
        self.map().len()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Token, Reservation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
