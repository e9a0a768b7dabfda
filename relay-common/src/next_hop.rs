//! Next hops: the link-layer header and the interface that a rewritten packet leaves by, as netlink told userspace.

use crate::wire::{ETHERTYPE_IPV4, Ipv4, Ipv6};

/// Longest link-layer header: Ethernet and two VLAN tags (IEEE 802.1ad).
pub const MAX_L2: usize = 22;

/// Instead of an index: the next hop is this relay itself, whose relayed transport address the packet goes to.
pub const HAIRPIN: u32 = u32::MAX;

/// One way out. Userspace writes it; [`NextHop::generation`] is odd while it does.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NextHop {
    /// Odd while the entry is being written, and different after every change.
    pub generation: u32,
    /// The interface to leave by; zero while the next hop is not usable (unresolved, or no program there).
    pub ifindex: u32,
    /// The largest IP packet that may leave, in bytes.
    pub mtu: u16,
    /// Bytes of `l2` in use: 14, 18 or 22.
    pub l2_len: u16,
    /// The link-layer header as it is sent: MAC addresses, VLAN tags, EtherType of the next hop's family.
    pub l2: [u16; MAX_L2 / 2],
    /// Whether packets that came in by another interface may be redirected here. Zero for an interface in generic
    /// mode beside one in driver mode: a driver's frame cannot be handed to a device without native XDP, the kernel
    /// drops it. A packet that came in by this same interface may always leave by it.
    pub redirect: u16,
    /// Bytes of the IP header of packets of the next hop's family: 20 or 40.
    pub ip_len: u16,
    /// Always zero: fills the line.
    pub fill: [u16; 13],
}

impl NextHop {
    /// One that packets leave by with this link-layer header, which ends in the EtherType of their family. The interface and
    /// what else it asks for are still to be set.
    pub fn with_header(l2: &[u8]) -> Self {
        let mut hop = Self { l2_len: l2.len() as u16, ..Self::default() };
        for (word, bytes) in hop.l2.iter_mut().zip(l2.chunks_exact(2)) {
            *word = u16::from_ne_bytes([bytes[0], bytes[1]]);
        }
        let v4 = l2.ends_with(&ETHERTYPE_IPV4.0.to_ne_bytes());
        hop.ip_len = if v4 { size_of::<Ipv4>() as u16 } else { size_of::<Ipv6>() as u16 };
        hop
    }

    /// Whether it is one of IPv4 packets.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.ip_len == size_of::<Ipv4>() as u16
    }
}

const _: () = assert!(size_of::<NextHop>() == 64);
