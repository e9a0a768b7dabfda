//! One realm: its users, and what it offers them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::credentials::{AuthError, Authenticated, Credentials};
use super::known_keys::KnownKeys;
use super::offer::Offer;
use crate::stun::{Key, Message, PasswordAlgorithm, userhash};

/// Users under one REALM (RFC 8489 section 9.2). A user name in two realms is two users.
#[derive(Debug)]
pub struct Realm {
    pub(super) name: Arc<str>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) origins: Vec<String>,
    pub(super) is_default: bool,
    credentials: Credentials,
    offer: Offer,
    /// Static users by USERHASH. Time-limited ones cannot be listed.
    by_hash: HashMap<[u8; 32], String>,
}

/// A realm that could not serve all of its users.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRealm {
    /// No request could be authenticated.
    #[error(
        "realm {0:?} has no password algorithm: leave the list out for both, or write [\"sha-256\", \"md5\"]"
    )]
    NoAlgorithm(String),
    /// No algorithm is left that serves them all.
    #[error(
        "realm {realm:?} has no password algorithm that all of its users have a key for: user {user:?} has none for \
         {algorithm}; store both (`turnpike creds --key`)"
    )]
    NoCommonAlgorithm {
        /// Which realm.
        realm: String,
        /// One who has no key for it.
        user: String,
        /// The last algorithm tried.
        algorithm: PasswordAlgorithm,
    },
}

/// Who sent a request, as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim<'m> {
    /// USERNAME.
    Name(&'m str),
    /// USERHASH, so that nobody on the way learns the name.
    Hash([u8; 32]),
}

/// The user of a realm who sent a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User<'m> {
    /// USERNAME, also where the request has its hash only; an allocation belongs to it (441 for others).
    pub username: Cow<'m, str>,
    /// The name by which quotas and limits know it, see [`Realm::account`].
    pub account: String,
    /// What the response's integrity attribute is made with.
    pub key: Key,
}

impl Realm {
    /// A realm and its users, with both password algorithms as far as every user has keys for them.
    pub fn new(name: &str, credentials: Credentials) -> Result<Self, InvalidRealm> {
        Self::with_algorithms(name, credentials, &[PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5])
    }

    /// The same with these password algorithms at most, the preferred one first.
    ///
    /// An algorithm for which some user has no key is not offered: the server does not know who asks when it makes its
    /// offer, and that user's client would choose in vain.
    pub fn with_algorithms(
        name: &str,
        credentials: Credentials,
        wanted: &[PasswordAlgorithm],
    ) -> Result<Self, InvalidRealm> {
        let (possible, impossible): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|a| credentials.user_without(**a).is_none());
        if possible.is_empty() {
            let lacking = impossible.last().and_then(|a| Some((*a, credentials.user_without(*a)?)));
            return Err(match lacking {
                None => InvalidRealm::NoAlgorithm(name.into()),
                Some((algorithm, user)) => {
                    InvalidRealm::NoCommonAlgorithm { realm: name.into(), user: user.into(), algorithm }
                }
            });
        }
        let by_hash: HashMap<_, _> =
            credentials.users().map(|user| (userhash(user, name), user.to_owned())).collect();
        // RFC 8489 section 9.2.5: where it is offered, a client MUST send the hash and not the name. Nobody could tell
        // whose hash that of a time-limited user is, so where there may be any, it is not offered; it is understood.
        let offer = Offer::new(possible, !by_hash.is_empty() && credentials.all_are_listed());
        let (listeners, origins) = Default::default();
        Ok(Self { name: name.into(), listeners, origins, is_default: false, credentials, offer, by_hash })
    }

    /// For these listeners only; all of them when empty.
    pub fn on_listeners(self, listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { listeners: listeners.into_iter().collect(), ..self }
    }

    /// For web pages of these origins only (ORIGIN attribute, draft-ietf-tram-stun-origin); all clients of its
    /// listeners when empty.
    pub fn for_origins(self, origins: impl IntoIterator<Item = String>) -> Self {
        Self { origins: origins.into_iter().collect(), ..self }
    }

    /// REALM.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What goes with a challenge.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The user who sent a request, if it is made with the user's key; see [`Credentials::authenticate`]. The hash of a
    /// time-limited username is unknown: who has only secrets cannot look it up.
    pub fn authenticate<'m>(
        &self,
        request: &Message<'_>,
        claim: Claim<'m>,
        algorithm: PasswordAlgorithm,
        unix_now: u64,
        known: &mut KnownKeys,
    ) -> Result<User<'m>, AuthError> {
        if !self.offer.accepts(algorithm) {
            return Err(AuthError::NoKey);
        }
        let named = match claim {
            Claim::Name(name) => Cow::Borrowed(name),
            Claim::Hash(hash) => Cow::Owned(self.by_hash.get(&hash).ok_or(AuthError::UnknownUser)?.clone()),
        };
        let Authenticated { account, key } =
            self.credentials.authenticate(request, &named, &self.name, algorithm, unix_now, known)?;
        let account = self.account(account).into_owned();
        Ok(User { username: named, account, key })
    }

    /// The name by which quotas and limits know an account of this realm: in the default realm its own, in others
    /// `REALM\ACCOUNT`. No realm has a backslash in its name, and an account of the default realm that has one gets
    /// another before it, so that no two accounts ever have the same.
    pub fn account<'a>(&self, account: &'a str) -> Cow<'a, str> {
        match self.is_default {
            true if account.contains('\\') => format!("\\{account}").into(),
            true => account.into(),
            false => format!("{}\\{account}", self.name).into(),
        }
    }

    pub(super) fn serves(&self, listener: SocketAddr) -> bool {
        self.listeners.is_empty() || self.listeners.contains(&listener)
    }

    pub(super) fn shares_a_listener(&self, other: &Realm) -> bool {
        self.listeners.is_empty()
            || other.listeners.is_empty()
            || self.listeners.iter().any(|l| other.serves(*l))
    }
}
