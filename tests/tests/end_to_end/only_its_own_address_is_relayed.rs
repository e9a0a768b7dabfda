//! A packet to a relayed port or a listener's port at another address of the host is not for the relay.

use relay_common::reason::Reason;
use turnpike_tests::lab::{self, OneNic, Path, QUIET, Server, receive};

use crate::common::{CHANNEL, Call, assert_xdp, moved};
use turnpike_tests::frames::channel_data;

#[test]
fn and_not_another_of_the_host() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    net.server.ip("addr add 10.77.0.9/24 dev eth0");
    let server = Server::on(&net.server, "xdp");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
    let other = |port: u16| std::net::SocketAddr::from(([10, 77, 0, 9], port));
    let moved = moved(&server, || {
        call.peer.send_to(b"to the client", other(call.relayed.port())).expect("reachable");
        let to_peer = channel_data(CHANNEL, b"to the peer", 0);
        call.client.socket().send_to(&to_peer, other(call.client.server().port())).expect("reachable");
        assert_eq!(receive(&call.peer, QUIET), None, "what the peer received");
        assert_eq!(receive(call.client.socket(), QUIET), None, "what the client received");
    });
    assert_eq!(moved.relayed(Path::Xdp), (0, 0), "{moved:?}");
    assert_eq!(moved.relayed(Path::Userspace), (0, 0), "{moved:?}");
    assert_xdp(&moved, Reason::NoBinding, 0);
    assert!(moved.of(Path::Xdp, Reason::NotOurs) >= 2, "{moved:?}");
    call.both_ways_by_xdp(&server);
}
