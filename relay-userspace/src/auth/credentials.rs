//! Static users and time-limited users of shared secrets.

use std::collections::HashMap;
use std::fmt;

use super::known_keys::KnownKeys;
use super::password::{BadKey, Password};
use super::time_limited::{self, SecretHash};
use crate::stun::{Key, MAX_USERNAME_LEN, Message, PasswordAlgorithm};

/// The users and shared secrets of a realm. The default has none and lets nobody in.
///
/// A time-limited username is `EXPIRY:NAME` or just `EXPIRY`, the expiry in Unix seconds, and its password is
/// base64(HMAC(secret, username)): what coturn and most WebRTC back ends use, with SHA-1 ("TURN REST API",
/// draft-uberti-behave-turn-rest-00). Any of the secrets may have made it, so that a secret can be replaced while
/// credentials made from the old one are in use, and any of the hashes.
///
/// Static users come first: a name that is listed is never read as a time-limited one.
#[derive(Clone)]
pub struct Credentials {
    users: HashMap<String, Password>,
    secrets: Vec<String>,
    secret_hashes: Vec<SecretHash>,
}

/// Credentials that a server must not start with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidCredentials {
    /// Everybody could compute its passwords.
    #[error("an empty shared secret lets everybody in: give it a value or leave it out")]
    EmptySecret,
    /// The name cannot be sent.
    #[error("a user without a name: write NAME:PASSWORD")]
    EmptyName,
    /// The name cannot be sent.
    #[error(
        "user {0:?} has more than {MAX_USERNAME_LEN} bytes in its name, which is all that STUN can carry"
    )]
    LongName(String),
    /// Everybody could guess it.
    #[error("user {0:?} has no password: write NAME:PASSWORD")]
    EmptyPassword(String),
    /// Neither password nor key.
    #[error("user {0:?}: {1}")]
    BadKey(String, BadKey),
    /// It is not clear which password holds.
    #[error("user {0:?} is listed twice: remove one of them")]
    TwiceListed(String),
}

/// Why a request is not believed. All are answered 401 (RFC 8489 section 9.2.4); which one it was is for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// No such user, and no time-limited username either.
    #[error("unknown user")]
    UnknownUser,
    /// A time-limited username whose time is over.
    #[error("the credential has expired")]
    Expired,
    /// The integrity attribute is missing or not made with the user's password.
    #[error("wrong password")]
    WrongPassword,
    /// A key of the client's algorithm cannot be had, or is not wanted: only the other one's is stored, or the realm
    /// does without it.
    #[error("no key for this password algorithm")]
    NoKey,
}

/// A request that is what its user sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authenticated<'m> {
    /// Whom to count quotas for: the same person behind every `EXPIRY:NAME`, so that a fresh credential is no
    /// way out of a quota. The whole username where there is no name.
    pub account: &'m str,
    /// What the response's integrity attribute is made with.
    pub key: Key,
}

impl Credentials {
    /// From users with their passwords or stored keys as [`Password::read`] takes them, and shared secrets.
    pub fn new(
        users: impl IntoIterator<Item = (String, String)>,
        secrets: impl IntoIterator<Item = String>,
    ) -> Result<Self, InvalidCredentials> {
        let mut credentials = Self::default();
        for (name, password) in users {
            if name.is_empty() {
                return Err(InvalidCredentials::EmptyName);
            }
            if name.len() > MAX_USERNAME_LEN {
                return Err(InvalidCredentials::LongName(name));
            }
            let password =
                Password::read(&password).map_err(|e| InvalidCredentials::BadKey(name.clone(), e))?;
            if password.is_empty() {
                return Err(InvalidCredentials::EmptyPassword(name));
            }
            if credentials.users.contains_key(&name) {
                return Err(InvalidCredentials::TwiceListed(name));
            }
            credentials.users.insert(name, password);
        }
        for secret in secrets {
            if secret.is_empty() {
                return Err(InvalidCredentials::EmptySecret);
            }
            credentials.secrets.push(secret);
        }
        Ok(credentials)
    }

    /// With passwords of time-limited users made by these hashes only, tried in this order; by either, SHA-1 first,
    /// otherwise. One fewer means fewer hashes for every wrong password.
    pub fn with_secret_hashes(self, secret_hashes: Vec<SecretHash>) -> Self {
        Self { secret_hashes, ..self }
    }

    /// Static users.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Whether nobody but the static users can come in.
    pub fn all_are_listed(&self) -> bool {
        self.secrets.is_empty()
    }

    /// A static user for whom no key of this algorithm can be had, if there is one.
    pub fn user_without(&self, algorithm: PasswordAlgorithm) -> Option<&str> {
        let mut without = self.users.iter().filter(|(_, password)| !password.supports(algorithm));
        without.next().map(|(name, _)| name.as_str())
    }

    /// Checks a request's integrity attribute against every password that `username` (its USERNAME, or whom its USERHASH
    /// stands for) may have.
    ///
    /// An expired credential is refused whatever the request is, so that it cannot be refreshed for ever; the
    /// allocation then lives until the lifetime it was last given. `unix_now` is in seconds. `known` has keys made from
    /// these credentials and no others.
    pub fn authenticate<'m>(
        &self,
        request: &Message<'_>,
        username: &'m str,
        realm: &str,
        algorithm: PasswordAlgorithm,
        unix_now: u64,
        known: &mut KnownKeys,
    ) -> Result<Authenticated<'m>, AuthError> {
        let password = self.users.get(username);
        let account = if password.is_some() { username } else { self.time_limited(username, unix_now)? };
        if let Some(key) = known.get(realm, username, algorithm)
            && request.is_authentic(key)
        {
            return Ok(Authenticated { account, key: key.clone() });
        }
        let key = match password {
            Some(password) => {
                let key = password.key(algorithm, username, realm).ok_or(AuthError::NoKey)?;
                request.is_authentic(&key).then_some(key)
            }
            None => {
                let hashes = &self.secret_hashes;
                let passwords =
                    self.secrets.iter().flat_map(|s| hashes.iter().map(|hash| hash.password(s, username)));
                let mut keys = passwords.map(|p| Key::with_algorithm(algorithm, username, realm, &p));
                keys.find(|key| request.is_authentic(key))
            }
        };
        let key = key.ok_or(AuthError::WrongPassword)?;
        known.insert(realm, username, algorithm, &key);
        Ok(Authenticated { account, key })
    }

    /// Whom a time-limited username stands for, while its time lasts.
    fn time_limited<'m>(&self, username: &'m str, unix_now: u64) -> Result<&'m str, AuthError> {
        if self.secrets.is_empty() {
            return Err(AuthError::UnknownUser);
        }
        let (expiry, account) = time_limited::split(username).ok_or(AuthError::UnknownUser)?;
        if expiry <= unix_now {
            return Err(AuthError::Expired);
        }
        Ok(account)
    }
}

impl Default for Credentials {
    fn default() -> Self {
        let (users, secrets) = Default::default();
        Self { users, secrets, secret_hashes: vec![SecretHash::Sha1, SecretHash::Sha256] }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} users, {} secrets)", self.users.len(), self.secrets.len())
    }
}
