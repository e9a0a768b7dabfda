//! Static users and time-limited users of shared secrets.

use std::collections::HashMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::base64;
use crate::stun::{Key, MAX_USERNAME_LEN, Message};

/// The users and shared secrets of a realm. The default has none and lets nobody in.
///
/// A time-limited username is `EXPIRY:NAME` or just `EXPIRY`, the expiry in Unix seconds, and its password is
/// base64(HMAC-SHA1(secret, username)): what coturn and most WebRTC back ends use ("TURN REST API",
/// draft-uberti-behave-turn-rest-00). Any of the secrets may have made it, so that a secret can be replaced while
/// credentials made from the old one are in use.
///
/// Static users come first: a name that is listed is never read as a time-limited one.
#[derive(Default)]
pub struct Credentials {
    users: HashMap<String, String>,
    secrets: Vec<String>,
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
    /// MESSAGE-INTEGRITY is missing or not made with the user's password.
    #[error("wrong password")]
    WrongPassword,
}

/// A request that is what its user sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authenticated<'m> {
    /// USERNAME as sent; an allocation belongs to it (441 for others).
    pub username: &'m str,
    /// Whom to count quotas for: the same person behind every `EXPIRY:NAME`, so that a fresh credential is no
    /// way out of a quota. The whole username where there is no name.
    pub account: &'m str,
    /// What the response's MESSAGE-INTEGRITY is made with.
    pub key: Key,
}

impl Credentials {
    /// From users with their passwords, and shared secrets.
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

    /// Checks a request's MESSAGE-INTEGRITY against every password that `username` (its USERNAME) may have.
    ///
    /// An expired credential is refused whatever the request is, so that it cannot be refreshed for ever; the
    /// allocation then lives until the lifetime it was last given. `unix_now` is in seconds.
    pub fn authenticate<'m>(
        &self,
        request: &Message<'_>,
        username: &'m str,
        realm: &str,
        unix_now: u64,
    ) -> Result<Authenticated<'m>, AuthError> {
        let check = |password: &str| {
            let key = Key::long_term(username, realm, password);
            request.is_authentic(&key).then_some(key)
        };
        if let Some(password) = self.users.get(username) {
            let key = check(password).ok_or(AuthError::WrongPassword)?;
            return Ok(Authenticated { username, account: username, key });
        }

        if self.secrets.is_empty() {
            return Err(AuthError::UnknownUser);
        }
        let (expiry, account) = split_time_limited(username).ok_or(AuthError::UnknownUser)?;
        if expiry <= unix_now {
            return Err(AuthError::Expired);
        }
        let key = self.secrets.iter().find_map(|s| check(&time_limited_password(s, username)));
        Ok(Authenticated { username, account, key: key.ok_or(AuthError::WrongPassword)? })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} users, {} secrets)", self.users.len(), self.secrets.len())
    }
}

/// Makes the username and password of a credential that ends at `expiry` (Unix seconds). An empty name is left out.
pub fn time_limited(secret: &str, name: &str, expiry: u64) -> (String, String) {
    let username = if name.is_empty() { expiry.to_string() } else { format!("{expiry}:{name}") };
    let password = time_limited_password(secret, &username);
    (username, password)
}

/// The expiry of a time-limited username, and whom it stands for.
fn split_time_limited(username: &str) -> Option<(u64, &str)> {
    let (expiry, name) = username.split_once(':').unwrap_or((username, ""));
    // `parse` would take a sign too.
    if !expiry.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((expiry.parse().ok()?, if name.is_empty() { username } else { name }))
}

fn time_limited_password(secret: &str, username: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(username.as_bytes());
    base64::encode(&mac.finalize().into_bytes())
}
