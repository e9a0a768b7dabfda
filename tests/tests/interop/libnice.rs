//! libnice, the ICE of GStreamer and Janus: two agents that may use nothing but relayed candidates find each other through
//! one server, and talk.

use std::process::Command;
use std::time::Duration;

use relay_common::reason::Reason;
use serde_json::Value;
use turnpike_tests::lab::{self, Folder, PASSWORD, Process, ServerOptions, USER};

use crate::common::{Family, Lab};

/// `transport` is that of the clients. There is no TLS: what libnice calls so is TCP in this dialect of TURN.
fn agents(transport: &str, listen: Family, datapath: &'static str) {
    if lab::lacks("/usr/include/nice/agent.h", "libnice-dev") {
        return;
    }
    // libnice does not ask for a family, and so gets IPv4 (RFC 8656 section 7.2).
    let Some(lab) = Lab::with_tcp(listen, &[Family::V4], ServerOptions::new(datapath)) else { return };
    let folder = Folder::new();
    let program = compiled(&folder);
    let mut command = lab.client().command(&program);
    let at = if transport == "tcp" { lab.secure() } else { lab.server.address() };
    command.args([transport, &at.ip().to_string(), &at.port().to_string(), USER, PASSWORD]);
    let (status, output) = Process::start(&mut command).wait(Duration::from_secs(30));
    assert!(status.success(), "{status}\n{output}");
    let last = output.lines().last().expect("it prints a result");
    let result: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}:\n{output}"));
    assert_eq!(result["candidates"], serde_json::json!(["relay", "relay"]), "{result}");
    assert_eq!(result["received"], serde_json::json!([100, 100]), "{result}");
    println!("libnice over {transport}: connected after {} ms", result["connected_ms"]);
    if datapath == "xdp" && transport == "udp" {
        let counters = lab.server.counters();
        assert!(counters.of(lab::Path::Xdp, Reason::RelayToRelay) >= 150, "{counters:?}");
    }
    lab.nothing_is_left();
}

/// The agents, made with the C compiler that a linker for Rust comes with.
fn compiled(folder: &Folder) -> String {
    let program = folder.path("libnice_relay_to_relay");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/libnice_relay_to_relay.c");
    let mut flags = Command::new("pkg-config");
    let flags = flags.args(["--cflags", "--libs", "nice"]).output().expect("pkg-config starts");
    assert!(flags.status.success(), "{}", String::from_utf8_lossy(&flags.stderr));
    let flags = String::from_utf8(flags.stdout).expect("flags are text");
    let mut gcc = Command::new("gcc");
    gcc.args(["-Wall", "-Werror", "-o", &program, source]).args(flags.split_whitespace());
    let output = gcc.output().expect("gcc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

#[test]
fn over_udp_by_xdp() {
    agents("udp", Family::V4, "xdp");
}

#[test]
fn over_udp_in_userspace() {
    agents("udp", Family::V4, "userspace");
}

#[test]
fn over_udp_and_ipv6_by_xdp() {
    agents("udp", Family::V6, "xdp");
}

#[test]
fn over_tcp() {
    agents("tcp", Family::V4, "userspace");
}

#[test]
fn over_tcp_and_ipv6() {
    agents("tcp", Family::V6, "userspace");
}
