//! From a packet and its flow record to what leaves: the second half of a packet's way.
//!
//! Both directions, all pairs of families and all encapsulations are one rewrite: the old headers come off whole, the new
//! ones are built from the records, the next hop and the few things a packet hands on (DSCP, ECN, TTL, DF, length,
//! checksum). The application data stays where it is.

use core::hint::black_box;

use crate::addr::{Be16, Endpoint, NetIp};
use crate::channel;
use crate::checksum;
use crate::interface::Interface;
use crate::next_hop::NextHop;
use crate::packet::{LONGEST, Packet};
use crate::reason::Reason;
use crate::way::{Put, Way};
use crate::wire::stun::{
    Attribute, DataHead, MAGIC_COOKIE, Stun, TransactionId, XorAddress, attribute, kind,
};
use crate::wire::{ChannelData, FrameMut, Header, Ipv4, Ipv6, Udp, Word, protocol};

/// Decides on a packet whose key is the record's, before its first byte is changed; [`Reason::verdict`] says what the
/// reason means. `now` is in the unit of [`FlowRecord::deadline`](crate::flow::FlowRecord::deadline).
#[inline(always)]
pub fn decide(packet: &Packet, way: &Way<'_>, now: u64) -> Reason {
    let to_peer = way.first.to_peer();
    if now >= way.first.deadline {
        return if to_peer { Reason::Expired } else { Reason::PeerExpired };
    }
    if way.relays == 2 && now >= way.last.deadline {
        return Reason::PeerExpired;
    }
    if to_peer && !way.send {
        let len = u32::from(packet.data_len) + u32::from(way.padded);
        let claimed = (size_of::<Udp>() + channel::HEADER_LEN) as u32 + len;
        if claimed > u32::from(packet.udp_len) {
            return Reason::ChannelDataLength;
        }
        if claimed < u32::from(packet.udp_len) {
            // More than padding, or padding that this way does not take off.
            return Reason::Padding;
        }
    }
    if packet.ttl <= way.relays {
        // RFC 8656 section 15: the TTL is decremented, by each relay, so that a loop of relays dies.
        return Reason::TtlExceeded;
    }
    if packet.udp_checksum == 0 && !way.all_v4(packet) {
        return Reason::NoChecksum;
    }
    if packet.interface.has(Interface::VIRTUAL)
        && packet.udp_checksum == checksum::add(way.first.pseudo_sum, Be16::new(packet.udp_len).0)
    {
        return Reason::UnfinishedChecksum;
    }
    if way.hop.ifindex == 0 {
        return Reason::NextHop;
    }
    let too_long = way.tells_peer() && usize::from(packet.data_len) > LONGEST;
    if too_long || u32::from(way.hop.ip_len) + way.udp_len > u32::from(way.hop.mtu) {
        return Reason::TooBig;
    }
    if way.relays == 2 {
        Reason::RelayToRelay
    } else if to_peer {
        Reason::ToPeer
    } else {
        Reason::ToClient
    }
}

/// How many bytes longer the headers before the data become; negative when they shrink.
#[inline(always)]
pub fn growth(packet: &Packet, way: &Way<'_>) -> i32 {
    let end = i32::from(way.hop.l2_len) + i32::from(way.hop.ip_len) + way.udp_len as i32;
    end - i32::from(way.padding(packet)) - i32::from(packet.data_len) - i32::from(packet.data_at)
}

/// How many bytes longer the frame becomes at its end: what the client put after its data comes off, and padding
/// goes on. `frame_len` is the frame's length as it came.
#[inline(always)]
pub fn growth_behind(packet: &Packet, way: &Way<'_>, frame_len: usize) -> i32 {
    let data_end = i32::from(packet.data_at) + i32::from(packet.data_len);
    data_end + i32::from(way.padding(packet)) - frame_len as i32
}

/// Writes the new headers at the start of the frame, which has been changed by [`growth`] and [`growth_behind`], and
/// padding after the data. `false` when the frame is too short for them, which no frame is that held the packet.
#[inline(always)]
pub fn write<F: FrameMut + ?Sized>(frame: &mut F, packet: &Packet, way: &Way<'_>) -> bool {
    if !write_l2(frame, way.hop) {
        return false;
    }
    let udp_len = way.udp_len as u16;
    // At most 22; the mask shows the verifier a bound.
    let at = usize::from(way.hop.l2_len & 0x1f);
    let (written, ip_len) = if way.hop.is_v4() {
        (write_v4(frame, at, udp_len, packet, way), size_of::<Ipv4>())
    } else {
        (write_v6(frame, at, udp_len, packet, way), size_of::<Ipv6>())
    };
    if !written {
        return false;
    }

    let at = at + ip_len;
    // The UDP length counts twice, in the header and in the pseudo header (RFC 768).
    let lengths = u32::from(Be16::new(udp_len).0) + checksum::removed(Be16::new(packet.udp_len).0);
    let mut delta = way.delta(packet) + 2 * lengths + packet.removed;
    match way.put {
        Put::Nothing => {}
        Put::ChannelData => {
            let Some(header) = frame.header_mut::<ChannelData>(at + size_of::<Udp>()) else { return false };
            header.number = way.last.channel;
            header.len = Be16::new(packet.data_len);
            delta += u32::from(way.last.channel.0) + u32::from(header.len.0);
        }
        Put::DataIndication => {
            let Some(sum) = write_data(frame, at + size_of::<Udp>(), packet, way) else { return false };
            delta += u32::from(sum);
        }
    }
    let Some(udp) = frame.header_mut::<Udp>(at) else { return false };
    [udp.src_port, udp.dst_port] = way.ports(packet);
    udp.len = Be16::new(udp_len);
    udp.checksum = match packet.udp_checksum {
        0 => 0, // RFC 768: the sender made none, and both sides are IPv4
        field => checksum::udp_field(checksum::update(field, delta)),
    };
    true
}

/// Makes the data a Data indication (RFC 8656 section 11.4), and gives what that adds to the UDP checksum's sum.
#[inline(always)]
fn write_data<F: FrameMut + ?Sized>(frame: &mut F, at: usize, packet: &Packet, way: &Way<'_>) -> Option<u16> {
    let padding = way.padding(packet);
    let more = u64::from(way.random).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id: TransactionId = [way.random, more as u32, (more >> 32) as u32];
    let told = Endpoint { ip: packet.peer, port: way.peer_port };
    let len = (way.udp_len as u16).wrapping_sub((size_of::<Udp>() + size_of::<Stun>()) as u16);
    let stun = Stun { kind: kind::DATA_INDICATION, len: Be16::new(len), cookie: MAGIC_COOKIE, id };
    let data = Attribute { kind: attribute::DATA, len: Be16::new(packet.data_len) };
    let mut sum = stun.sum() + data.sum();
    let head_len = if told.ip.is_v4() {
        let address = XorAddress::<u32>::new(&told);
        let len = Be16::new(size_of::<XorAddress<u32>>() as u16);
        let peer = Attribute { kind: attribute::XOR_PEER_ADDRESS, len };
        *frame.header_mut(at)? = DataHead { stun, peer, address, data };
        sum += peer.sum() + address.sum();
        size_of::<DataHead<u32>>()
    } else {
        let address = XorAddress::<[u32; 4]>::new(&told, &id);
        let len = Be16::new(size_of::<XorAddress<[u32; 4]>>() as u16);
        let peer = Attribute { kind: attribute::XOR_PEER_ADDRESS, len };
        *frame.header_mut(at)? = DataHead { stun, peer, address, data };
        sum += peer.sum() + address.sum();
        size_of::<DataHead<[u32; 4]>>()
    };
    // The kernel zeroes what it adds, but where the frame was longer than its packet, other bytes lie here. Data and padding
    // end on a word, whose last bytes are the padding.
    if padding > 0 {
        let whole = (usize::from(packet.data_len) & LONGEST) + usize::from(padding);
        let end = at + head_len + whole;
        // Opaque, or the compiler compares where the word ends and goes back from there, and masked for a bound: Linux
        // 6.1's verifier knows a pointer from where it was compared on.
        let last = black_box(end - size_of::<Word>()) & 0x7fff;
        frame.header_mut::<Word>(last)?.0 &= (u32::MAX << (8 * padding)).to_be();
    }
    Some(checksum::fold(sum))
}

#[inline(always)]
pub(crate) fn write_l2<F: FrameMut + ?Sized>(frame: &mut F, hop: &NextHop) -> bool {
    let l2 = &hop.l2;
    let Some(out) = frame.header_mut::<L2<7>>(0) else { return false };
    out.0 = [l2[0], l2[1], l2[2], l2[3], l2[4], l2[5], l2[6]];
    if hop.l2_len > 14 {
        let Some(out) = frame.header_mut::<L2<2>>(14) else { return false };
        out.0 = [l2[7], l2[8]];
    }
    if hop.l2_len > 18 {
        let Some(out) = frame.header_mut::<L2<2>>(18) else { return false };
        out.0 = [l2[9], l2[10]];
    }
    true
}

#[inline(always)]
fn write_v4<F: FrameMut + ?Sized>(
    frame: &mut F,
    at: usize,
    udp_len: u16,
    packet: &Packet,
    way: &Way<'_>,
) -> bool {
    let Some(ip) = frame.header_mut::<[Word; 5]>(at) else { return false };
    let total_len = Be16::new(udp_len.wrapping_add(size_of::<Ipv4>() as u16));
    let ttl = packet.ttl.wrapping_sub(way.relays);
    // An IPv6 packet is never fragmented on its way, so what was one is not either.
    let was_v6 = way.relays == 2 && !way.first.dst.is_v4();
    // RFC 6864 section 4.1: the identification of a packet that is never fragmented means nothing.
    let whole = was_v6 || packet.fragment & Ipv4::DONT_FRAGMENT != 0;
    let second = if whole { Ipv4::DONT_FRAGMENT } else { packet.fragment };
    // By words, not by fields: a third of the stores.
    let first = pair(u16::from_ne_bytes([Ipv4::PLAIN, packet.tos]), total_len.0);
    let third = u16::from_ne_bytes([ttl, protocol::UDP]);
    let sum = checksum::word(first) + checksum::word(second) + u64::from(third) + u64::from(way.last.ip_sum);
    let third = pair(third, !checksum::fold(sum));
    *ip = [first, second, third, way.last.src.0[3], way.last.dst.0[3]].map(Word);
    true
}

/// Two halves of a word, the first at the lower address.
#[inline(always)]
const fn pair(first: u16, second: u16) -> u32 {
    let [first, second] = [first as u32, second as u32];
    if cfg!(target_endian = "little") { first | second << 16 } else { first << 16 | second }
}

#[inline(always)]
fn write_v6<F: FrameMut + ?Sized>(
    frame: &mut F,
    at: usize,
    udp_len: u16,
    packet: &Packet,
    way: &Way<'_>,
) -> bool {
    let Some(ip) = frame.header_mut::<Ipv6>(at) else { return false };
    ip.version_class_label = (6 << 28 | u32::from(packet.tos) << 20).to_be() | way.last.flow_label;
    ip.payload_len = Be16::new(udp_len);
    ip.next_header = protocol::UDP;
    ip.hop_limit = packet.ttl.wrapping_sub(way.relays);
    // By words: the compiler makes a loop over the bytes of an array copied whole.
    let (NetIp([s0, s1, s2, s3]), NetIp([d0, d1, d2, d3])) = (way.last.src, way.last.dst);
    ip.src = [s0, s1, s2, s3];
    ip.dst = [d0, d1, d2, d3];
    true
}

/// Part of a link-layer header, as 16-bit words.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct L2<const WORDS: usize>([u16; WORDS]);

// SAFETY: packed, integers only.
unsafe impl<const WORDS: usize> Header for L2<WORDS> {}
