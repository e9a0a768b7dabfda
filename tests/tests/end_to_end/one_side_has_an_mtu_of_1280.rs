//! Where one side carries 1,280 bytes and the other 1,500, what fits goes by XDP and what does not is fragmented by the
//! kernel, of which RFC 8656 section 15 leaves the relay the choice. Nothing is lost.

use relay_common::reason::Reason;
use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{self, Host, Net, Path, Server, ServerOptions, TurnClient};

use crate::common::{Call, assert_xdp, moved};

const MTU: usize = 1_280;
const UDP: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Narrow {
    Client,
    Peer,
}

/// A call between two Ethernets, of which one is narrow: by the cards of all on it, or by the server's route alone.
fn call(family: AddressFamily, narrow: Narrow, by_route: bool) {
    if lab::skipped() {
        return;
    }
    let (inside, outside) = (Net::dual_stack([10, 77, 0]), Net::dual_stack([10, 78, 0]));
    let server = inside.host(1);
    outside.plug(&server, "eth1", 1);
    let (client, peer) = (inside.host(2), outside.host(3));
    let (interface, machine, v4, v6) = match narrow {
        Narrow::Client => ("eth0", &client, "10.77.0.0/24", "fd00:10:77::/64"),
        Narrow::Peer => ("eth1", &peer, "10.78.0.0/24", "fd00:10:78::/64"),
    };
    if by_route {
        match family {
            AddressFamily::V6 => server.ip(&format!("route add {v6} dev {interface} metric 1 mtu {MTU}")),
            _ => server.ip(&format!("route change {v4} dev {interface} mtu {MTU}")),
        };
    } else {
        server.ip(&format!("link set {interface} mtu {MTU}"));
        machine.ip(&format!("link set eth0 mtu {MTU}"));
    }
    let of = |host: &Host| if family == AddressFamily::V6 { host.over_ipv6() } else { host.clone() };
    let relay = match family {
        AddressFamily::V6 => outside.address_v6(1).to_string(),
        _ => outside.address(1).to_string(),
    };
    let (server, ip) = (of(&server), if family == AddressFamily::V6 { 40 } else { 20 });
    let server = Server::start(&server, &ServerOptions::new("xdp").relay_from(relay));
    let mut client = TurnClient::new(&of(&client), server.address());
    let relayed = client.allocate_of(family);
    let mut call = Call::with(client, relayed, &of(&peer));
    call.settle(&server);

    // On the narrow side a packet has four bytes more when it goes to the client.
    let header = if narrow == Narrow::Client { 4 } else { 0 };
    let fits = MTU - ip - UDP - header;
    for length in [fits - 1, fits] {
        let moved = moved(&server, || send(&mut call, narrow, length));
        assert_eq!(sum(moved.relayed(Path::Xdp)), 1, "{length} bytes: {moved:?}");
    }
    for length in [fits + 1, fits + 2, 1_400] {
        let moved = moved(&server, || send(&mut call, narrow, length));
        assert_xdp(&moved, Reason::TooBig, 1);
        assert_eq!(sum(moved.relayed(Path::Userspace)), 1, "{length} bytes: {moved:?}");
    }
}

/// Towards the narrow side.
fn send(call: &mut Call, narrow: Narrow, length: usize) {
    match narrow {
        Narrow::Client => call.peer_sends(&vec![7; length]),
        Narrow::Peer => call.client_sends(&vec![7; length]),
    }
}

fn sum((to_peer, to_client): (u64, u64)) -> u64 {
    to_peer + to_client
}

#[test]
fn the_peers_over_ipv4() {
    call(AddressFamily::V4, Narrow::Peer, false);
}

#[test]
fn the_clients_over_ipv4() {
    call(AddressFamily::V4, Narrow::Client, false);
}

#[test]
fn the_peers_over_ipv6() {
    call(AddressFamily::V6, Narrow::Peer, false);
}

#[test]
fn the_clients_over_ipv6() {
    call(AddressFamily::V6, Narrow::Client, false);
}

#[test]
fn the_peers_by_a_route_over_ipv4() {
    call(AddressFamily::V4, Narrow::Peer, true);
}

#[test]
fn the_peers_by_a_route_over_ipv6() {
    call(AddressFamily::V6, Narrow::Peer, true);
}
