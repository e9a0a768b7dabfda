//! Fragments and packets with IP options are nothing for XDP: they go up untouched and the process relays them.

use relay_common::reason::Reason;
use turnpike_tests::frames::Datagram;
use turnpike_tests::lab::{OneNic, PATIENCE, Path, Received, Server, Wire, receive};

use crate::common::{CHANNEL, Call, Macs, assert_xdp, moved, settled};

fn with(mode: &'static str, test: impl FnOnce(&OneNic, &Server, &mut Call)) {
    let Some((net, server, mut call)) = settled(mode) else { return };
    test(&net, &server, &mut call);
}

#[test]
fn a_datagram_in_three_fragments() {
    with("xdp", |_, server, call| {
        let big: Vec<u8> = (0..4_000u16).map(|n| n as u8).collect();
        let moved = moved(server, || {
            call.client_sends(&big);
            call.peer_sends(&big);
        });
        assert_xdp(&moved, Reason::Fragment, 6);
        assert_eq!(moved.relayed(Path::Xdp), (0, 0), "{moved:?}");
        assert_eq!(moved.relayed(Path::Userspace), (1, 1), "{moved:?}");
    });
}

/// The frame with four bytes of "no operation" (RFC 791 section 3.1) after its IPv4 header.
fn with_options(datagram: &Datagram) -> Vec<u8> {
    use etherparse::{Ipv4Header, Ipv4Options};
    let frame = datagram.frame();
    let (mut header, rest) = Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
    header.options = Ipv4Options::try_from(&[1, 1, 1, 1][..]).expect("four bytes");
    header.total_len += 4;
    header.header_checksum = header.calc_header_checksum();
    [&frame[..14], &header.to_bytes()[..], rest].concat()
}

#[test]
fn a_packet_with_options() {
    with("xdp", |net, server, call| {
        let macs = Macs::of(net);
        let moved = moved(server, || {
            Wire::open(&net.client, "eth0").send(&with_options(&call.frame_to_server(macs, b"there")));
            assert_eq!(receive(&call.peer, PATIENCE), Some((b"there".to_vec(), call.relayed)));
            Wire::open(&net.peer, "eth0").send(&with_options(&call.frame_to_relay(macs, b"back")));
            let got = call.client.receive(PATIENCE);
            assert_eq!(got, Some(Received::Channel(CHANNEL, b"back".to_vec())));
        });
        assert_xdp(&moved, Reason::IpOptions, 2);
        assert_eq!(moved.relayed(Path::Xdp), (0, 0), "{moved:?}");
        assert_eq!(moved.relayed(Path::Userspace), (1, 1), "{moved:?}");
    });
}
