//! From a frame to what the flow table is asked: the first half of a packet's way.

use core::hint::black_box;

use crate::addr::{Be16, NetIp};
use crate::channel;
use crate::checksum;
use crate::flow::FlowKey;
use crate::interface::Interface;
use crate::reason::Reason;
use crate::tables::Settings;
use crate::wire::{
    ChannelData, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, Frame, Ipv4, Ipv6,
    MAX_TAGS, Udp, VlanTag, Word, is_extension, protocol,
};

/// What the rewrite needs to know of a packet, whatever its family and direction.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default, Debug)]
pub struct Packet {
    /// What the flow table is asked.
    pub key: FlowKey,
    /// What it came in by; the program fills in flags, slot and the index by which routes name it: that of the bond where
    /// it is a member of one.
    pub interface: Interface,
    /// Bytes before the IP header.
    pub l2_len: u16,
    /// Bytes of the IP header: 20 or 40.
    pub ip_len: u16,
    /// UDP length, host order: header and payload.
    pub udp_len: u16,
    /// UDP checksum as it came.
    pub udp_checksum: u16,
    /// Where the application data begins in the frame: behind the UDP header, and behind a ChannelData header or a Send
    /// indication's header and attributes.
    pub data_at: u16,
    /// Bytes of application data, host order; as ChannelData claims them, which may be more than there are.
    pub data_len: u16,
    /// Bytes of padding behind ChannelData's data, where they were looked at: see [`take_padding_off`](Self::take_padding_off).
    pub padding: u16,
    /// What taking away all that the client put around the data adds to the UDP checksum's sum.
    pub removed: u32,
    /// The peer that a Send indication names, or that a Data indication will tell.
    pub peer: NetIp,
    /// The peer's port: the one that a Send indication names, or that a peer's packet comes from.
    pub peer_port: Be16,
    /// IPv4 identification and DF as they came, as they lie in [`Ipv4::fragment`]; DF alone for IPv6, whose routers never
    /// fragment.
    pub fragment: u32,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit as it came.
    pub ttl: u8,
}

/// Longest data and furthest attribute that a bound is shown to the verifier for. Drivers hand over frames in one piece
/// up to a page; longer ones are not forwarded.
pub const LONGEST: usize = 0x3fff;

/// Bytes of a UDP header.
const UDP_LEN: u16 = size_of::<Udp>() as u16;

impl Packet {
    /// Forgets all of the last packet that reading the next one may leave as it is, and is looked at then: addresses count
    /// only where a header was read.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.key.set_ports(Be16(0), Be16(0), Be16(0));
        (self.l2_len, self.ip_len, self.udp_len, self.udp_checksum) = (0, 0, 0, 0);
        (self.data_at, self.data_len, self.removed) = (0, 0, 0);
    }

    /// Whether the packet came as IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.ip_len == size_of::<Ipv4>() as u16
    }

    /// Bytes of the IP packet.
    #[inline(always)]
    pub const fn ip_packet_len(&self) -> u32 {
        self.ip_len as u32 + self.udp_len as u32
    }

    /// Where the UDP payload begins in the frame. The masks show the verifier a bound.
    #[inline(always)]
    pub fn payload_at(&self) -> usize {
        usize::from(self.l2_len & 0x1f) + usize::from(self.ip_len & 0x3f) + size_of::<Udp>()
    }

    /// Whether a client's ChannelData ends on a multiple of four bytes by padding, as RFC 8656 section 12.5 has it over TCP and
    /// allows over UDP. No more than that is padding.
    #[inline(always)]
    pub const fn is_padded(&self) -> bool {
        let claimed = UDP_LEN + channel::HEADER_LEN as u16;
        let behind = self.udp_len.wrapping_sub(claimed).wrapping_sub(self.data_len);
        behind != 0 && behind == self.data_len.wrapping_neg() & 3
    }

    /// Notes padding that will come off, what it adds to the checksum with it; nothing where it cannot be read. The other ways
    /// alone cut a frame's end.
    #[inline(always)]
    pub fn take_padding_off<F: Frame + ?Sized>(&mut self, frame: &F) {
        let behind = self.data_len.wrapping_neg() & 3;
        let end = usize::from(self.data_len) + usize::from(behind);
        if end > LONGEST {
            return;
        }
        let at = self.payload_at() + channel::HEADER_LEN + end - size_of::<Word>();
        // Opaque, or the compiler would add up all constants, and the verifier needs the last one, of the bound, by itself.
        let Some(last) = frame.header::<Word>(black_box(at)) else { return };
        let padding = last.0 & (u32::MAX >> (8 * (self.data_len & 3))).to_be();
        self.removed += checksum::removed(checksum::fold(checksum::word(padding)));
        self.padding = behind;
    }

    /// The address that the packet arrived at, whatever it was looked for by.
    #[inline(always)]
    pub const fn arrived_at(&self) -> NetIp {
        if self.key.channel.0 == channel::INDICATION.0 { self.key.dst.xor(&self.peer) } else { self.key.dst }
    }
}

/// Reads a frame into `packet`, whose `interface` alone is set before. `None` when the flow table can be asked; otherwise why the packet goes up as it is.
/// `packet.key` holds what is known of the addresses and ports even then, zeros for the rest.
/// [`Reason::Malformed`] holds at a listener only: what else the port is for is not known here.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, settings: &Settings, packet: &mut Packet) -> Option<Reason> {
    let Some(ethernet) = frame.header::<Ethernet>(0) else { return Some(Reason::NotOurs) };
    if ethernet.dst[0] & 1 != 0 {
        // RFC 1122 section 3.3.6: a link-layer broadcast never carries a unicast packet that is to be believed.
        return Some(Reason::NotOurs);
    }
    let mut ethertype = ethernet.ethertype;
    let mut l2_len = size_of::<Ethernet>();
    for _ in 0..MAX_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let Some(tag) = frame.header::<VlanTag>(l2_len) else { return Some(Reason::NotOurs) };
        ethertype = tag.ethertype;
        l2_len += size_of::<VlanTag>();
    }
    packet.l2_len = l2_len as u16;

    let refused = if ethertype == ETHERTYPE_IPV4 {
        parse_v4(frame, l2_len, packet)
    } else if ethertype == ETHERTYPE_IPV6 {
        parse_v6(frame, l2_len, packet)
    } else {
        Some(Reason::NotOurs)
    };
    if refused.is_some() {
        return refused;
    }
    parse_udp(frame, l2_len.wrapping_add(usize::from(packet.ip_len)), settings, packet)
}

#[inline(always)]
fn parse_v4<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Option<Reason> {
    let Some(ip) = frame.header::<Ipv4>(at) else { return Some(Reason::NotOurs) };
    if ip.version_ihl != Ipv4::PLAIN || ip.protocol != protocol::UDP {
        return Some(refuse_v4(ip, packet));
    }
    packet.key.src.set_v4(ip.src);
    packet.key.dst.set_v4(ip.dst);
    let fragment = ip.fragment;
    if fragment & Ipv4::FRAGMENT_MASK != 0 {
        return Some(Reason::Fragment);
    }
    let total_len = { ip.total_len }.get();
    let ip_len = size_of::<Ipv4>() as u16;
    if total_len < ip_len + UDP_LEN || !frame.holds(at + usize::from(total_len)) {
        return Some(Reason::BadLength);
    }
    if !checksum::is_right(ip.sum()) {
        // RFC 1812 section 5.2.2; the new header is built, not patched, and must not launder a broken one.
        return Some(Reason::BadChecksum);
    }
    packet.ip_len = ip_len;
    packet.udp_len = total_len - ip_len;
    packet.fragment = fragment & (Ipv4::ID_MASK | Ipv4::DONT_FRAGMENT);
    packet.tos = ip.tos;
    packet.ttl = ip.ttl;
    None
}

/// Why the flow table cannot be asked for a packet with such a header: it has options, or it is no IPv4 and UDP.
#[inline(always)]
fn refuse_v4(ip: &Ipv4, packet: &mut Packet) -> Reason {
    if ip.protocol != protocol::UDP || ip.version_ihl >> 4 != 4 {
        return Reason::NotOurs;
    }
    packet.key.src.set_v4(ip.src);
    packet.key.dst.set_v4(ip.dst);
    Reason::IpOptions
}

#[inline(always)]
fn parse_v6<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Option<Reason> {
    let Some(ip) = frame.header::<Ipv6>(at) else { return Some(Reason::NotOurs) };
    let word = u32::from_be(ip.version_class_label);
    if word >> 28 != 6 {
        return Some(Reason::NotOurs);
    }
    // By words: the compiler makes a loop over the bytes of an array copied whole.
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (ip.src, ip.dst);
    packet.key.src = NetIp([s0, s1, s2, s3]);
    packet.key.dst = NetIp([d0, d1, d2, d3]);
    match ip.next_header {
        protocol::UDP => {}
        protocol::FRAGMENT => return Some(Reason::Fragment),
        next if is_extension(next) => return Some(Reason::IpOptions),
        _ => return Some(Reason::NotOurs),
    }
    let payload_len = { ip.payload_len }.get();
    let ip_len = size_of::<Ipv6>();
    if payload_len < UDP_LEN || !frame.holds(at + ip_len + usize::from(payload_len)) {
        return Some(Reason::BadLength);
    }
    packet.ip_len = ip_len as u16;
    packet.udp_len = payload_len;
    packet.fragment = Ipv4::DONT_FRAGMENT;
    packet.tos = (word >> 20) as u8;
    packet.ttl = ip.hop_limit;
    None
}

/// `packet.udp_len` holds the bytes of the IP payload on entry.
#[inline(always)]
fn parse_udp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    settings: &Settings,
    packet: &mut Packet,
) -> Option<Reason> {
    let Some(udp) = frame.header::<Udp>(at) else { return Some(Reason::BadLength) };
    packet.key.set_ports(udp.src_port, udp.dst_port, Be16(0));
    let udp_len = { udp.len }.get();
    if udp_len < UDP_LEN || udp_len > packet.udp_len {
        return Some(Reason::BadLength);
    }
    packet.udp_len = udp_len;
    packet.udp_checksum = udp.checksum;
    let data_at = at + size_of::<Udp>();
    let port = { udp.dst_port }.get();
    if port >= settings.first_port && port <= settings.last_port {
        packet.peer_port = udp.src_port;
        packet.data_at = data_at as u16;
        packet.data_len = udp_len - UDP_LEN;
        return None;
    }

    // A client's packet: RFC 8656 section 12 tells ChannelData from STUN by the first two bits.
    if udp_len < UDP_LEN + channel::HEADER_LEN as u16 {
        return Some(Reason::Malformed);
    }
    let Some(header) = frame.header::<ChannelData>(data_at) else {
        return Some(Reason::BadLength);
    };
    let number = header.number;
    if !channel::is_channel(number.get()) {
        return Some(if number.get() < channel::MIN { Reason::Stun } else { Reason::Malformed });
    }
    packet.key.set_ports(udp.src_port, udp.dst_port, number);
    packet.data_at = (data_at + channel::HEADER_LEN) as u16;
    packet.data_len = { header.len }.get();
    packet.removed = checksum::removed(number.0) + checksum::removed({ header.len }.0);
    None
}
