//! Ethernet and VLAN tags.

use super::Header;
use crate::addr::Be16;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: Be16 = Be16::new(0x0800);
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: Be16 = Be16::new(0x86dd);
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: Be16 = Be16::new(0x8100);
/// EtherType of an 802.1ad service tag.
pub const ETHERTYPE_QINQ: Be16 = Be16::new(0x88a8);

/// Tags that are looked behind: 802.1ad over 802.1Q.
pub const MAX_TAGS: usize = 2;

/// An Ethernet II header.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Ethernet {
    /// Destination MAC address.
    pub dst: [u8; 6],
    /// Source MAC address.
    pub src: [u8; 6],
    /// EtherType.
    pub ethertype: Be16,
}

/// What follows the EtherType [`ETHERTYPE_VLAN`] or [`ETHERTYPE_QINQ`].
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct VlanTag {
    /// Priority and VLAN id.
    pub tci: Be16,
    /// EtherType of what follows.
    pub ethertype: Be16,
}

// SAFETY: packed, integers only.
unsafe impl Header for Ethernet {}
// SAFETY: packed, integers only.
unsafe impl Header for VlanTag {}
