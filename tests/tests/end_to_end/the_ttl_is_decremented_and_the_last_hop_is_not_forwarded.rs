//! A packet that XDP forwards has one hop less to live, so that loops end; the last hop is not forwarded.

use relay_common::reason::Reason;
use turnpike_tests::frames::channel_data;
use turnpike_tests::lab::{PATIENCE, QUIET, Wire, receive};

use crate::common::{CHANNEL, Macs, assert_xdp, moved, settled};

#[test]
fn both_ways() {
    let Some((net, server, mut call)) = settled("xdp") else { return };
    let macs = Macs::of(&net);
    let [mut at_client, mut at_peer] = [&net.client, &net.peer].map(|host| Wire::open(host, "eth0"));
    let mut there = call.frame_to_server(macs, b"there");
    let mut back = call.frame_to_relay(macs, b"back");

    for ttl in [2, 64, 255] {
        (there.ttl, back.ttl) = (ttl, ttl);
        at_client.send(&there.frame());
        let arrived = at_peer.find_payload(PATIENCE, b"there").expect("the peer's frame");
        assert_eq!(arrived.ttl, ttl - 1, "towards the peer");
        at_peer.send(&back.frame());
        let arrived = at_client.find_payload(PATIENCE, &channel_data(CHANNEL, b"back", 0));
        assert_eq!(arrived.expect("the client's frame").ttl, ttl - 1, "towards the client");
        assert!(receive(&call.peer, PATIENCE).is_some() && call.client.receive(PATIENCE).is_some());
    }
    let moved = moved(&server, || {
        for ttl in [0, 1] {
            (there.ttl, back.ttl) = (ttl, ttl);
            at_client.send(&there.frame());
            at_peer.send(&back.frame());
        }
        assert_eq!(receive(&call.peer, QUIET), None, "what the peer received");
        assert_eq!(call.client.receive(QUIET), None, "what the client received");
    });
    assert_xdp(&moved, Reason::TtlExceeded, 4);
}
