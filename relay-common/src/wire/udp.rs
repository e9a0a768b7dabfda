//! UDP (RFC 768) and ChannelData (RFC 8656 section 12.4).

use super::Header;
use crate::addr::Be16;

/// A UDP header.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Udp {
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// Bytes of header and payload.
    pub len: Be16,
    /// Checksum; zero is "none" over IPv4.
    pub checksum: u16,
}

/// A ChannelData header.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct ChannelData {
    /// Channel number.
    pub number: Be16,
    /// Bytes of application data; padding is not counted.
    pub len: Be16,
}

// SAFETY: packed, integers only.
unsafe impl Header for Udp {}
// SAFETY: packed, integers only.
unsafe impl Header for ChannelData {}
