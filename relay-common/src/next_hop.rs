//! Next hops: the link-layer header and the interface that a rewritten packet leaves by, as netlink told userspace.

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
    /// Always zero: fills the line.
    pub fill: [u16; 14],
}

const _: () = assert!(size_of::<NextHop>() == 64);
