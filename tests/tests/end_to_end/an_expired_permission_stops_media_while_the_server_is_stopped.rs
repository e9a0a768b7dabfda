//! Deadlines hold in the kernel: XDP forwards while the process is stopped, and no longer than the permission allows.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use relay_common::reason::Reason;
use turnpike_tests::lab::{self, OneNic, Path, QUIET, Server, ServerOptions, receive};

use crate::common::{Call, assert_xdp};

const LIFETIME: Duration = Duration::from_secs(3);

fn options(datapath: &'static str) -> ServerOptions {
    ServerOptions::new(datapath).flag("--permission-lifetime", format!("{}s", LIFETIME.as_secs()))
}

fn stopped(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let mut server = Server::start(&net.server, &options(mode));
    let mut call = Call::new(&server, &net.client, &net.peer);
    let bound = Instant::now();
    call.settle(&server);
    let before = server.counters();

    server.process().signal(Signal::SIGSTOP);
    call.both_ways();
    sleep(LIFETIME.saturating_sub(bound.elapsed()) + Duration::from_millis(100));
    call.is_dead();
    server.process().signal(Signal::SIGCONT);
    // What came up to the process meanwhile is not relayed late.
    assert_eq!(receive(&call.peer, QUIET), None, "what the peer received");
    assert_eq!(call.client.receive(QUIET), None, "what the client received");

    let moved = &server.counters() - &before;
    assert_eq!(moved.relayed(Path::Xdp), (1, 1), "{moved:?}");
    assert_eq!(moved.relayed(Path::Userspace), (0, 0), "{moved:?}");
    assert_xdp(&moved, Reason::Expired, 1);
    assert_xdp(&moved, Reason::PeerExpired, 1);
}

#[test]
fn in_driver_mode() {
    stopped("xdp");
}

#[test]
fn in_generic_mode() {
    stopped("xdp-generic");
}

#[test]
fn and_in_userspace_media_stops_all_the_same() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::start(&net.server, &options("userspace"));
    let mut call = Call::new(&server, &net.client, &net.peer);
    let bound = Instant::now();
    call.both_ways();
    sleep(LIFETIME.saturating_sub(bound.elapsed()) + Duration::from_millis(100));
    call.is_dead();
    let counters = server.counters();
    assert_eq!(counters.of(Path::Userspace, Reason::NoPermission), 2, "{counters:?}");
}
