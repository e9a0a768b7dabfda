//! Any frame through XDP's parser and rewrite, with a flow that fits it: what is written is well-formed, carries the same
//! payload, and would be read again as the flow's other side.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use relay_common::addr::{Be16, Endpoint, NetIp};
use relay_common::flow::{FlowRecord, KEY_WORDS, Path};
use relay_common::interface::Interface;
use relay_common::next_hop::NextHop;
use relay_common::packet::{self, Packet};
use relay_common::reason::Reason;
use relay_common::rewrite;
use relay_common::tables::Settings;
use relay_common::way::Way;

const SETTINGS: Settings = Settings {
    seed: [0; KEY_WORDS + 1],
    records: 0,
    bucket_mask: 0,
    first_port: 0,
    last_port: u16::MAX,
    tick: 0,
    epoch: 0,
};

#[derive(Arbitrary, Debug)]
struct Input {
    frame: Vec<u8>,
    mended: Option<Mended>,
    other: Side,
    virtual_card: bool,
    tags: u8,
    mtu: u16,
    now: u8,
}

/// Headers that fit together are not found by chance: with this, the frame has them over its random bytes.
#[derive(Arbitrary, Debug)]
struct Mended {
    v4: bool,
    from_peer: bool,
}

impl Mended {
    fn mend(&self, frame: &mut [u8]) {
        const L2: usize = 14;
        let ip_len = if self.v4 { 20 } else { 40 };
        let Some(udp_len) = frame.len().checked_sub(L2 + ip_len) else { return };
        if !(12..60_000).contains(&udp_len) {
            return;
        }
        frame[0] &= 0xfe;
        let (ethernet, ip) = frame.split_at_mut(L2);
        let (ip, udp) = ip.split_at_mut(ip_len);
        let udp_len = (udp_len as u16).to_be_bytes();
        if self.v4 {
            ethernet[12..].copy_from_slice(&[0x08, 0]);
            ip[0] = 0x45;
            ip[2..4].copy_from_slice(&(20 + u16::from_be_bytes(udp_len)).to_be_bytes());
            // DF may stay, offset and MF may not.
            ip[6] &= 0x40;
            ip[7] = 0;
            ip[9] = 17;
            ip[10..12].fill(0);
            let mut sum: u32 =
                ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        } else {
            ethernet[12..].copy_from_slice(&[0x86, 0xdd]);
            ip[0] = 0x60 | ip[0] & 0x0f;
            ip[4..6].copy_from_slice(&udp_len);
            ip[6] = 17;
        }
        udp[4..6].copy_from_slice(&udp_len);
        if self.from_peer {
            udp[2..4].copy_from_slice(&50_000_u16.to_be_bytes());
            return;
        }
        udp[2..4].copy_from_slice(&3478_u16.to_be_bytes());
        udp[8] = 0x40 | udp[8] & 0x3f;
        let length = u16::from_be_bytes(udp_len) - 12;
        udp[10..12].copy_from_slice(&length.to_be_bytes());
    }
}

/// The side that the packet goes to.
#[derive(Arbitrary, Debug)]
struct Side {
    v4: bool,
    src: [u8; 16],
    dst: [u8; 16],
    ports: [u16; 2],
    channel: u16,
}

impl Side {
    fn ip(&self, bytes: [u8; 16]) -> NetIp {
        let ip: std::net::IpAddr = if self.v4 {
            [bytes[0], bytes[1], bytes[2], bytes[3]].into()
        } else {
            // Not an IPv4-mapped one, which is no address of an IPv6 packet.
            let mut bytes = bytes;
            bytes[0] |= 0x20;
            bytes.into()
        };
        ip.into()
    }
}

fuzz_target!(|input: Input| {
    let mut input = input;
    if let Some(mended) = &input.mended {
        mended.mend(&mut input.frame);
    }
    let frame = &input.frame[..];
    let settings = Settings { first_port: 40_000, last_port: 60_000, ..SETTINGS };
    let flags = if input.virtual_card { Interface::VIRTUAL } else { 0 };
    let mut packet = Packet { interface: Interface { flags, ..Interface::default() }, ..Packet::default() };
    if packet::parse(frame, &settings, &mut packet).is_some() {
        return;
    }

    let from = Endpoint { ip: packet.key.src, port: packet.key.src_port };
    let at = Endpoint { ip: packet.key.dst, port: packet.key.dst_port };
    let [src, dst] = [(input.other.src, 0), (input.other.dst, 1)]
        .map(|(ip, port)| Endpoint { ip: input.other.ip(ip), port: Be16::new(input.other.ports[port]) });
    let to_peer = packet.key.channel.0 != 0;
    let channel = Be16::new(0x4000 | input.other.channel & 0x3fff);
    let record = if to_peer {
        let channel = packet.key.channel;
        FlowRecord::client_to_peer(&Path { client: from, listener: at, relayed: src, peer: dst, channel })
    } else {
        FlowRecord::peer_to_client(&Path { client: dst, listener: src, relayed: at, peer: from, channel })
    };
    assert_eq!(record.key, packet.key);
    let record = FlowRecord { deadline: 100, ..record };
    let hop = NextHop {
        ifindex: 1,
        mtu: input.mtu,
        ..NextHop::with_header(&ethernet(input.tags % 3, record.dst.is_v4()))
    };
    let way = Way::channel(&packet, &record, &hop);
    match rewrite::decide(&packet, &way, input.now.into()) {
        Reason::ToPeer | Reason::ToClient => {}
        _ => return,
    }

    let growth = rewrite::growth(&packet, &way) as isize;
    let mut out = vec![0; growth.max(0) as usize];
    out.extend(&frame[(-growth).max(0) as usize..]);
    assert!(rewrite::write(&mut out[..], &packet, &way));

    // Read as if it had come in at the other side.
    let mut again = Packet::default();
    let wide = Settings { first_port: 0, last_port: u16::MAX, ..settings };
    let why = packet::parse(&out[..], &wide, &mut again);
    assert!(why.is_none() || why == Some(Reason::NotOurs) || why == Some(Reason::Stun), "{why:?}");
    assert_eq!((again.key.src, again.key.dst), (record.src, record.dst));
    let payload = |frame: &[u8], packet: &Packet, channel: usize| {
        let start = usize::from(packet.l2_len + packet.ip_len) + 8 + channel;
        frame[start..usize::from(packet.l2_len + packet.ip_len + packet.udp_len)].to_vec()
    };
    let channel = |has: bool| if has { 4 } else { 0 };
    if why.is_none() {
        assert_eq!(payload(frame, &packet, channel(to_peer)), payload(&out, &again, channel(!to_peer)));
        assert_eq!(again.ttl, packet.ttl - 1);
        assert_eq!(again.tos, packet.tos);
        assert!(u32::from(again.ip_len) + u32::from(again.udp_len) <= u32::from(input.mtu));
    }
});

/// A destination, a source, tags and an EtherType, as words in memory order.
fn ethernet(tags: u8, v4: bool) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for _ in 0..tags {
        bytes.extend([0x81, 0, 0, 7]);
    }
    bytes.extend(if v4 { [0x08, 0] } else { [0x86, 0xdd] });
    bytes
}
