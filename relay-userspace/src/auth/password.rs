//! What the operator writes for a user: the password, or the keys made from it.

use std::fmt;

use crate::stun::{Key, PasswordAlgorithm};

/// A user's password, or keys that are good in one realm only and from which it cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password as it is.
    Plain(String),
    /// Its long-term keys (RFC 8489 section 9.2.2), one or both.
    Stored {
        /// MD5 of `username:realm:password`.
        md5: Option<[u8; 16]>,
        /// SHA-256 of the same.
        sha256: Option<[u8; 32]>,
    },
}

/// It begins like a stored key and is none. Does not say what it is: it may be a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "what begins with 0x is read as a key: write 0x and 32 hexadecimal digits (MD5) or 64 (SHA-256), or both with a \
     comma between them; `turnpike creds --key` makes them, also from a password that begins with 0x"
)]
pub struct BadKey;

impl Password {
    /// From what the operator wrote: keys in hexadecimal digits after `0x`, as coturn has them, or else a password.
    pub fn read(text: &str) -> Result<Self, BadKey> {
        if !text.starts_with("0x") {
            return Ok(Self::Plain(text.into()));
        }
        let (mut md5, mut sha256) = (None, None);
        for key in text.split(',') {
            let digits = key.strip_prefix("0x").ok_or(BadKey)?;
            let is_first = match digits.len() {
                32 => md5.replace(bytes(digits)?).is_none(),
                64 => sha256.replace(bytes(digits)?).is_none(),
                _ => false,
            };
            if !is_first {
                return Err(BadKey);
            }
        }
        Ok(Self::Stored { md5, sha256 })
    }

    /// The keys of a password, which may be stored in its place.
    pub fn to_stored(username: &str, realm: &str, password: &str) -> Self {
        let key = |algorithm| Key::with_algorithm(algorithm, username, realm, password);
        Self::Stored {
            md5: key(PasswordAlgorithm::Md5).expose().try_into().ok(),
            sha256: key(PasswordAlgorithm::Sha256).expose().try_into().ok(),
        }
    }

    /// Whether there is nothing to know.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(text) if text.is_empty())
    }

    /// Whether a key can be had for this algorithm.
    pub(super) fn supports(&self, algorithm: PasswordAlgorithm) -> bool {
        match (self, algorithm) {
            (Self::Plain(_), _) => true,
            (Self::Stored { md5, .. }, PasswordAlgorithm::Md5) => md5.is_some(),
            (Self::Stored { sha256, .. }, PasswordAlgorithm::Sha256) => sha256.is_some(),
        }
    }

    /// The user's key for this algorithm; `None` where only the other one's is stored.
    pub(super) fn key(&self, algorithm: PasswordAlgorithm, username: &str, realm: &str) -> Option<Key> {
        match (self, algorithm) {
            (Self::Plain(password), _) => Some(Key::with_algorithm(algorithm, username, realm, password)),
            (Self::Stored { md5, .. }, PasswordAlgorithm::Md5) => md5.map(|key| Key::stored(&key)),
            (Self::Stored { sha256, .. }, PasswordAlgorithm::Sha256) => sha256.map(|key| Key::stored(&key)),
        }
    }

    /// As the operator writes it, to be put into a file.
    pub fn expose(&self) -> String {
        let hex = |key: &[u8]| key.iter().fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}"));
        match self {
            Self::Plain(text) => text.clone(),
            Self::Stored { md5, sha256 } => {
                let keys = [md5.as_ref().map(|k| hex(k)), sha256.as_ref().map(|k| hex(k))];
                keys.into_iter().flatten().collect::<Vec<_>>().join(",")
            }
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

fn bytes<const N: usize>(digits: &str) -> Result<[u8; N], BadKey> {
    // `from_str_radix` would take a sign too.
    if digits.len() != 2 * N || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(BadKey);
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| BadKey)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "0x00112233445566778899aAbBcCdDeEfF";
    const SHA256: &str = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn what_begins_with_0x_is_a_key_or_an_error_and_all_else_a_password() {
        for text in ["secret", "0", "x0", " 0x00", "$md5$00", "a,0x00"] {
            assert_eq!(Password::read(text), Ok(Password::Plain(text.into())));
        }
        for text in [MD5, SHA256, &format!("{MD5},{SHA256}"), &format!("{SHA256},{MD5}")] {
            assert!(matches!(Password::read(text), Ok(Password::Stored { .. })), "{text}");
        }
        for text in [
            "0x",
            "0xdeadbeef",
            &MD5[..33],
            &format!("{MD5}0"),
            &format!("{SHA256}00"),
            &format!("{MD5},{MD5}"),
            &format!("{MD5},"),
            &format!("{MD5},secret"),
            &MD5.replace('a', "+"),
            &MD5.replace("aA", "ä"),
            &MD5.replace('a', "g"),
        ] {
            assert_eq!(Password::read(text), Err(BadKey), "{text}");
        }
    }

    #[test]
    fn stored_keys_are_the_hashes_of_user_realm_and_password() {
        // Computed with: printf %s alice:example.org:wonderland | md5sum (sha256sum).
        let stored = Password::to_stored("alice", "example.org", "wonderland");
        assert_eq!(
            stored.expose(),
            "0x72f86f2053703faa0f521ce71cfe6f59,0xf0c3ae808cef897043f79de49549776f1f58cb7c5364e03ab40abac620459848"
        );
        assert_eq!(Password::read(&stored.expose()), Ok(stored));
    }
}
