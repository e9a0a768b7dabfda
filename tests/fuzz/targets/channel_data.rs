//! Any bytes as ChannelData, and as a peer's datagram: the core forwards what RFC 8656 section 12.5 says and nothing else,
//! and XDP forwards the same payload or none.
#![no_main]

#[path = "../../../relay-userspace/tests/common/mod.rs"]
mod common;

use std::cell::RefCell;
use std::net::SocketAddr;

use common::{Client, Seen, Sim, addr, config};
use libfuzzer_sys::fuzz_target;
use relay_common::addr::Be16;
use relay_common::flow::{FlowRecord, Path};
use relay_common::next_hop::NextHop;
use relay_common::packet::{self, Packet};
use relay_common::reason::Reason;
use relay_common::rewrite;
use relay_common::tables::Settings;
use relay_common::way::Way;

const CHANNEL: u16 = 0x4abc;
const PEER: &str = "203.0.113.1:1000";

thread_local!(static WORLD: RefCell<(Sim, Client, SocketAddr)> = RefCell::new({
    let mut sim = Sim::new(config(), [7; 32]);
    let mut client = Client::new(1000);
    let relayed = client.allocated(&mut sim);
    assert_eq!(client.bind(&mut sim, CHANNEL, addr(PEER)).code(), 0);
    (sim, client, relayed)
}));

fuzz_target!(|datagram: &[u8]| WORLD.with_borrow_mut(|(sim, client, relayed)| {
    if datagram.len() > 60_000 {
        return;
    }
    // As STUN it is another target's.
    if datagram.first().is_none_or(|first| *first >= 0x40) {
        let seen = sim.client_sends(client.five_tuple, datagram);
        let forwarded = match &seen[..] {
            [Seen::ToPeer(from, to, payload)] => {
                assert_eq!((from.0, to.0), (*relayed, addr(PEER)));
                Some(&payload[..])
            }
            [Seen::Dropped(_)] => None,
            _ => panic!("{seen:?}"),
        };
        assert_eq!(forwarded, expected(datagram));
        if let Some(payload) = by_xdp(client, *relayed, datagram) {
            assert_eq!(Some(payload), forwarded);
        }
    }

    let seen = sim.peer_sends(*relayed, common::peer(PEER), datagram);
    let [Seen::ToClient(to, bytes)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(*to, client.five_tuple);
    assert_eq!(*bytes, common::channel_data(CHANNEL, datagram));
}));

/// The RFC's words, once more.
fn expected(datagram: &[u8]) -> Option<&[u8]> {
    let [n0, n1, l0, l1, rest @ ..] = datagram else { return None };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let ours = u16::from_be_bytes([*n0, *n1]) == CHANNEL;
    let fits = length <= rest.len() && rest.len() <= length.next_multiple_of(4);
    (ours && fits).then(|| &rest[..length])
}

/// The payload that XDP would send to the peer; `None` when it passes the packet up or drops it.
fn by_xdp<'d>(client: &Client, relayed: SocketAddr, datagram: &'d [u8]) -> Option<&'d [u8]> {
    let path = Path {
        client: client.five_tuple.client.0.into(),
        listener: client.five_tuple.listener.into(),
        relayed: relayed.into(),
        peer: addr(PEER).into(),
        channel: Be16::new(CHANNEL),
    };
    let record = FlowRecord { deadline: u64::MAX, ..FlowRecord::client_to_peer(&path) };
    let settings = Settings { first_port: 50_000, last_port: 50_063, ..Settings::default() };
    let frame = frame(client, datagram);
    let mut packet = Packet::default();
    if packet::parse(&frame[..], &settings, &mut packet).is_some() || packet.key != record.key {
        return None;
    }
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let hop = NextHop { ifindex: 1, mtu: u16::MAX, ..NextHop::with_header(&ethernet) };
    let way = Way::channel(&packet, &record, &hop);
    if rewrite::decide(&packet, &way, 0) != Reason::ToPeer {
        return None;
    }
    let grown = rewrite::growth(&packet, &way);
    assert_eq!(grown, -4);
    let mut out = frame[4..].to_vec();
    assert!(rewrite::write(&mut out[..], &packet, &way));
    assert_eq!(out[14 + 20 + 8..], datagram[4..]);
    Some(&datagram[4..])
}

/// An Ethernet frame from the client to its listener, both IPv4; without a UDP checksum, as is allowed there.
fn frame(client: &Client, payload: &[u8]) -> Vec<u8> {
    let (SocketAddr::V4(src), SocketAddr::V4(dst)) = (client.five_tuple.client.0, client.five_tuple.listener)
    else {
        panic!("an IPv4 client")
    };
    let udp_len = 8 + payload.len() as u16;
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ip[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
    ip[12..16].copy_from_slice(&src.ip().octets());
    ip[16..20].copy_from_slice(&dst.ip().octets());
    let mut sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(ip);
    frame
        .extend([src.port().to_be_bytes(), dst.port().to_be_bytes(), udp_len.to_be_bytes(), [0, 0]].concat());
    frame.extend(payload);
    frame
}
