//! A channel that is bound again after its expiry goes back into XDP's tables.

use std::thread::sleep;
use std::time::Duration;

use turnpike_tests::lab::{self, OneNic, Server, ServerOptions};

use crate::common::{CHANNEL, Call};

fn again(lifetime: &str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::start(&net.server, &ServerOptions::new("xdp").flag(lifetime, "1s"));
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
    sleep(Duration::from_millis(1_200));
    let peer = call.peer_address();
    call.client.bind(CHANNEL, peer);
    call.both_ways_by_xdp(&server);
}

#[test]
fn when_the_channel_expired() {
    again("--channel-lifetime");
}

#[test]
fn when_the_permission_expired() {
    again("--permission-lifetime");
}
