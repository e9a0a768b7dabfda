//! A host that has only IPv4, or only IPv6, has a fast path all the same.

use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{self, OneNic, Server, TurnClient};

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

#[test]
fn on_a_host_without_ipv4() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    net.server.ip("addr flush dev eth0 scope global");
    net.server.ip(&format!("addr add {}/64 dev eth0 nodad", net.net.address_v6(1)));
    assert!(!net.server.run("ip", "-4 addr show dev eth0").contains("inet "));
    let [host, client, peer] = [&net.server, &net.client, &net.peer].map(|host| host.over_ipv6());
    let server = Server::on(&host, "xdp");
    let mut client = TurnClient::new(&client, server.address());
    let relayed = client.allocate_of(AddressFamily::V6);
    let mut call = Call::with(client, relayed, &peer);
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}
