//! What a STUN message is, told by its attributes' headers, and FINGERPRINT.
//!
//! The criteria are those of `Message::parse` in userspace, which reads all that goes up. [`send`](crate::send) has a walk of
//! its own: it takes a message apart, value by value, and passes up what it has not seen a client send; this one must
//! judge all that may come (junk is dropped), and so walks further but looks at no value. One walk for both would have
//! the verifier follow the one's branches in each of the other's attributes.

use core::hint::black_box;

use crate::wire::Frame;
use crate::wire::stun::{Attribute, Stun, attribute};

/// The longest body whose attributes are walked; what is longer goes up unread.
pub const LONGEST_BODY: u16 = 1500;

/// The most attributes that are walked; a message of more goes up. An Allocate request with all that RFC 8656 and RFC 8489
/// have takes 16.
pub const MOST_ATTRIBUTES: usize = 20;

/// What the attributes of a message are, in one word that is cheap to hand around.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub u32);

impl Attributes {
    /// One of them does not fit: the message is to be dropped.
    pub const BROKEN: u32 = 1;
    /// There are more, or longer ones, than are walked: nothing is known.
    pub const UNKNOWN: u32 = 2;
    /// There is a MESSAGE-INTEGRITY of either kind. Whether it is right only userspace can say.
    pub const INTEGRITY: u32 = 4;
    /// There is another one that must be understood.
    pub const REQUIRED: u32 = 8;
    /// FINGERPRINT is the last one, and has its length.
    pub const FINGERPRINT: u32 = 16;
    /// There is a FINGERPRINT that is none of these.
    pub const ODD_FINGERPRINT: u32 = 32;

    /// Whether any of these was found.
    #[inline(always)]
    pub const fn has(self, any: u32) -> bool {
        self.0 & any != 0
    }
}

/// Walks the attributes of a message whose header, at `at` in the frame, [is one](Stun::is_message) of `len` bytes in all.
#[inline(always)]
pub fn attributes<F: Frame + ?Sized>(frame: &F, at: usize, len: u16) -> Attributes {
    let end = u32::from(len);
    if len > LONGEST_BODY + Stun::LEN {
        return Attributes(Attributes::UNKNOWN);
    }
    let mut found = 0;
    let mut next = u32::from(Stun::LEN);
    for _ in 0..MOST_ATTRIBUTES {
        if next >= end {
            return Attributes(found);
        }
        // Less than 2048 by the check above; the mask shows the verifier a bound.
        let Some(header) = frame.header::<Attribute>(at.wrapping_add((next & 0x7ff) as usize)) else {
            return Attributes(Attributes::UNKNOWN);
        };
        let (kind, length) = (u32::from({ header.kind }.get()), u32::from({ header.len }.get()));
        next += size_of::<Attribute>() as u32 + ((length + 3) & !3);
        if next > end {
            return Attributes(Attributes::BROKEN);
        }
        let integrity = same(kind, attribute::MESSAGE_INTEGRITY.get().into())
            | same(kind, attribute::MESSAGE_INTEGRITY_SHA256.get().into());
        let fingerprint = same(kind, attribute::FINGERPRINT.get().into());
        let last = same(next, end) & same(length, 4);
        // Numbers below FIRST_OPTIONAL must be understood.
        let required = ((kind >> 15) ^ 1) & !integrity;
        found |= (Attributes::INTEGRITY * integrity)
            | (Attributes::REQUIRED * required)
            | (Attributes::FINGERPRINT * (fingerprint & last))
            | (Attributes::ODD_FINGERPRINT * (fingerprint & !last));
    }
    Attributes(if next >= end { found } else { Attributes::UNKNOWN })
}

/// 1 if two numbers are the same, else 0, without a branch: the verifier would follow both sides of each, attribute after
/// attribute.
#[inline(always)]
fn same(a: u32, b: u32) -> u32 {
    black_box(a ^ b).wrapping_sub(1) >> 31
}

/// What FINGERPRINT holds is the CRC-32 xor this (RFC 8489 section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// A CRC-32 (ITU V.42) before its first word.
pub const CRC_START: u32 = !0;

/// A CRC-32 after four more bytes, given as they lie in memory.
#[inline(always)]
pub fn crc(crc: u32, word: u32) -> u32 {
    // All four bytes at once, so that the index is a plain mask: of an exclusive or Linux 6.1's verifier knows no bound.
    let mut crc = crc ^ u32::from_le(word);
    for _ in 0..size_of::<u32>() {
        crc = crc >> 8 ^ CRC_TABLE[(crc & 0xff) as usize];
    }
    crc
}

/// The value of FINGERPRINT, as it lies in memory, from the CRC of all before it.
#[inline(always)]
pub const fn fingerprint(crc: u32) -> u32 {
    (!crc ^ FINGERPRINT_XOR).to_be()
}

static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs is of nine bytes; this is `zlib.crc32(b"12345678")`.
    #[test]
    fn the_crc_is_that_of_itu_v42() {
        let words = [*b"1234", *b"5678"].map(u32::from_ne_bytes);
        assert_eq!(!words.into_iter().fold(CRC_START, crc), 0x9ae0_daaf);
    }
}
