//! Channel numbers and the ChannelData header (RFC 8656 sections 12 and 12.4).

use crate::addr::Be16;

/// Bytes of the ChannelData header: channel number and length, 16 bits each.
pub const HEADER_LEN: usize = 4;

/// The lowest channel number.
pub const MIN: u16 = 0x4000;

/// The highest channel number that RFC 8656 section 12 allows a client to bind.
pub const MAX_RFC8656: u16 = 0x4fff;

/// The highest channel number that RFC 5766 section 11 allowed; clients written to it are still served.
pub const MAX: u16 = 0x7fff;

/// Stands where a channel number would when data travels in Send and Data indications instead (RFC 8656 section 11). No
/// number that a packet can carry as a channel.
pub const INDICATION: Be16 = Be16::new(1);

/// Whether the first 16 bits of a datagram (host order) are a channel number rather than the start of a STUN message.
#[inline(always)]
pub const fn is_channel(first: u16) -> bool {
    first >= MIN && first <= MAX
}
