//! A server that was killed leaves nothing that keeps the next one from starting.

use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike_tests::lab::{self, OneNic, PATIENCE, Server, receive};

use crate::common::Call;

#[test]
fn and_forwards_by_xdp() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let mut server = Server::on(&net.server, "xdp");
    Call::new(&server, &net.client, &net.peer).both_ways();
    server.process().signal(Signal::SIGKILL);
    server.process().wait(Duration::from_secs(5));

    let server = Server::on(&net.server, "xdp");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
}

/// Nor is anything left by a server that a second signal ended by force: not its program on the interface either.
#[test]
fn and_one_that_was_ended_by_force_has_left_no_program() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let shown = || net.server.ip("-d link show dev eth0");
    // One that stops in order first was too quick for the second signal.
    let was_forced = || {
        let mut server = Server::on(&net.server, "xdp");
        assert!(shown().contains("prog/xdp"), "{}", shown());
        let process = server.process();
        for signal in [Signal::SIGSTOP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCONT] {
            process.signal(signal);
        }
        let (status, output) = process.wait(Duration::from_secs(5));
        assert!(!shown().contains("prog/xdp"), "{}", shown());
        let is_forced = status.code() == Some(1);
        assert_eq!(is_forced, output.lines().any(|line| line == "turnpike: ended by force"), "{output}");
        is_forced
    };
    assert!((0..10).any(|_| was_forced()));
}

/// Its socket lookup program is gone with it: who takes a port of an allocation that it had gets what is sent there.
#[test]
fn and_leads_no_datagram_astray() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let mut server = Server::on(&net.server, "userspace");
    let sockets = server.status()["relay_sockets"].as_str().expect("a text").to_owned();
    assert!(sockets.starts_with("shared"), "{sockets}");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.both_ways();
    server.process().signal(Signal::SIGKILL);
    server.process().wait(Duration::from_secs(5));

    let next = net.server.udp(call.relayed.port());
    call.peer.send_to(b"for the next", call.relayed).expect("sent");
    assert_eq!(receive(&next, PATIENCE).expect("a datagram").0, b"for the next");
}
