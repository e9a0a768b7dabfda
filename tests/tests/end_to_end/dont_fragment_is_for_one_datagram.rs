//! What userspace relays leaves with DF = 0, in fragments where it is larger than the interface's MTU; a Send indication
//! with DONT-FRAGMENT leaves with DF = 1 or not at all, and then the client is told the MTU (RFC 8656 sections 7.2, 11.2
//! and 14).

use std::net::{SocketAddr, UdpSocket};

use relay_common::reason::Reason;
use turnpike::stun::{AddressFamily, Icmp};
use turnpike_tests::lab::{
    self, Echo, Load, OneNic, PATIENCE, Path, QUIET, Received, TurnClient, Wire, receive, wait_for,
};

use crate::common::{CHANNEL, add_ipv6, moved, serve_ipv6, settled};

/// The most of an IPv4 datagram's payload that fits an Ethernet frame.
const FULL: usize = 1_500 - 20 - 8;

/// Flags and offset of an IPv4 packet in a frame: DF is 0x4000, "more fragments" 0x2000.
fn fragment_field(frame: &[u8]) -> Option<u16> {
    (frame.get(12..14)? == [8, 0] && frame.get(23) == Some(&17))
        .then(|| u16::from_be_bytes([frame[20], frame[21]]))
}

/// The fragment fields of the next `count` IPv4 packets to the peer.
fn fields(wire: &mut Wire, count: usize) -> Vec<u16> {
    let next = || wire.find(PATIENCE, fragment_field);
    std::iter::repeat_with(next).take(count).map(|field| field.expect("a packet")).collect()
}

#[test]
fn df_is_set_for_what_asks_for_it_and_for_nothing_else() {
    let Some((net, server, mut call)) = settled("userspace") else { return };
    let mut wire = Wire::open(&net.peer, "eth0");
    let peer = call.peer_address();
    for size in [100, FULL] {
        let data = vec![7; size];
        call.client.send_whole(peer, &data);
        call.client.send_indication(peer, &data);
        call.client.send(CHANNEL, &data);
        call.client.send_whole(peer, &data);
        for _ in 0..4 {
            assert_eq!(receive(&call.peer, PATIENCE), Some((data.clone(), call.relayed)));
        }
        assert_eq!(fields(&mut wire, 4), [0x4000, 0, 0, 0x4000], "{size} bytes");
    }

    // The process counts a packet a moment after it has sent it; both ways went once before.
    let counted = |to_peer| {
        wait_for(&format!("{to_peer} packets to the peer counted"), || {
            (server.counters().relayed(Path::Userspace) == (to_peer, 1)).then_some(())
        });
    };
    counted(9);
    // One byte more does not fit a frame.
    let (small, data) = (vec![8; 10], vec![7; FULL + 1]);
    let moved = moved(&server, || {
        call.client.send_whole(peer, &data);
        call.client.send_indication(peer, &small);
        assert_eq!(receive(&call.peer, PATIENCE), Some((small.clone(), call.relayed)), "what comes after it");
        let too_big = Icmp { kind: 3, code: 4, data: 1_500 };
        assert_eq!(call.client.receive(PATIENCE), Some(Received::Icmp(peer, too_big)));
        counted(10);
    });
    assert_eq!(moved.of(Path::Userspace, Reason::TooBig), 1, "{moved:?}");
    assert_eq!(moved.relayed(Path::Userspace), (1, 0), "{moved:?}");
    assert_eq!(moved.of(Path::Userspace, Reason::Icmp), 1, "{moved:?}");
    assert_eq!(fields(&mut wire, 1), [0]);
}

#[test]
fn larger_datagrams_leave_in_fragments_over_ipv4() {
    let Some((net, _server, mut call)) = settled("userspace") else { return };
    let mut wire = Wire::open(&net.peer, "eth0");
    let data: Vec<u8> = (0..4_000u16).map(|n| n as u8).collect();
    call.client_sends(&data);
    // 1,480 bytes of payload are 185 units of eight.
    assert_eq!(fields(&mut wire, 3), [0x2000, 0x2000 | 185, 2 * 185]);
    let mut wire = Wire::open(&net.client, "eth0");
    call.peer_sends(&data);
    assert_eq!(fields(&mut wire, 3), [0x2000, 0x2000 | 185, 2 * 185]);
}

#[test]
fn larger_datagrams_leave_in_fragments_over_ipv6() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    for (host, address) in [(&net.server, "fd77::1"), (&net.peer, "fd77::3")] {
        add_ipv6(host, "eth0", address);
    }
    let _server = serve_ipv6(&net.server, "fd77::1", "fd77::/64");
    let mut client = TurnClient::new(&net.client, net.server.at(3478));
    let relayed = client.allocate_of(AddressFamily::V6);
    let at: SocketAddr = "[fd77::3]:4000".parse().expect("an address");
    let peer = net.peer.enter(|| UdpSocket::bind(at)).expect("the address is there");
    client.bind(CHANNEL, at);

    let mut wire = Wire::open(&net.peer, "eth0");
    for size in [1_500 - 40 - 8, 4_000] {
        let data = vec![7; size];
        // Ignored, as one side is IPv6 (RFC 8656 section 13).
        client.send_whole(at, &data);
        client.send(CHANNEL, &data);
        for _ in 0..2 {
            assert_eq!(receive(&peer, PATIENCE), Some((data.clone(), relayed)));
        }
    }
    let (mut whole, mut fragments, mut labels) = (0, 0, Vec::new());
    wire.find(QUIET, |frame| -> Option<()> {
        assert!(frame.len() <= 14 + 1_500, "a frame of {} bytes", frame.len());
        let ip = frame.get(12..54).filter(|ip| ip[..2] == [0x86, 0xdd])?;
        match ip[8] {
            17 => whole += 1,
            44 => fragments += 1,
            _ => return None,
        }
        labels.push(u32::from_be_bytes([0, ip[3] & 0xf, ip[4], ip[5]]));
        None
    });
    assert_eq!((whole, fragments), (2, 6));
    assert!(labels[0] != 0 && labels.iter().all(|label| *label == labels[0]), "flow labels {labels:x?}");
}

#[test]
fn coturns_client_may_ask_for_it() {
    let Some((net, server, _call)) = settled("userspace") else { return };
    let echo = Echo::start(&net.peer);
    for indications in [false, true] {
        let load = Load { indications, dont_fragment: true, ..Load::default() };
        let totals = load.run(&net.client, server.address(), &echo);
        assert_eq!(totals.received, totals.sent, "indications: {indications}");
        assert!(totals.sent > 0);
    }
}
