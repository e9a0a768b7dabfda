//! A packet that is relayed has one hop less to live, so that loops end; the last hop is not forwarded. DSCP and ECN are
//! handed on (RFC 8656 section 14). By XDP and by the process alike.

use relay_common::reason::Reason;
use turnpike_tests::frames::channel_data;
use turnpike_tests::lab::{PATIENCE, QUIET, Wire, receive};

use crate::common::{CHANNEL, Macs, moved, path, settled};

fn both_ways(mode: &'static str) {
    let Some((net, server, mut call)) = settled(mode) else { return };
    let macs = Macs::of(&net);
    let [mut at_client, mut at_peer] = [&net.client, &net.peer].map(|host| Wire::open(host, "eth0"));
    let mut there = call.frame_to_server(macs, b"there");
    let mut back = call.frame_to_relay(macs, b"back");

    // Expedited forwarding with each ECN, nothing, everything.
    for (ttl, tos) in
        [(2, 46 << 2), (64, 46 << 2 | 1), (65, 46 << 2 | 2), (128, 46 << 2 | 3), (255, 0), (3, 0xff)]
    {
        (there.ttl, back.ttl, there.tos, back.tos) = (ttl, ttl, tos, tos);
        at_client.send(&there.frame());
        let arrived = at_peer.find_payload(PATIENCE, b"there").expect("the peer's frame");
        assert_eq!((arrived.ttl, arrived.tos), (ttl - 1, tos), "towards the peer");
        at_peer.send(&back.frame());
        let arrived = at_client.find_payload(PATIENCE, &channel_data(CHANNEL, b"back", 0));
        let arrived = arrived.expect("the client's frame");
        assert_eq!((arrived.ttl, arrived.tos), (ttl - 1, tos), "towards the client");
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
    assert_eq!(moved.of(path(mode), Reason::TtlExceeded), 4, "{moved:?}");
}

#[test]
fn by_xdp() {
    both_ways("xdp");
}

#[test]
fn in_userspace() {
    both_ways("userspace");
}
