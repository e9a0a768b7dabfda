//! Users whose name says until when they may come in, and whose password follows from a shared secret.

use std::fmt;
use std::str::FromStr;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::base64;

/// The keyed hash that makes the passwords of time-limited users.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SecretHash {
    /// HMAC-SHA1: the custom ("TURN REST API", draft-uberti-behave-turn-rest-00).
    Sha1,
    /// HMAC-SHA256: for who must not use SHA-1 any more.
    Sha256,
}

/// Neither of the two.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} makes no passwords: write sha-1 or sha-256")]
pub struct UnknownHash(String);

impl SecretHash {
    /// Makes the username and password of a credential that ends at `expiry` (Unix seconds). An empty name is left
    /// out.
    pub fn credential(self, secret: &str, name: &str, expiry: u64) -> (String, String) {
        let username = if name.is_empty() { expiry.to_string() } else { format!("{expiry}:{name}") };
        let password = self.password(secret, &username);
        (username, password)
    }

    /// base64 of the hash of the username, keyed with the secret.
    pub(super) fn password(self, secret: &str, username: &str) -> String {
        match self {
            Self::Sha1 => base64::encode(&keyed::<Hmac<Sha1>>(secret, username)),
            Self::Sha256 => base64::encode(&keyed::<Hmac<Sha256>>(secret, username)),
        }
    }
}

impl FromStr for SecretHash {
    type Err = UnknownHash;

    fn from_str(text: &str) -> Result<Self, UnknownHash> {
        match text {
            "sha-1" => Ok(Self::Sha1),
            "sha-256" => Ok(Self::Sha256),
            _ => Err(UnknownHash(text.into())),
        }
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
        })
    }
}

/// The credential that most programs make: [`SecretHash::credential`] with HMAC-SHA1.
pub fn time_limited(secret: &str, name: &str, expiry: u64) -> (String, String) {
    SecretHash::Sha1.credential(secret, name, expiry)
}

/// The expiry of a time-limited username, and whom it stands for.
pub(super) fn split(username: &str) -> Option<(u64, &str)> {
    let (expiry, name) = username.split_once(':').unwrap_or((username, ""));
    // `parse` would take a sign too.
    if !expiry.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((expiry.parse().ok()?, if name.is_empty() { username } else { name }))
}

fn keyed<M: Mac + KeyInit>(secret: &str, username: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(username.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
