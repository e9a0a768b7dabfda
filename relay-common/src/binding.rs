//! STUN Binding requests that the XDP program answers: those whose answer is certain. Such a request carries nothing that
//! must be understood, and the answer is as short as can be (RFC 8489 section 6.3.1): the header and XOR-MAPPED-ADDRESS,
//! 32 bytes over IPv4 and 44 over IPv6, with FINGERPRINT eight more. `turn/request.rs` gives the same to the byte.

use crate::addr::{Be16, NetIp};
use crate::checksum;
use crate::interface::Interface;
use crate::next_hop::NextHop;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::rewrite::write_l2;
use crate::stun::{self, Attributes};
use crate::wire::stun::{
    MAGIC_COOKIE, Stun, TransactionId, XorAddress, attribute, family, kind, mask, xor_port,
};
use crate::wire::{Frame, FrameMut, Header, Ipv4, Ipv6, Udp, Word, protocol};

/// The longest request that is answered. What pads a request (SOFTWARE and the like) is read for its checksums only.
pub const LONGEST_REQUEST: u16 = 128;

/// TTL and hop limit of answers, as Linux has them unless told otherwise.
const TTL: u8 = 64;

const UDP_LEN: u16 = size_of::<Udp>() as u16;

/// What an answer takes of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// What the answer is known by.
    pub id: TransactionId,
    /// Whether there was a FINGERPRINT, and so is one in the answer (RFC 8489 section 7).
    pub fingerprint: bool,
}

/// Whether a request of this header and these attributes, `len` bytes in all, is answered if what is in it is right.
#[inline(always)]
pub fn is_plain(header: &Stun, attributes: Attributes, len: u16) -> bool {
    { header.kind }.0 == kind::BINDING_REQUEST.0
        && len <= LONGEST_REQUEST
        && attributes.0 & !Attributes::FINGERPRINT == 0
}

/// Whether the checksums of a [plain](is_plain) request are right, as the kernel and the core would find: UDP's, if there
/// is one, and FINGERPRINT. [`Reason::Answered`] if so.
#[inline(always)]
pub fn check<F: Frame + ?Sized>(frame: &F, packet: &Packet, fingerprint: bool) -> Reason {
    let at = packet.payload_at();
    let len = (packet.udp_len.wrapping_sub(UDP_LEN) & 0x1ff).min(LONGEST_REQUEST);
    // FINGERPRINT is the last attribute, of eight bytes, and is not covered by itself.
    let covered = if fingerprint { len.wrapping_sub(8) } else { len };
    let pseudo = pseudo_sum(&packet.key.src, &packet.key.dst, packet.udp_len);
    let mut sum = pseudo
        + u64::from(packet.key.src_port.0)
        + u64::from(packet.key.dst_port.0)
        + u64::from(Be16::new(packet.udp_len).0)
        + u64::from(packet.udp_checksum);
    let (mut crc, mut expected) = (stun::CRC_START, 0);
    for i in 0..LONGEST_REQUEST / 4 {
        if i * 4 >= covered {
            break;
        }
        let Some(word) = word(frame, at, i * 4) else { return Reason::BadLength };
        sum += checksum::word(word);
        if fingerprint {
            crc = stun::crc(crc, word);
        }
    }
    if fingerprint {
        let Some(head) = word(frame, at, covered) else { return Reason::BadLength };
        let Some(value) = word(frame, at, covered.wrapping_add(4)) else { return Reason::BadLength };
        sum += checksum::word(head) + checksum::word(value);
        expected = value;
    }
    if packet.udp_checksum == 0 {
        // RFC 8200 section 8.1: not without one.
        if !packet.is_v4() {
            return Reason::BadChecksum;
        }
    } else if checksum::fold(sum) != 0xffff {
        let unfinished =
            packet.interface.has(Interface::VIRTUAL) && packet.udp_checksum == checksum::fold(pseudo);
        return if unfinished { Reason::UnfinishedChecksum } else { Reason::BadChecksum };
    }
    if fingerprint && expected != stun::fingerprint(crc) {
        return Reason::Stun;
    }
    Reason::Answered
}

#[inline(always)]
fn word<F: Frame + ?Sized>(frame: &F, at: usize, offset: u16) -> Option<u32> {
    // At most 22, 40 and 8 bytes of headers before 128: the mask shows the verifier a bound.
    let offset = at.wrapping_add(usize::from(offset)) & 0xff;
    frame.header::<Word>(offset).map(|&Word(word)| word)
}

/// How many bytes longer the frame becomes when the answer stands in the request's place; negative when it shrinks.
#[inline(always)]
pub fn growth(packet: &Packet, request: &Request) -> i32 {
    i32::from(UDP_LEN + message_len(packet.is_v4(), request.fingerprint)) - i32::from(packet.udp_len)
}

/// Bytes of the answer.
#[inline(always)]
const fn message_len(v4: bool, fingerprint: bool) -> u16 {
    Stun::LEN + if v4 { 12 } else { 24 } + if fingerprint { 8 } else { 0 }
}

/// Writes the answer over a frame whose length has been changed by [`growth`]. `false` when it is too short.
#[inline(always)]
pub fn write<F: FrameMut + ?Sized>(frame: &mut F, packet: &Packet, hop: &NextHop, request: &Request) -> bool {
    if !write_l2(frame, hop) {
        return false;
    }
    // At most 22; the mask shows the verifier a bound.
    let at = usize::from(hop.l2_len & 0x1f);
    match (packet.is_v4(), request.fingerprint) {
        (true, false) => put::<F, Ipv4, 8>(frame, at, packet, request),
        (true, true) => put::<F, Ipv4, 10>(frame, at, packet, request),
        (false, false) => put::<F, Ipv6, 11>(frame, at, packet, request),
        (false, true) => put::<F, Ipv6, 13>(frame, at, packet, request),
    }
}

/// All of an answer's IP packet: one comparison with the frame's end for the whole.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Answer<I, const N: usize> {
    ip: I,
    udp: Udp,
    message: [u32; N],
}

// SAFETY: packed, and of headers and integers only.
unsafe impl<I: Header, const N: usize> Header for Answer<I, N> {}

/// Writes the packet of an answer, whose message has so many words.
#[inline(always)]
fn put<F: FrameMut + ?Sized, I: IpHeader, const N: usize>(
    frame: &mut F,
    at: usize,
    packet: &Packet,
    request: &Request,
) -> bool {
    let Some(out) = frame.header_mut::<Answer<I, N>>(at) else { return false };
    let (src, dst) = (packet.key.dst, packet.key.src);
    let (src_port, dst_port) = (packet.key.dst_port, packet.key.src_port);
    let len = UDP_LEN + 4 * N as u16;
    out.ip = I::from_us(len, src, dst);
    out.udp = Udp { src_port, dst_port, len: Be16::new(len), checksum: 0 };

    let sum = pseudo_sum(&src, &dst, len)
        + u64::from(src_port.0)
        + u64::from(dst_port.0)
        + u64::from(Be16::new(len).0);
    // Word by word, each counted as it is written: the stack has no room for the message.
    let mut message = Writer { sum, crc: stun::CRC_START };
    let [i0, i1, i2] = request.id;
    let body = len - UDP_LEN - Stun::LEN;
    out.message[0] = message.count(pair(kind::BINDING_SUCCESS, Be16::new(body)));
    out.message[1] = message.count(MAGIC_COOKIE);
    out.message[2] = message.count(i0);
    out.message[3] = message.count(i1);
    out.message[4] = message.count(i2);
    out.message[5] = message.count(pair(attribute::XOR_MAPPED_ADDRESS, Be16::new(I::MAPPED)));
    out.message[6] = message.count(pair(Be16::new(I::FAMILY.into()), xor_port(dst_port)));
    if I::FAMILY == family::V4 {
        out.message[7] = message.count(dst.0[3] ^ MAGIC_COOKIE);
    } else {
        let NetIp([a, b, c, d]) = dst.xor(&mask(&request.id));
        out.message[7] = message.count(a);
        out.message[8] = message.count(b);
        out.message[9] = message.count(c);
        out.message[10] = message.count(d);
    }
    if request.fingerprint {
        let value = stun::fingerprint(message.crc);
        out.message[N - 2] = message.count(pair(attribute::FINGERPRINT, Be16::new(4)));
        out.message[N - 1] = message.count(value);
    }
    out.udp.checksum = checksum::udp_field(!checksum::fold(message.sum));
    true
}

/// The sums of a message that is being written.
struct Writer {
    sum: u64,
    crc: u32,
}

impl Writer {
    #[inline(always)]
    fn count(&mut self, word: u32) -> u32 {
        self.sum += checksum::word(word);
        self.crc = stun::crc(self.crc, word);
        word
    }
}

/// The header of a packet that this host sends of its own.
trait IpHeader: Header {
    /// The family in XOR-MAPPED-ADDRESS.
    const FAMILY: u8;
    /// Bytes of XOR-MAPPED-ADDRESS.
    const MAPPED: u16;
    fn from_us(udp_len: u16, src: NetIp, dst: NetIp) -> Self;
}

impl IpHeader for Ipv4 {
    const FAMILY: u8 = family::V4;
    const MAPPED: u16 = size_of::<XorAddress<u32>>() as u16;

    /// As Linux has it: not to be fragmented, and so without an identification (RFC 6864).
    #[inline(always)]
    fn from_us(udp_len: u16, src: NetIp, dst: NetIp) -> Self {
        let mut ip = Self {
            version_ihl: Ipv4::PLAIN,
            tos: 0,
            total_len: Be16::new(udp_len + size_of::<Ipv4>() as u16),
            fragment: Ipv4::DONT_FRAGMENT,
            ttl: TTL,
            protocol: protocol::UDP,
            checksum: 0,
            src: src.0[3],
            dst: dst.0[3],
        };
        ip.checksum = !checksum::fold(ip.sum());
        ip
    }
}

impl IpHeader for Ipv6 {
    const FAMILY: u8 = family::V6;
    const MAPPED: u16 = size_of::<XorAddress<[u32; 4]>>() as u16;

    #[inline(always)]
    fn from_us(udp_len: u16, src: NetIp, dst: NetIp) -> Self {
        Self {
            version_class_label: (6_u32 << 28).to_be(),
            payload_len: Be16::new(udp_len),
            next_header: protocol::UDP,
            hop_limit: TTL,
            src: src.0,
            dst: dst.0,
        }
    }
}

/// The sum of a UDP pseudo header.
#[inline(always)]
fn pseudo_sum(src: &NetIp, dst: &NetIp, udp_len: u16) -> u64 {
    src.sum() + dst.sum() + u64::from(Be16::new(u16::from(protocol::UDP)).0) + u64::from(Be16::new(udp_len).0)
}

/// Two 16-bit numbers as the word that they are in memory.
#[inline(always)]
const fn pair(a: Be16, b: Be16) -> u32 {
    let ([a0, a1], [b0, b1]) = (a.0.to_ne_bytes(), b.0.to_ne_bytes());
    u32::from_ne_bytes([a0, a1, b0, b1])
}
