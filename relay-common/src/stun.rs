//! STUN messages as they lie on the wire (RFC 8489 sections 5 and 14): the header, and a walk over the attributes that
//! suits the verifier. The criteria are those of `Message::parse` in userspace, which reads all that goes up.

use core::hint::black_box;

use crate::addr::Be16;
use crate::wire::{Frame, Header};

/// Bytes of the header.
pub const HEADER_LEN: u16 = size_of::<StunHeader>() as u16;

/// Bytes 4 to 7 of every message since RFC 5389, as they lie in memory.
pub const MAGIC_COOKIE: u32 = 0x2112_a442_u32.to_be();

/// The longest body whose attributes are walked; what is longer goes up unread.
pub const LONGEST_BODY: u16 = 1500;

/// The most attributes that are walked; a message of more goes up. An Allocate request with all that RFC 8656 and RFC 8489
/// have takes 16.
pub const MOST_ATTRIBUTES: usize = 20;

/// Message types: method and class (RFC 8489 section 5).
pub mod kind {
    use crate::addr::Be16;

    /// A Binding request.
    pub const BINDING_REQUEST: Be16 = Be16::new(0x0001);
    /// The answer to it.
    pub const BINDING_SUCCESS: Be16 = Be16::new(0x0101);
    /// The bits of the class; none is set in a request.
    pub const CLASS: Be16 = Be16::new(0x0110);
}

/// Attribute numbers.
pub mod attribute {
    /// MESSAGE-INTEGRITY.
    pub const MESSAGE_INTEGRITY: u32 = 0x0008;
    /// MESSAGE-INTEGRITY-SHA256.
    pub const MESSAGE_INTEGRITY_SHA256: u32 = 0x001c;
    /// XOR-MAPPED-ADDRESS.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// FINGERPRINT.
    pub const FINGERPRINT: u32 = 0x8028;
}

/// The header of a message.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct StunHeader {
    /// Method and class.
    pub kind: Be16,
    /// Bytes after the header.
    pub length: Be16,
    /// [`MAGIC_COOKIE`].
    pub cookie: u32,
    /// The transaction id, as it lies in memory.
    pub id: [u32; 3],
}

/// What stands before an attribute's value.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct AttributeHeader {
    /// Its number.
    pub kind: Be16,
    /// Bytes of the value, padding not counted.
    pub length: Be16,
}

/// 32-bit words as they lie in memory.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Words<const N: usize>(pub [u32; N]);

// SAFETY: packed, integers only.
unsafe impl Header for StunHeader {}
// SAFETY: packed, integers only.
unsafe impl Header for AttributeHeader {}
// SAFETY: packed, integers only.
unsafe impl<const N: usize> Header for Words<N> {}

/// Whether these are the header and length of a message in a datagram of `len` bytes: the top bits are zero, the cookie is
/// there, and the length field is a multiple of four and says what follows (RFC 8489 section 6.3).
#[inline(always)]
pub fn is_message(header: &StunHeader, len: u16) -> bool {
    let length = { header.length }.get();
    { header.kind }.get() & 0xc000 == 0
        && header.cookie == MAGIC_COOKIE
        && length & 3 == 0
        && u32::from(length) + u32::from(HEADER_LEN) == u32::from(len)
}

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

/// Walks the attributes of a message whose header, at `at` in the frame, [is one](is_message) of `len` bytes in all.
#[inline(always)]
pub fn attributes<F: Frame + ?Sized>(frame: &F, at: usize, len: u16) -> Attributes {
    let end = u32::from(len);
    if len > LONGEST_BODY + HEADER_LEN {
        return Attributes(Attributes::UNKNOWN);
    }
    let mut found = 0;
    let mut next = u32::from(HEADER_LEN);
    for _ in 0..MOST_ATTRIBUTES {
        if next >= end {
            return Attributes(found);
        }
        // Less than 2048 by the check above; the mask shows the verifier a bound.
        let Some(header) = frame.header::<AttributeHeader>(at.wrapping_add((next & 0x7ff) as usize)) else {
            return Attributes(Attributes::UNKNOWN);
        };
        // Numbers below 0x8000 must be understood (RFC 8489 section 14).
        let (kind, length) = (u32::from({ header.kind }.get()), u32::from({ header.length }.get()));
        next += size_of::<AttributeHeader>() as u32 + ((length + 3) & !3);
        if next > end {
            return Attributes(Attributes::BROKEN);
        }
        let integrity =
            same(kind, attribute::MESSAGE_INTEGRITY) | same(kind, attribute::MESSAGE_INTEGRITY_SHA256);
        let fingerprint = same(kind, attribute::FINGERPRINT);
        let last = same(next, end) & same(length, 4);
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
pub fn crc(mut crc: u32, word: u32) -> u32 {
    for byte in word.to_ne_bytes() {
        crc = crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)];
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
