//! Frames made and read by a library of somebody else's, so that our own wire code is not its own judge.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetHeaders, PacketHeaders,
    TransportHeader, UdpHeader,
};

/// A UDP packet's parts, as a test states them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Destination and source MAC address.
    pub macs: ([u8; 6], [u8; 6]),
    /// VLAN tags, outermost first: EtherType of the tag and its 16 bits.
    pub tags: Vec<(u16, u16)>,
    /// Source.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// IPv4 identification.
    pub id: u16,
    /// DF.
    pub dont_fragment: bool,
    /// Whether there is a UDP checksum.
    pub checksum: bool,
    /// UDP payload.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// A plain packet between two addresses of one family.
    pub fn new(src: SocketAddr, dst: SocketAddr, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            macs: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            tags: Vec::new(),
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0,
            dont_fragment: true,
            checksum: true,
            payload: payload.into(),
        }
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.macs.0);
        out.extend_from_slice(&self.macs.1);
        for (ethertype, tci) in &self.tags {
            out.extend_from_slice(&ethertype.to_be_bytes());
            out.extend_from_slice(&tci.to_be_bytes());
        }
        let (sport, dport) = (self.src.port(), self.dst.port());
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                out.extend_from_slice(&0x0800u16.to_be_bytes());
                let mut ip = Ipv4Header::new(
                    8 + self.payload.len() as u16,
                    self.ttl,
                    IpNumber::UDP,
                    src.octets(),
                    dst.octets(),
                )
                .expect("fits an IPv4 packet");
                ip.dscp = (self.tos >> 2).try_into().expect("six bits");
                ip.ecn = (self.tos & 3).try_into().expect("two bits");
                ip.identification = self.id;
                ip.dont_fragment = self.dont_fragment;
                ip.header_checksum = ip.calc_header_checksum();
                let mut udp = UdpHeader::with_ipv4_checksum(sport, dport, &ip, &self.payload).expect("fits");
                if !self.checksum {
                    udp.checksum = 0;
                }
                ip.write(&mut out).expect("a Vec takes it");
                udp.write(&mut out).expect("a Vec takes it");
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                out.extend_from_slice(&0x86ddu16.to_be_bytes());
                let ip = Ipv6Header {
                    traffic_class: self.tos,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 8 + self.payload.len() as u16,
                    next_header: IpNumber::UDP,
                    hop_limit: self.ttl,
                    source: src.octets(),
                    destination: dst.octets(),
                };
                let mut udp = UdpHeader::with_ipv6_checksum(sport, dport, &ip, &self.payload).expect("fits");
                if !self.checksum {
                    udp.checksum = 0;
                }
                ip.write(&mut out).expect("a Vec takes it");
                udp.write(&mut out).expect("a Vec takes it");
            }
            families => panic!("one packet, two families: {families:?}"),
        }
        out.extend_from_slice(&self.payload);
        out
    }

    /// Reads a frame back. Every length is checked against the others and every checksum by full computation;
    /// panics with the reason where one is wrong. Bytes after the IP packet (Ethernet padding) are ignored.
    pub fn read(frame: &[u8]) -> Self {
        let (datagram, right) = Self::read_any(frame);
        assert!(right, "UDP checksum");
        datagram
    }

    /// The same, and whether the UDP checksum is right (one that is absent is).
    pub fn read_any(frame: &[u8]) -> (Self, bool) {
        let parsed = PacketHeaders::from_ethernet_slice(frame).expect("a well-formed frame");
        let mut tags = Vec::new();
        let mut at = 12;
        while let ethertype @ (0x8100 | 0x88a8) = u16::from_be_bytes([frame[at], frame[at + 1]]) {
            tags.push((ethertype, u16::from_be_bytes([frame[at + 2], frame[at + 3]])));
            at += 4;
        }
        let Some(TransportHeader::Udp(udp)) = parsed.transport else { panic!("not UDP: {parsed:?}") };
        let payload = parsed.payload.slice().to_vec();
        assert_eq!(usize::from(udp.length), 8 + payload.len(), "UDP length and IP length agree");
        let (src, dst, ttl, tos, id, dont_fragment, full): (IpAddr, IpAddr, _, _, _, _, u16) =
            match &parsed.net {
                Some(NetHeaders::Ipv4(ip, _)) => {
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
                    let tos = ip.dscp.value() << 2 | ip.ecn.value();
                    let full = udp.calc_checksum_ipv4(ip, &payload).expect("fits");
                    (
                        ip.source.into(),
                        ip.destination.into(),
                        ip.time_to_live,
                        tos,
                        ip.identification,
                        ip.dont_fragment,
                        full,
                    )
                }
                Some(NetHeaders::Ipv6(ip, _)) => {
                    let full = udp.calc_checksum_ipv6(ip, &payload).expect("fits");
                    (ip.source.into(), ip.destination.into(), ip.hop_limit, ip.traffic_class, 0, true, full)
                }
                other => panic!("not IP: {other:?}"),
            };
        let right = udp.checksum == 0 || udp.checksum == full;
        let link = Ethernet2Header::from_slice(frame).expect("an Ethernet header").0;
        let datagram = Self {
            macs: (link.destination, link.source),
            tags,
            src: SocketAddr::new(src, udp.source_port),
            dst: SocketAddr::new(dst, udp.destination_port),
            ttl,
            tos,
            id,
            dont_fragment,
            checksum: udp.checksum != 0,
            payload,
        };
        (datagram, right)
    }
}

/// ChannelData: number, length, data, and `padding` bytes more.
pub fn channel_data(number: u16, data: &[u8], padding: usize) -> Vec<u8> {
    let mut out = number.to_be_bytes().to_vec();
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out.extend(std::iter::repeat_n(0, padding));
    out
}

/// A ChannelData message with padding to a multiple of four bytes, which holds what a careless client leaves there.
pub fn padded_channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut out = channel_data(number, data, 0);
    out.extend_from_slice(&[0xa5, 0x5b, 0xc7][..data.len().wrapping_neg() & 3]);
    out
}
