//! Keys, MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 sections 9.2.2, 14.5 and 14.7).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

use super::attribute::{self, AttributeType};
use super::message::{HEADER_LEN, Message};

/// What a message is authenticated with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The long-term credential's key: MD5 of `username:realm:password` (RFC 8489 section 9.2.2).
    ///
    /// The three are used as they are. The RFC wants the OpaqueString profile (RFC 8265) applied to them first, which
    /// changes nothing in printable ASCII; other text must come from both sides in the same (NFC) form.
    pub fn long_term(username: &str, realm: &str, password: &str) -> Self {
        let mut md5 = Md5::new();
        for part in [username, ":", realm, ":", password] {
            md5.update(part);
        }
        Self(md5.finalize().as_slice().into())
    }

    /// The short-term credential's key: the password (RFC 8489 section 9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self(password.as_bytes().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Message<'_> {
    /// Whether MESSAGE-INTEGRITY is there, right or wrong.
    pub fn has_integrity(&self) -> bool {
        self.has(AttributeType::MESSAGE_INTEGRITY)
    }

    /// Whether MESSAGE-INTEGRITY is there and made with this key. Takes the same time for every wrong value.
    pub fn is_authentic(&self, key: &Key) -> bool {
        let Some((covered, attribute)) = self.locate(AttributeType::MESSAGE_INTEGRITY) else {
            return false;
        };
        hmac::<Hmac<Sha1>>(key, covered, SHA1_LEN).verify_slice(attribute.value).is_ok()
    }
}

const SHA1_LEN: usize = 20;
const CRC_LEN: usize = 4;

/// The value of MESSAGE-INTEGRITY after the message so far.
pub(super) fn message_integrity(key: &Key, covered: &[u8]) -> [u8; SHA1_LEN] {
    hmac::<Hmac<Sha1>>(key, covered, SHA1_LEN).finalize().into_bytes().into()
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
fn hmac<M: Mac + KeyInit>(key: &Key, covered: &[u8], len: usize) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(&key.0).expect("HMAC takes keys of every length");
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
