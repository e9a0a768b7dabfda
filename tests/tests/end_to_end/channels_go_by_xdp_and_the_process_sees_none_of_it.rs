//! Once a channel is bound its media goes by XDP, and the process sees none of it; without XDP the process relays it.
//! Nothing is lost. The clients are coturn's.

use std::net::SocketAddr;

use relay_common::reason::Reason;
use turnpike_tests::lab::{self, Echo, Host, Load, OneNic, Path, Server, ServerOptions, Totals, TwoNic};

use crate::common::moved;

/// Messages of one client.
const MESSAGES: u32 = 50;

#[derive(Clone, Copy)]
struct Expected {
    mode: &'static str,
    path: Path,
    other: Path,
}

const BY_XDP: Expected = Expected { mode: "xdp", path: Path::Xdp, other: Path::Userspace };
const BY_GENERIC_XDP: Expected = Expected { mode: "xdp-generic", ..BY_XDP };
const BY_THE_PROCESS: Expected = Expected { mode: "userspace", path: Path::Userspace, other: Path::Xdp };

fn channels(server: &Server, client: &Host, peer: &Host, expected: Expected, clients: u32) {
    assert_eq!(server.mode("eth0").0, expected.mode);
    let echo = Echo::start(peer);
    let load = Load { clients, messages: MESSAGES, ..Load::default() };
    let mut totals = Totals { sent: 0, received: 0 };
    let moved = moved(server, || totals = load.run(client, server.address(), &echo));
    assert_complete(totals, clients * MESSAGES);
    // One packet in 65,536 has a finished checksum that looks unfinished, and is relayed by the process.
    let chance = moved.of(Path::Xdp, Reason::UnfinishedChecksum);
    let [by, other] = [expected.path, expected.other].map(|path| moved.relayed(path));
    assert_eq!(other.0 + other.1, chance, "{moved:?}");
    assert_eq!(by.0 + by.1 + chance, totals.sent + totals.received, "{moved:?}");
    assert!(chance <= 2, "{moved:?}");
}

fn assert_complete(totals: Totals, messages: u32) {
    let all = u64::from(messages);
    assert_eq!(totals, Totals { sent: all, received: all });
}

fn one_nic(expected: Expected, clients: u32) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, expected.mode);
    channels(&server, &net.client, &net.peer, expected, clients);
}

fn two_nics(expected: Expected) {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let options = ServerOptions::new(expected.mode).relay_from(net.relay_address());
    let server = Server::start(&net.server, &options);
    assert_eq!(server.mode("eth1").0, expected.mode);
    channels(&server, &net.client, &net.peer, expected, 4);
}

#[test]
fn by_xdp_with_one_network_card() {
    one_nic(BY_XDP, 4);
}

#[test]
fn by_xdp_between_two_network_cards() {
    two_nics(BY_XDP);
}

#[test]
fn by_xdp_for_many_clients() {
    one_nic(BY_XDP, 24);
}

#[test]
fn by_generic_xdp_with_one_network_card() {
    one_nic(BY_GENERIC_XDP, 4);
}

#[test]
fn by_generic_xdp_between_two_network_cards() {
    two_nics(BY_GENERIC_XDP);
}

#[test]
fn by_the_process_with_one_network_card() {
    one_nic(BY_THE_PROCESS, 4);
}

#[test]
fn by_the_process_between_two_network_cards() {
    two_nics(BY_THE_PROCESS);
}

/// Send and Data indications, whoever carries them.
fn indications(server: &Server, client: &Host, peer: &Host) {
    let echo = Echo::start(peer);
    let load = Load { clients: 4, messages: MESSAGES, indications: true, ..Load::default() };
    let at: SocketAddr = server.address();
    let mut totals = Totals { sent: 0, received: 0 };
    let moved = moved(server, || totals = load.run(client, at, &echo));
    assert_complete(totals, 4 * MESSAGES);
    let [xdp, process] = [Path::Xdp, Path::Userspace].map(|path| moved.relayed(path));
    assert_eq!((xdp.0 + process.0, xdp.1 + process.1), (totals.sent, totals.received), "{moved:?}");
}

#[test]
fn indications_lose_nothing_with_one_network_card() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    indications(&Server::on(&net.server, "xdp"), &net.client, &net.peer);
}

#[test]
fn indications_lose_nothing_between_two_network_cards() {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let options = ServerOptions::new("xdp").relay_from(net.relay_address());
    indications(&Server::start(&net.server, &options), &net.client, &net.peer);
}
