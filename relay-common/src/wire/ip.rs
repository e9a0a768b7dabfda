//! IPv4 (RFC 791) and IPv6 (RFC 8200).

use super::Header;
use crate::addr::Be16;
use crate::checksum;

/// Protocol and next-header numbers.
pub mod protocol {
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
}

/// Whether an IPv6 next header is an extension header that UDP may stand behind.
#[inline(always)]
pub const fn is_extension(next: u8) -> bool {
    matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION)
}

/// An IPv4 header without options.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Ipv4 {
    /// Version 4 and header length in 32-bit words: 0x45 without options.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of header and payload.
    pub total_len: Be16,
    /// Identification, flags and fragment offset; network order.
    pub fragment: u32,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: u16,
    /// Source address, network order.
    pub src: u32,
    /// Destination address, network order.
    pub dst: u32,
}

impl Ipv4 {
    /// `version_ihl` of a header without options.
    pub const PLAIN: u8 = 0x45;
    /// The DF bit of [`fragment`](Self::fragment).
    pub const DONT_FRAGMENT: u32 = 0x4000_u32.to_be();
    /// More fragments, or an offset, in it: set on every fragment, clear on every whole packet.
    pub const FRAGMENT_MASK: u32 = 0x3fff_u32.to_be();
    /// The identification in it.
    pub const ID_MASK: u32 = 0xffff_0000_u32.to_be();

    /// The sum of the header's ten 16-bit words; folds to 0xffff when the checksum is right.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        // SAFETY: the header is packed, these twenty bytes, and any bytes are words.
        let words: [u32; 5] = unsafe { (&raw const *self).cast::<[u32; 5]>().read_unaligned() };
        words.iter().map(|&word| checksum::word(word)).sum()
    }
}

/// An IPv6 header.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Ipv6 {
    /// Version 6, traffic class, flow label; network order.
    pub version_class_label: u32,
    /// Bytes after this header.
    pub payload_len: Be16,
    /// Protocol of the payload.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address, network order.
    pub src: [u32; 4],
    /// Destination address, network order.
    pub dst: [u32; 4],
}

// SAFETY: packed, integers only.
unsafe impl Header for Ipv4 {}
// SAFETY: packed, integers only.
unsafe impl Header for Ipv6 {}
