//! What RFC 8489 added to the long-term credential mechanism: password algorithms and hashed user names.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::attribute::AttributeType;
use super::builder::Builder;
use super::message::Message;
use super::values::BadAttribute;

/// How a key is made from a password (RFC 8489 section 18.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PasswordAlgorithm {
    /// 0x0001: what every client knows.
    Md5,
    /// 0x0002.
    Sha256,
}

/// Neither of the two.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no password algorithm: write sha-256 or md5")]
pub struct UnknownAlgorithm(String);

impl PasswordAlgorithm {
    /// An entry of PASSWORD-ALGORITHMS and the value of PASSWORD-ALGORITHM: the number, and parameters that neither
    /// algorithm has.
    pub const fn encoded(self) -> [u8; 4] {
        match self {
            Self::Md5 => [0, 1, 0, 0],
            Self::Sha256 => [0, 2, 0, 0],
        }
    }

    /// The first of an offer (the value of PASSWORD-ALGORITHMS) that is known here, which a client is to choose (RFC 8489
    /// section 9.2.5). One with parameters, which neither of the two has, ends the search.
    pub fn first_of(offer: &[u8]) -> Option<Self> {
        let mut plain = offer.as_chunks::<4>().0.iter().take_while(|entry| entry[2..] == [0, 0]);
        plain.find_map(|entry| Self::decoded(entry))
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|algorithm| algorithm.encoded() == bytes)
    }
}

impl FromStr for PasswordAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        match text {
            "md5" => Ok(Self::Md5),
            "sha-256" => Ok(Self::Sha256),
            _ => Err(UnknownAlgorithm(text.into())),
        }
    }
}

impl fmt::Display for PasswordAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha-256",
        })
    }
}

/// The value of USERHASH: SHA-256 of `username:realm` (RFC 8489 section 14.4).
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [username, ":", realm] {
        hash.update(part);
    }
    hash.finalize().into()
}

impl<'a> Message<'a> {
    /// USERHASH.
    pub fn userhash(&self) -> Result<Option<[u8; 32]>, BadAttribute> {
        self.decode(AttributeType::USERHASH, |v| v.try_into().ok())
    }

    /// PASSWORD-ALGORITHM. One that is not known here is an error: no key could be made with it.
    pub fn password_algorithm(&self) -> Result<Option<PasswordAlgorithm>, BadAttribute> {
        self.decode(AttributeType::PASSWORD_ALGORITHM, PasswordAlgorithm::decoded)
    }

    /// PASSWORD-ALGORITHMS as it is: a server compares it with what it sent.
    pub fn password_algorithms(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::PASSWORD_ALGORITHMS).map(|a| a.value)
    }

    fn decode<T>(
        &self,
        kind: AttributeType,
        read: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, BadAttribute> {
        self.attribute(kind).map(|a| read(a.value).ok_or(BadAttribute(kind))).transpose()
    }
}

impl Builder<'_> {
    /// USERHASH, see [`userhash`].
    pub fn userhash(&mut self, hash: &[u8; 32]) -> &mut Self {
        self.bytes(AttributeType::USERHASH, hash)
    }

    /// PASSWORD-ALGORITHM.
    pub fn password_algorithm(&mut self, algorithm: PasswordAlgorithm) -> &mut Self {
        self.bytes(AttributeType::PASSWORD_ALGORITHM, &algorithm.encoded())
    }

    /// PASSWORD-ALGORITHMS, from [`PasswordAlgorithm::encoded`] of each, the preferred one first.
    pub fn password_algorithms(&mut self, encoded: &[u8]) -> &mut Self {
        self.bytes(AttributeType::PASSWORD_ALGORITHMS, encoded)
    }
}
