//! From a packet and its flow record to what leaves: the second half of a packet's way.
//!
//! Both directions and all pairs of families are one rewrite: the old headers come off whole, the new ones are built
//! from the record, the next hop and the few things a packet hands on (DSCP, ECN, TTL, DF, length, checksum).

use crate::addr::{Be16, NetIp};
use crate::channel;
use crate::checksum;
use crate::flow::FlowRecord;
use crate::next_hop::NextHop;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::tables::Settings;
use crate::wire::{ChannelData, FrameMut, Header, Ipv4, Ipv6, Udp, protocol};

/// Decides on a packet whose key is the record's, before its first byte is changed; [`Reason::verdict`] says what the
/// reason means. `now` is in the unit of [`FlowRecord::deadline`].
#[inline(always)]
pub fn decide(packet: &Packet, settings: &Settings, record: &FlowRecord, hop: &NextHop, now: u64) -> Reason {
    let to_peer = record.to_peer();
    if now >= record.deadline {
        return if to_peer { Reason::Expired } else { Reason::PeerExpired };
    }
    if to_peer {
        let payload = packet.udp_len.wrapping_sub((size_of::<Udp>() + channel::HEADER_LEN) as u16);
        if packet.channel_len > payload {
            return Reason::ChannelDataLength;
        }
        if packet.channel_len < payload {
            // RFC 8656 section 12.5: padding over UDP is not required, and MUST be accepted.
            return Reason::Padding;
        }
    }
    if packet.ttl <= 1 {
        // RFC 8656 section 15: the TTL is decremented, so that a loop of relays dies.
        return Reason::TtlExceeded;
    }
    if packet.udp_checksum == 0 && !(packet.is_v4() && record.dst.is_v4()) {
        return Reason::NoChecksum;
    }
    if settings.virtual_cards != 0
        && packet.udp_checksum
            == checksum::fold(u64::from(record.pseudo_sum) + u64::from(Be16::new(packet.udp_len).0))
    {
        return Reason::UnfinishedChecksum;
    }
    if hop.ifindex == 0 {
        return Reason::NextHop;
    }
    if u32::from(ip_len(record)) + udp_len(packet, record) > u32::from(hop.mtu) {
        return Reason::TooBig;
    }
    if to_peer { Reason::ToPeer } else { Reason::ToClient }
}

/// How many bytes longer the headers become; negative when they shrink.
#[inline(always)]
pub fn growth(packet: &Packet, record: &FlowRecord, hop: &NextHop) -> i32 {
    let put = i32::from(hop.l2_len) + i32::from(ip_len(record)) + channel_header(record.channel);
    put - i32::from(packet.l2_len) - i32::from(packet.ip_len) - channel_header(record.key.channel)
}

/// Writes the new headers at the start of the frame, whose length has been changed by [`growth`]. `false` when the
/// frame is too short for them, which no frame is that held the packet.
#[inline(always)]
pub fn write<F: FrameMut + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    record: &FlowRecord,
    hop: &NextHop,
) -> bool {
    if !write_l2(frame, hop) {
        return false;
    }
    let udp_len = udp_len(packet, record) as u16;
    // At most 22; the mask shows the verifier a bound.
    let at = usize::from(hop.l2_len & 0x1f);
    let (written, ip_len) = if record.dst.is_v4() {
        (write_v4(frame, at, udp_len, packet, record), size_of::<Ipv4>())
    } else {
        (write_v6(frame, at, udp_len, packet, record), size_of::<Ipv6>())
    };
    if !written {
        return false;
    }

    let at = at + ip_len;
    let mut delta = u64::from(record.udp_delta);
    if record.key.channel.0 != 0 {
        delta += checksum::removed(Be16::new(packet.channel_len).0);
    }
    if record.channel.0 != 0 {
        let len = Be16::new(packet.udp_len.wrapping_sub(size_of::<Udp>() as u16));
        let Some(header) = frame.header_mut::<ChannelData>(at + size_of::<Udp>()) else { return false };
        header.number = record.channel;
        header.len = len;
        delta += u64::from(len.0);
    }
    let Some(udp) = frame.header_mut::<Udp>(at) else { return false };
    udp.src_port = record.src_port;
    udp.dst_port = record.dst_port;
    udp.len = Be16::new(udp_len);
    udp.checksum = match packet.udp_checksum {
        0 => 0, // RFC 768: the sender made none, and both sides are IPv4
        field => checksum::udp_field(checksum::update(field, delta)),
    };
    true
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
    record: &FlowRecord,
) -> bool {
    let Some(ip) = frame.header_mut::<Ipv4>(at) else { return false };
    let total_len = Be16::new(udp_len.wrapping_add(size_of::<Ipv4>() as u16));
    let ttl = packet.ttl.wrapping_sub(1);
    // RFC 6864 section 4.1: the identification of a packet that is never fragmented means nothing.
    let id = if packet.dont_fragment.0 != 0 { Be16(0) } else { packet.id };
    let sum = u64::from(record.ip_sum)
        + u64::from(u16::from_ne_bytes([Ipv4::PLAIN, packet.tos]))
        + u64::from(total_len.0)
        + u64::from(id.0)
        + u64::from(packet.dont_fragment.0)
        + u64::from(u16::from_ne_bytes([ttl, protocol::UDP]));
    ip.version_ihl = Ipv4::PLAIN;
    ip.tos = packet.tos;
    ip.total_len = total_len;
    ip.id = id;
    ip.fragment = packet.dont_fragment;
    ip.ttl = ttl;
    ip.protocol = protocol::UDP;
    ip.checksum = !checksum::fold(sum);
    ip.src = record.src.0[3];
    ip.dst = record.dst.0[3];
    true
}

#[inline(always)]
fn write_v6<F: FrameMut + ?Sized>(
    frame: &mut F,
    at: usize,
    udp_len: u16,
    packet: &Packet,
    record: &FlowRecord,
) -> bool {
    let Some(ip) = frame.header_mut::<Ipv6>(at) else { return false };
    ip.version_class_label = (6 << 28 | u32::from(packet.tos) << 20).to_be() | record.flow_label;
    ip.payload_len = Be16::new(udp_len);
    ip.next_header = protocol::UDP;
    ip.hop_limit = packet.ttl.wrapping_sub(1);
    let NetIp(src) = record.src;
    let NetIp(dst) = record.dst;
    ip.src = src;
    ip.dst = dst;
    true
}

/// Bytes of the new IP header.
#[inline(always)]
fn ip_len(record: &FlowRecord) -> u16 {
    if record.dst.is_v4() { size_of::<Ipv4>() as u16 } else { size_of::<Ipv6>() as u16 }
}

/// The new UDP length. Wider than the field: the largest packet grows past it, and is [`Reason::TooBig`].
#[inline(always)]
fn udp_len(packet: &Packet, record: &FlowRecord) -> u32 {
    (i32::from(packet.udp_len) + channel_header(record.channel) - channel_header(record.key.channel)) as u32
}

/// Bytes of the ChannelData header of a side: none where the channel number is zero.
#[inline(always)]
fn channel_header(number: Be16) -> i32 {
    if number.0 != 0 { channel::HEADER_LEN as i32 } else { 0 }
}

/// Part of a link-layer header, as 16-bit words.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct L2<const WORDS: usize>([u16; WORDS]);

// SAFETY: packed, integers only.
unsafe impl<const WORDS: usize> Header for L2<WORDS> {}
