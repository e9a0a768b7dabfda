//! ICMP errors about what was relayed reach the client in a Data indication (RFC 8656 section 11.5), whoever relayed it:
//! errors are nothing for XDP, and the kernel finds the allocation's socket by the packet that they quote.

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use nix::unistd::Pid;
use relay_common::reason::Reason;
use turnpike::stun::{AddressFamily, Icmp};
use turnpike_tests::lab::{
    self, Host, Net, PATIENCE, Path, QUIET, Received, Server, ServerOptions, TurnClient, receive,
};

use crate::common::{CHANNEL, Call, add_ipv6, moved, path, serve_ipv6, settled};

/// The MTU behind the router.
const NARROW: usize = 1_300;

/// Server and client on one Ethernet, the peer on another behind a router.
struct Routed {
    server: Host,
    client: Host,
    peer: Host,
    _inside: Net,
    _outside: Net,
    router: Host,
}

impl Routed {
    fn new() -> Self {
        let (inside, outside) = (Net::new([10, 77, 0]), Net::new([10, 78, 0]));
        let [server, client, router] = [1, 2, 4].map(|last| inside.host(last));
        outside.plug(&router, "eth1", 4);
        let peer = outside.host(3);
        router.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("a setting of the namespace");
        router.ip(&format!("link set eth1 mtu {NARROW}"));
        server.ip("route add 10.78.0.0/24 via 10.77.0.4");
        peer.ip("route add 10.77.0.0/24 via 10.78.0.4");
        Self { server, client, peer, _inside: inside, _outside: outside, router }
    }
}

/// User and system time of a process, in hundredths of a second.
fn cpu_time(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

fn expect(call: &mut Call, about: SocketAddr, kind: u8, code: u8, data: u32) {
    let told = call.client.receive(PATIENCE);
    assert_eq!(told, Some(Received::Icmp(about, Icmp { kind, code, data })));
}

/// A peer that closes its port and opens it again.
fn a_closed_port(mode: &'static str) {
    let Some((net, mut server, mut call)) = settled(mode) else { return };
    let at = call.peer_address();
    let (_, other) = (call.peer, net.peer.udp(0));
    call.peer = other;
    let errors = moved(&server, || {
        call.client.send(CHANNEL, b"anybody there?");
        expect(&mut call, at, 3, 3, 0);
        call.client.send_indication(at, b"nobody?");
        expect(&mut call, at, 3, 3, 0);
    });
    assert_eq!(errors.of(Path::Userspace, Reason::Icmp), 2, "{errors:?}");
    assert_eq!(errors.of(path(mode), Reason::ToPeer), 2, "{errors:?}");

    // The process has nothing to do now.
    let pid = server.process().pid();
    let before = cpu_time(pid);
    assert_eq!(call.client.receive(QUIET), None);
    let spent = cpu_time(pid) - before;
    assert!(spent < 10, "{spent} hundredths of a second of CPU time in {QUIET:?}");

    call.peer = net.peer.udp(at.port());
    call.both_ways();
}

#[test]
fn of_a_closed_port_by_xdp() {
    a_closed_port("xdp");
}

#[test]
fn of_a_closed_port_in_userspace() {
    a_closed_port("userspace");
}

/// A router that finds the packet too big, or its TTL used up.
fn a_router(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = Routed::new();
    let server = Server::start(&net.server, &ServerOptions::new(mode));
    let mut call = Call::new(&server, &net.client, &net.peer);
    if mode == "userspace" {
        call.both_ways();
    } else {
        call.settle(&server);
    }
    let at = call.peer_address();
    let big = vec![7; NARROW];
    let errors = moved(&server, || {
        call.client.send_whole(at, &big);
        expect(&mut call, at, 3, 4, NARROW as u32);
        if mode == "xdp" {
            // The client's own packets have DF set, which XDP hands on.
            call.client.send(CHANNEL, &big);
            expect(&mut call, at, 3, 4, NARROW as u32);
        } else {
            call.client_sends(&big);
        }
        call.client.socket().set_ttl(2).expect("a TTL");
        call.client.send(CHANNEL, b"two hops");
        expect(&mut call, at, 11, 0, 0);
    });
    assert_eq!(errors.of(Path::Userspace, Reason::Icmp), if mode == "xdp" { 3 } else { 2 }, "{errors:?}");
    assert_eq!(errors.of(Path::Userspace, Reason::SendFailed), 0, "{errors:?}");
    assert_eq!(receive(&call.peer, QUIET), None);
    call.client.socket().set_ttl(64).expect("a TTL");
    call.both_ways();
}

#[test]
fn of_a_router_by_xdp() {
    a_router("xdp");
}

#[test]
fn of_a_router_in_userspace() {
    a_router("userspace");
}

/// No router of IPv6 fragments: the client is told, and the kernel that learnt the MTU sends fragments from then on.
#[test]
fn of_a_router_over_ipv6() {
    if lab::skipped() {
        return;
    }
    let net = Routed::new();
    for (host, interface, address) in [
        (&net.server, "eth0", "fd77::1"),
        (&net.router, "eth0", "fd77::4"),
        (&net.router, "eth1", "fd78::4"),
        (&net.peer, "eth0", "fd78::3"),
    ] {
        add_ipv6(host, interface, address);
    }
    net.router
        .enter(|| fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1"))
        .expect("a setting of the namespace");
    net.server.ip("route add fd78::/64 via fd77::4");
    net.peer.ip("route add fd77::/64 via fd78::4");
    let server = serve_ipv6(&net.server, "fd77::1", "fd78::/64");
    let mut client = TurnClient::new(&net.client, server.address());
    let relayed = client.allocate_of(AddressFamily::V6);
    let at: SocketAddr = "[fd78::3]:4000".parse().expect("an address");
    let peer = net.peer.enter(|| UdpSocket::bind(at)).expect("the address is there");
    client.bind(CHANNEL, at);
    client.send(CHANNEL, b"first");
    assert_eq!(receive(&peer, PATIENCE), Some((b"first".to_vec(), relayed)));

    let big = vec![7; NARROW];
    client.send(CHANNEL, &big);
    let too_big = Icmp { kind: 2, code: 0, data: NARROW as u32 };
    assert_eq!(client.receive(PATIENCE), Some(Received::Icmp(at, too_big)));
    client.send(CHANNEL, &big);
    assert_eq!(receive(&peer, PATIENCE), Some((big, relayed)));
    let counted = server.counters();
    assert_eq!(counted.of(Path::Userspace, Reason::Icmp), 1, "{counted:?}");
}
