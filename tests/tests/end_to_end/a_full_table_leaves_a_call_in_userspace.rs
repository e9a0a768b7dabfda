//! A call that finds no room in XDP's tables is relayed all the same, by the process, and the metrics say so.

use turnpike_tests::lab::{self, OneNic, Path, Server, ServerOptions};

use crate::common::{Call, moved};

#[test]
fn and_says_so() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let options = ServerOptions::new("xdp").flag("--max-bindings", 1).flag("--shards", 1);
    let server = Server::start(&net.server, &options);
    let mut first = Call::new(&server, &net.client, &net.peer);
    let mut second = Call::new(&server, &net.client, &net.peer);
    first.settle(&server);
    first.both_ways_by_xdp(&server);
    let moved = moved(&server, || second.both_ways());
    assert_eq!(moved.relayed(Path::Userspace), (1, 1), "{moved:?}");
    let status = server.status();
    assert_eq!(status["bindings"]["refused_full"], 3, "a channel and two permissions: {status}");
}
