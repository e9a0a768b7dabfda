//! A host that has only IPv4 has a fast path all the same.

use turnpike_tests::lab::{self, OneNic, Server};

use crate::common::Call;

#[test]
fn on_a_host_without_ipv6() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let addresses = net.server.run("ip", "-6 addr show");
    assert_eq!(addresses, "", "the lab's hosts have no IPv6");
    let server = Server::on(&net.server, "xdp");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}
