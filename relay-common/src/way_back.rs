//! Whether a packet came in by the way on which its sender is reached: the same interface, and the same VLAN of it.
//!
//! The kernel would not have taken every packet that the program sees. Where `rp_filter` is strict it drops what came in
//! by another interface than its source is routed to, and it drops what bears the tag of a VLAN that this host does not
//! have. The way back to the sender, which the flow's record names, is the one way in that is right for sure. What came in
//! by another goes up, and the kernel decides.

use crate::interface::Interface;
use crate::next_hop::NextHop;
use crate::packet::Packet;
use crate::wire::{Ethernet, Frame, VlanTag};

/// Bytes of an Ethernet header without tags.
const UNTAGGED: u16 = size_of::<Ethernet>() as u16;

/// The bits of a tag that number the VLAN; the others are its priority.
const VLAN_ID: u16 = 0x0fff;

/// Whether [`is_way_back`] must be asked. On an interface without VLANs and without a strict `rp_filter`, what comes
/// without a tag is right.
#[inline(always)]
pub fn matters(packet: &Packet) -> bool {
    packet.l2_len != UNTAGGED || packet.interface.has(Interface::STRICT | Interface::VLANS)
}

/// Whether the packet in `frame`, which is still as it came, came in by `way`: the next hop of its record's
/// [`way_back`](crate::flow::FlowRecord::way_back).
#[inline(always)]
pub fn is_way_back<F: Frame + ?Sized>(frame: &F, packet: &Packet, way: &NextHop) -> bool {
    if way.ifindex == 0 {
        return false;
    }
    let came = came_with(frame, packet.l2_len);
    let strict = packet.is_v4() && packet.interface.has(Interface::STRICT);
    // VLAN 7 of one card is not VLAN 7 of another.
    if (strict || came.0 != 0) && way.ifindex != packet.interface.ifindex {
        return false;
    }
    came == leaves_with(way)
}

/// The VLAN tags of a frame, outermost first, each as one number; 0 for none. A tag with VLAN id 0 says nothing but a
/// priority (IEEE 802.1Q), and the kernel takes such a packet as one without.
#[inline(always)]
fn came_with<F: Frame + ?Sized>(frame: &F, l2_len: u16) -> (u32, u32) {
    let Some(ethernet) = frame.header::<Ethernet>(0) else { return (0, 0) };
    if l2_len == UNTAGGED {
        return (0, 0);
    }
    let at = size_of::<Ethernet>();
    let Some(outer) = frame.header::<VlanTag>(at) else { return (0, 0) };
    let first = tag({ ethernet.ethertype }.get(), { outer.tci }.get());
    if l2_len == UNTAGGED + size_of::<VlanTag>() as u16 {
        return (first, 0);
    }
    let Some(inner) = frame.header::<VlanTag>(at + size_of::<VlanTag>()) else { return (0, 0) };
    let second = tag({ outer.ethertype }.get(), { inner.tci }.get());
    if first == 0 { (second, 0) } else { (first, second) }
}

/// The VLAN tags that a next hop puts on.
#[inline(always)]
fn leaves_with(way: &NextHop) -> (u32, u32) {
    let word = |n: usize| u16::from_be(way.l2[n]);
    if way.l2_len <= UNTAGGED {
        return (0, 0);
    }
    let first = tag(word(6), word(7));
    if way.l2_len == UNTAGGED + size_of::<VlanTag>() as u16 {
        (first, 0)
    } else {
        (first, tag(word(8), word(9)))
    }
}

#[inline(always)]
fn tag(ethertype: u16, tci: u16) -> u32 {
    if tci & VLAN_ID == 0 { 0 } else { u32::from(ethertype) << 16 | u32::from(tci & VLAN_ID) }
}
