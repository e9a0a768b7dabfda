//! A server that is told to stop detaches its programs and removes its tables, and the interface works on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use turnpike_tests::lab::{self, Host, Server, ServerOptions, TwoNic, receive};

use crate::common::Call;

/// What lies in the BPF filesystem; the kernel puts two files of its own there.
fn pins(host: &Host) -> BTreeSet<PathBuf> {
    host.enter(|| {
        let all = std::fs::read_dir("/sys/fs/bpf").expect("a BPF filesystem");
        all.map(|entry| entry.expect("an entry").path()).collect()
    })
}

fn nothing(mode: &'static str, shown: &str) {
    if lab::skipped() {
        return;
    }
    let net = TwoNic::new();
    let options = ServerOptions::new(mode).relay_from(net.relay_address());
    let untouched = pins(&net.server);
    // Twice: the second start finds nothing of the first.
    for _ in 0..2 {
        let server = Server::start(&net.server, &options);
        Call::new(&server, &net.client, &net.peer).both_ways();
        for interface in ["eth0", "eth1"] {
            let link = net.server.ip(&format!("link show dev {interface}"));
            assert!(link.contains(shown), "{mode}: {link}");
        }
        let (status, output) = server.stop();
        assert!(status.success(), "{status}\n{output}");
        for interface in ["eth0", "eth1"] {
            let link = net.server.ip(&format!("link show dev {interface}"));
            assert!(!link.contains("xdp"), "{link}");
        }
        assert_eq!(pins(&net.server), untouched);
    }
    let (here, there) = (net.server.udp(3478), net.client.udp(0));
    there.send_to(b"hello", net.server.at(3478)).expect("reachable");
    assert!(receive(&here, lab::PATIENCE).is_some(), "the port is free and the interface works");
}

#[test]
fn of_driver_mode() {
    nothing("xdp", " xdp ");
}

#[test]
fn of_generic_mode() {
    nothing("xdp-generic", " xdpgeneric ");
}
