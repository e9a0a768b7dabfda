//! Reading a frame of the bench where it arrives, and judging it by what its flow's packets must be.

use crate::addr::{Be16, NetIp};
use crate::bench::traffic::{Expected, MAGIC, Stamp};
use crate::channel;
use crate::checksum;
use crate::wire::stun::{Attribute, Stun, XorAddress, attribute, kind};
use crate::wire::{
    ChannelData, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Frame, Header, Ipv4, Ipv6, Udp, Word, protocol,
};

/// What the data of pktgen's packets begins with (`PKTGEN_MAGIC` in the kernel's net/core/pktgen.c). Neither STUN nor
/// ChannelData begins so.
pub const PKTGEN: u32 = 0xbe9b_e955_u32.to_be();

/// Its first half, host order.
const PKTGEN_FIRST: u16 = 0xbe9b;

/// Nothing is wrong with a packet.
pub const WHOLE: u32 = 0;
/// Its source or destination address is another one.
pub const ADDRESS: u32 = 1;
/// A port is.
pub const PORT: u32 = 2;
/// A length field is, of IP, UDP, ChannelData or DATA.
pub const LENGTH: u32 = 3;
/// The ChannelData header, the kind of message, or the peer that it names is.
pub const HEADER: u32 = 4;
/// The TTL or hop limit is, or the checksum of the IPv4 header is wrong.
pub const IP_HEADER: u32 = 5;
/// The UDP checksum is wrong.
pub const CHECKSUM: u32 = 6;
/// The application data is not what was sent.
pub const DATA: u32 = 7;
/// The flow's number is none.
pub const FLOW: u32 = 8;
/// How many kinds there are.
pub const FAULTS: usize = 9;

/// Attributes of an indication that are walked over: coturn sends three.
const MOST_ATTRIBUTES: usize = 6;

/// Bytes of the longest datagram that is summed up, and of the longest offset that is looked at.
const LONGEST: usize = 1536;

/// Bytes that are summed up at once.
const STRIDE: usize = 32;

/// What was read.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What the application data begins with.
    pub stamp: Stamp,
    src: NetIp,
    dst: NetIp,
    peer: NetIp,
    peer_port: Be16,
    src_port: Be16,
    dst_port: Be16,
    checksum: u16,
    udp_len: u16,
    data_len: u16,
    head: u32,
    ttl: u32,
    udp_at: usize,
    /// That the lengths of IP and UDP disagree, or the IPv4 header's checksum is wrong.
    fault: u32,
}

impl Arrival {
    /// Nothing yet.
    pub const NONE: Self = Self {
        stamp: Stamp { mark: 0, sequence: 0, time_low: 0, time_high: 0 },
        src: NetIp([0; 4]),
        dst: NetIp([0; 4]),
        peer: NetIp([0; 4]),
        peer_port: Be16(0),
        src_port: Be16(0),
        dst_port: Be16(0),
        checksum: 0,
        udp_len: 0,
        data_len: 0,
        head: 0,
        ttl: 0,
        udp_at: 0,
        fault: WHOLE,
    };

    /// Whether it is of the kernel's pktgen, which does not say the flow.
    #[inline(always)]
    pub fn is_pktgen(&self) -> bool {
        self.stamp.mark == PKTGEN
    }

    /// The flow that the packet says it is of.
    #[inline(always)]
    pub fn flow(&self) -> u32 {
        self.stamp.mark.to_le() >> 16
    }

    /// The run that it says it is of.
    #[inline(always)]
    pub fn run(&self) -> u32 {
        self.stamp.mark.to_le() >> 8 & 0xff
    }
}

/// Reads a frame; `false` if it is none of the bench.
#[inline(always)]
pub fn read<F: Frame + ?Sized>(frame: &F, arrival: &mut Arrival) -> bool {
    let Some(ethernet) = frame.header::<Ethernet>(0) else { return false };
    let ethertype = { ethernet.ethertype }.0;
    let ip_at = size_of::<Ethernet>();
    let ip_len;
    let ip_payload;
    if ethertype == ETHERTYPE_IPV4.0 {
        let Some(ip) = frame.header::<Ipv4>(ip_at) else { return false };
        if ip.version_ihl != Ipv4::PLAIN || ip.protocol != protocol::UDP {
            return false;
        }
        if ip.fragment & Ipv4::FRAGMENT_MASK != 0 {
            return false;
        }
        arrival.src = NetIp::from_v4_bits(ip.src);
        arrival.dst = NetIp::from_v4_bits(ip.dst);
        arrival.ttl = ip.ttl.into();
        arrival.fault = if checksum::fold(ip.sum()) == 0xffff { WHOLE } else { IP_HEADER };
        ip_payload = { ip.total_len }.get().wrapping_sub(size_of::<Ipv4>() as u16);
        ip_len = size_of::<Ipv4>();
    } else if ethertype == ETHERTYPE_IPV6.0 {
        let Some(ip) = frame.header::<Ipv6>(ip_at) else { return false };
        if ip.next_header != protocol::UDP {
            return false;
        }
        arrival.src = NetIp(ip.src);
        arrival.dst = NetIp(ip.dst);
        arrival.ttl = ip.hop_limit.into();
        arrival.fault = WHOLE;
        ip_payload = { ip.payload_len }.get();
        ip_len = size_of::<Ipv6>();
    } else {
        return false;
    }
    let udp_at = ip_at + ip_len;
    let Some(udp) = frame.header::<Udp>(udp_at) else { return false };
    arrival.src_port = udp.src_port;
    arrival.dst_port = udp.dst_port;
    arrival.checksum = udp.checksum;
    arrival.udp_len = { udp.len }.get();
    arrival.udp_at = udp_at;
    if arrival.udp_len != ip_payload || !frame.holds(udp_at + usize::from(ip_payload)) {
        arrival.fault = LENGTH;
    }
    let payload = udp_at + size_of::<Udp>();
    let Some(head) = frame.header::<ChannelData>(payload) else { return false };
    let first = { head.number }.get();
    let head_len = { head.len }.get();
    arrival.head = 0;
    if (first >> 8) as u8 == MAGIC || first == PKTGEN_FIRST {
        arrival.data_len = arrival.udp_len.wrapping_sub(size_of::<Udp>() as u16);
        return read_stamp(frame, payload, arrival);
    }
    if channel::is_channel(first) {
        arrival.head = head_of(Be16::new(first), Be16::new(head_len));
        arrival.data_len = head_len;
        if head_len != arrival.udp_len.wrapping_sub((size_of::<Udp>() + channel::HEADER_LEN) as u16) {
            arrival.fault = LENGTH;
        }
        return read_stamp(frame, payload + channel::HEADER_LEN, arrival);
    }
    if first == kind::SEND_INDICATION.get() || first == kind::DATA_INDICATION.get() {
        arrival.head = head_of(Be16::new(first), Be16(0));
        return read_indication(frame, payload, arrival);
    }
    false
}

/// [`Expected::head`] of a ChannelData header, or (with a zero) of a message type.
#[inline(always)]
pub const fn head_of(first: Be16, second: Be16) -> u32 {
    let ([a, b], [c, d]) = (first.0.to_ne_bytes(), second.0.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

#[inline(always)]
fn read_stamp<F: Frame + ?Sized>(frame: &F, at: usize, arrival: &mut Arrival) -> bool {
    let Some(stamp) = frame.header::<Stamp>(at) else { return false };
    let mark = stamp.mark;
    arrival.stamp =
        Stamp { mark, sequence: stamp.sequence, time_low: stamp.time_low, time_high: stamp.time_high };
    mark.to_le() as u8 == MAGIC || mark == PKTGEN
}

/// Walks over the attributes of a message that begins at `start`, which may come in any order.
#[inline(always)]
fn read_indication<F: Frame + ?Sized>(frame: &F, start: usize, arrival: &mut Arrival) -> bool {
    let Some(stun) = frame.header::<Stun>(start) else { return false };
    let id = stun.id;
    let len = usize::from({ stun.len }.get());
    if !stun.is_message(arrival.udp_len.wrapping_sub(size_of::<Udp>() as u16)) {
        arrival.fault = LENGTH;
    }
    let mut next = size_of::<Stun>();
    let end = next + len;
    let mut found = false;
    arrival.peer = NetIp([0; 4]);
    arrival.peer_port = Be16(0);
    for _ in 0..MOST_ATTRIBUTES {
        if next >= end || next > LONGEST {
            break;
        }
        // The mask shows the verifier a bound.
        let at = start + (next & 0x7ff);
        let Some(header) = frame.header::<Attribute>(at) else { break };
        let (kind, len) = ({ header.kind }.0, { header.len }.get());
        let value = at + size_of::<Attribute>();
        if kind == attribute::DATA.0 {
            arrival.data_len = len;
            found = read_stamp(frame, value, arrival);
        } else if kind == attribute::XOR_PEER_ADDRESS.0 {
            if usize::from(len) == size_of::<XorAddress<u32>>() {
                let Some(address) = frame.header::<XorAddress<u32>>(value) else { break };
                arrival.peer = address.plain_ip();
                arrival.peer_port = address.plain_port();
            } else {
                let Some(address) = frame.header::<XorAddress<[u32; 4]>>(value) else { break };
                arrival.peer = address.plain_ip(&id);
                arrival.peer_port = address.plain_port();
            }
        }
        next += size_of::<Attribute>() + ((usize::from(len) + 3) & !3);
    }
    found
}

/// What is wrong with a packet, [`WHOLE`] if nothing is. `ttl` is what it must arrive with, zero for any. With `sum`, every
/// byte is looked at. Without, the UDP checksum is still compared with the one that headers, stamp and untouched data give,
/// but for indications, where it depends on what a relay chose.
#[inline(always)]
pub fn judge<F: Frame + ?Sized>(
    frame: &F,
    arrival: &Arrival,
    expected: &Expected,
    ttl: u32,
    sum: bool,
) -> u32 {
    if differ(&arrival.src, &expected.src) || differ(&arrival.dst, &expected.dst) {
        return ADDRESS;
    }
    if arrival.src_port.0 != expected.src_port.0 || arrival.dst_port.0 != expected.dst_port.0 {
        return PORT;
    }
    if arrival.fault != WHOLE {
        return arrival.fault;
    }
    if ttl != 0 && arrival.ttl != ttl {
        return IP_HEADER;
    }
    let indication = is_indication(expected);
    if arrival.data_len != expected.data_len || expected.udp_len != 0 && arrival.udp_len != expected.udp_len {
        return LENGTH;
    }
    if arrival.head != expected.head {
        return HEADER;
    }
    if indication && (differ(&arrival.peer, &expected.peer) || arrival.peer_port.0 != expected.peer_port.0) {
        return HEADER;
    }
    let mut is = checksum::fold(u64::from(expected.sum) + arrival.stamp.sum());
    if sum {
        let all = checksum::fold(pseudo(arrival) + datagram_sum(frame, arrival));
        if !indication && all != is {
            return DATA;
        }
        is = all;
    } else if indication {
        return WHOLE;
    }
    judge_checksum(arrival, is)
}

/// What is wrong with a packet of pktgen's, which does not say its flow, by its lengths and checksums alone. The one of UDP is
/// looked at with `sum`.
#[inline(always)]
pub fn judge_pktgen<F: Frame + ?Sized>(frame: &F, arrival: &Arrival, sum: bool) -> u32 {
    if arrival.fault != WHOLE || !sum {
        return arrival.fault;
    }
    judge_checksum(arrival, checksum::fold(pseudo(arrival) + datagram_sum(frame, arrival)))
}

/// Whether the UDP checksum is that of a datagram with this sum.
#[inline(always)]
fn judge_checksum(arrival: &Arrival, sum: u16) -> u32 {
    // What a virtual card hands over may have only the pseudo header's sum there: hardware would have finished it.
    if arrival.checksum != checksum::udp_field(!sum) && arrival.checksum != checksum::fold(pseudo(arrival)) {
        return CHECKSUM;
    }
    WHOLE
}

/// Whether the packets of a flow arrive in indications.
#[inline(always)]
fn is_indication(expected: &Expected) -> bool {
    expected.head != 0 && expected.head.to_le() as u8 & 0xc0 == 0
}

#[inline(always)]
fn differ(a: &NetIp, b: &NetIp) -> bool {
    let NetIp([a, b, c, d]) = a.xor(b);
    a | b | c | d != 0
}

/// What the pseudo header (RFC 768, RFC 8200 section 8.1) adds to a sum.
#[inline(always)]
fn pseudo(arrival: &Arrival) -> u64 {
    let protocol = Be16::new(protocol::UDP as u16);
    arrival.src.sum() + arrival.dst.sum() + u64::from(protocol.0) + u64::from(Be16::new(arrival.udp_len).0)
}

/// The sum of all bytes of a datagram but those of its checksum.
#[inline(always)]
fn datagram_sum<F: Frame + ?Sized>(frame: &F, arrival: &Arrival) -> u64 {
    let len = usize::from(arrival.udp_len);
    let mut sum = u64::from(checksum::removed(arrival.checksum));
    let mut done = 0;
    for _ in 0..LONGEST / STRIDE {
        if done + STRIDE > len {
            break;
        }
        let Some(words) = frame.header::<[Word; STRIDE / 4]>(arrival.udp_at + done) else { return 0 };
        let mut i = 0;
        while i < STRIDE / 4 {
            sum += checksum::word(words[i].0);
            i += 1;
        }
        done += STRIDE;
    }
    for _ in 0..STRIDE / 4 {
        if done + 4 > len {
            break;
        }
        let Some(&Word(word)) = frame.header::<Word>(arrival.udp_at + done) else { return 0 };
        sum += checksum::word(word);
        done += 4;
    }
    // What is left, as if zeros followed.
    for i in 0..3 {
        if done >= len {
            break;
        }
        let Some(&Byte(byte)) = frame.header::<Byte>(arrival.udp_at + done) else { return 0 };
        sum += u64::from(u16::from_ne_bytes(if i % 2 == 0 { [byte, 0] } else { [0, byte] }));
        done += 1;
    }
    sum
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Byte(u8);

// SAFETY: packed, an integer.
unsafe impl Header for Byte {}
