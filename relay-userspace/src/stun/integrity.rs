//! Keys, MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 sections 9.2.2 and 14.5 to 14.7).

use std::fmt;
use std::sync::{Arc, OnceLock};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use super::attribute::{self, AttributeType};
use super::long_term::PasswordAlgorithm;
use super::message::{HEADER_LEN, Message};

/// What a message is authenticated with. Clones share what is computed from it once: the states of the keyed hashes, which
/// are half of the work for a short message.
#[derive(Clone)]
pub struct Key(Arc<Keyed>);

struct Keyed {
    key: Box<[u8]>,
    sha1: OnceLock<Hmac<Sha1>>,
    /// In a box: most clients have no use for it.
    sha256: OnceLock<Box<Hmac<Sha256>>>,
}

/// Which attribute authenticates a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY, an HMAC-SHA1.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

impl Key {
    /// The long-term credential's key with MD5, which every client knows: see [`Key::with_algorithm`].
    pub fn long_term(username: &str, realm: &str, password: &str) -> Self {
        Self::with_algorithm(PasswordAlgorithm::Md5, username, realm, password)
    }

    /// The long-term credential's key: a hash of `username:realm:password` (RFC 8489 sections 9.2.2 and 18.5).
    ///
    /// The three are used as they are. The RFC wants the OpaqueString profile (RFC 8265) applied to them first, which
    /// changes nothing in printable ASCII; other text must come from both sides in the same (NFC) form.
    pub fn with_algorithm(algorithm: PasswordAlgorithm, username: &str, realm: &str, password: &str) -> Self {
        let parts = [username, ":", realm, ":", password];
        match algorithm {
            PasswordAlgorithm::Md5 => Self::of(digest::<Md5>(parts)),
            PasswordAlgorithm::Sha256 => Self::of(digest::<Sha256>(parts)),
        }
    }

    /// A key that was made before.
    pub fn stored(key: &[u8]) -> Self {
        Self::of(key.into())
    }

    /// The key itself, for whoever stores it: it is worth as much as the password in its realm.
    pub fn expose(&self) -> &[u8] {
        &self.0.key
    }

    fn of(key: Box<[u8]>) -> Self {
        Self(Arc::new(Keyed { key, sha1: OnceLock::new(), sha256: OnceLock::new() }))
    }

    fn sha1(&self) -> Hmac<Sha1> {
        self.0.sha1.get_or_init(|| keyed(&self.0.key)).clone()
    }

    fn sha256(&self) -> Hmac<Sha256> {
        Hmac::clone(self.0.sha256.get_or_init(|| Box::new(keyed(&self.0.key))))
    }

    /// The short-term credential's key: the password (RFC 8489 section 9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self::of(password.as_bytes().into())
    }
}

fn digest<D: Digest>(parts: [&str; 5]) -> Box<[u8]> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().as_slice().into()
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes keys of every length")
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Message<'_> {
    /// The integrity attribute that counts, right or wrong: of both the one with SHA-256 (RFC 8489 section 9.2.4).
    pub fn integrity(&self) -> Option<Integrity> {
        if self.has(AttributeType::MESSAGE_INTEGRITY_SHA256) {
            Some(Integrity::Sha256)
        } else {
            self.has(AttributeType::MESSAGE_INTEGRITY).then_some(Integrity::Sha1)
        }
    }

    /// Whether the integrity attribute that counts is made with this key. Takes the same time for every wrong value.
    ///
    /// A shortened MESSAGE-INTEGRITY-SHA256 is never right: RFC 8489 section 14.6 wants all 32 bytes unless the usage
    /// allows fewer, and RFC 8656 does not.
    pub fn is_authentic(&self, key: &Key) -> bool {
        let sha256 = self.locate(AttributeType::MESSAGE_INTEGRITY_SHA256);
        if let Some((covered, attribute)) = sha256 {
            return hmac(key.sha256(), covered, SHA256_LEN).verify_slice(attribute.value).is_ok();
        }
        let Some((covered, attribute)) = self.locate(AttributeType::MESSAGE_INTEGRITY) else {
            return false;
        };
        hmac(key.sha1(), covered, SHA1_LEN).verify_slice(attribute.value).is_ok()
    }
}

const SHA1_LEN: usize = 20;
const SHA256_LEN: usize = 32;
const CRC_LEN: usize = 4;

/// The value of MESSAGE-INTEGRITY after the message so far.
pub(super) fn message_integrity(key: &Key, covered: &[u8]) -> [u8; SHA1_LEN] {
    hmac(key.sha1(), covered, SHA1_LEN).finalize().into_bytes().into()
}

/// The value of MESSAGE-INTEGRITY-SHA256 after the message so far.
pub(super) fn message_integrity_sha256(key: &Key, covered: &[u8]) -> [u8; SHA256_LEN] {
    hmac(key.sha256(), covered, SHA256_LEN).finalize().into_bytes().into()
}

/// The value of FINGERPRINT after the message so far.
pub(super) fn fingerprint(covered: &[u8]) -> [u8; CRC_LEN] {
    let (start, rest) = ending_with(covered, CRC_LEN);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&start);
    crc.update(rest);
    (crc.finalize() ^ 0x5354_554e).to_be_bytes()
}

/// The keyed hash of an integrity attribute of either algorithm, `len` being the length of its value.
fn hmac<M: Mac>(mut mac: M, covered: &[u8], len: usize) -> M {
    let (start, rest) = ending_with(covered, len);
    mac.update(&start);
    mac.update(rest);
    mac
}

/// The message so far as its integrity attributes see it: with a length field that counts up to the end of an
/// attribute of `len` bytes, whatever follows it (RFC 8489 section 14.5). The first four bytes apart, then the rest.
fn ending_with(covered: &[u8], len: usize) -> ([u8; 4], &[u8]) {
    let length = (covered.len() - HEADER_LEN + attribute::HEADER_LEN + len) as u16;
    let [high, low] = length.to_be_bytes();
    ([covered[0], covered[1], high, low], &covered[4..])
}
