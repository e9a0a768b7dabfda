//! aioice, the ICE of Python's aiortc: two agents that may use nothing but relayed candidates find each other through
//! one server, and talk.

use std::time::Duration;

use serde_json::Value;
use turnpike_tests::lab::{self, PASSWORD, Process, ServerOptions, USER};

use crate::common::{Family, Lab};

fn agents(listen: Family, datapath: &'static str) {
    if lab::lacks("/usr/lib/python3/dist-packages/aioice/__init__.py", "python3-aioice") {
        return;
    }
    // aioice does not ask for a family, and so gets IPv4 (RFC 8656 section 7.2).
    let Some(lab) = Lab::new(listen, &[Family::V4], ServerOptions::new(datapath)) else { return };
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/aioice_relay_to_relay.py");
    // Debian's Python, whatever else comes first on the PATH: its package is the one that was installed.
    let mut command = lab.client().command("/usr/bin/python3");
    let at = lab.server.address();
    command.args(["-B", program, &at.ip().to_string(), &at.port().to_string(), USER, PASSWORD]);
    let (status, output) = Process::start(&mut command).wait(Duration::from_secs(30));
    assert!(status.success(), "{status}\n{output}");
    let last = output.lines().last().expect("it prints a result");
    let result: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}:\n{output}"));
    assert_eq!(result["candidates"], serde_json::json!(["relay", "relay"]), "{result}");
    assert_eq!(result["received"], serde_json::json!([100, 100]), "{result}");
    println!("aioice {}: connected after {} ms", result["version"], result["connected_ms"]);
    lab.nothing_is_left();
}

#[test]
fn over_ipv4_by_xdp() {
    agents(Family::V4, "xdp");
}

#[test]
fn over_ipv4_in_userspace() {
    agents(Family::V4, "userspace");
}

#[test]
fn over_ipv6_by_xdp() {
    agents(Family::V6, "xdp");
}

#[test]
fn over_ipv6_in_userspace() {
    agents(Family::V6, "userspace");
}
