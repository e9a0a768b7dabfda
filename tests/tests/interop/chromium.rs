//! Chromium: a call between two ends in one page, which may use nothing but relayed candidates. Data channel and video
//! go both ways, from one allocation of the server to the other.

use std::time::Duration;

use relay_common::reason::Reason;
use serde_json::{Value, json};
use turnpike_tests::lab::{self, Chromium, PASSWORD, Path, ServerOptions, USER};

use crate::common::{Family, Lab};

fn call(listen: Family, datapath: &'static str) {
    if lab::lacks("/usr/bin/chromium", "chromium") {
        return;
    }
    // Chromium does not ask for a family, and so gets IPv4 (RFC 8656 section 7.2).
    let Some(lab) = Lab::new(listen, &[Family::V4], ServerOptions::new(datapath)) else { return };
    let url = format!("turn:{}?transport=udp", lab.server.address());
    let credentials = json!({ "urls": url, "username": USER, "credential": PASSWORD });
    let page = include_str!("chromium_call.html");
    let mut browser = Chromium::open(&lab.client(), page, &percent_encoded(&credentials.to_string()));
    let result = browser.result(Duration::from_secs(20));
    let result: Value = serde_json::from_str(&result).unwrap_or_else(|e| panic!("{e}: {result}"));
    assert_eq!(result["error"], Value::Null, "{result}");
    assert_eq!(result["messages"], json!([100, 100]), "{result}");
    let relay = lab.relay(Family::V4).address().to_string();
    let sides = result["sides"].as_array().expect("two sides");
    assert_eq!(sides.len(), 2, "{result}");
    for side in sides {
        assert_eq!([&side["local"], &side["remote"]], ["relay", "relay"], "{result}");
        assert_eq!([&side["relayProtocol"], &side["address"]], ["udp", relay.as_str()], "{result}");
        for counter in ["bytesReceived", "videoBytes", "framesDecoded"] {
            assert!(side[counter].as_u64().is_some_and(|n| n > 0), "{counter}: {result}");
        }
    }
    // Every packet passes two allocations: in XDP at once; in the process out of the one to the other, and from that to its
    // client.
    let counters = lab.server.counters();
    let (path, reasons) = match datapath {
        "userspace" => (Path::Userspace, [Reason::ToPeer, Reason::ToClient].as_slice()),
        _ => (Path::Xdp, [Reason::RelayToRelay].as_slice()),
    };
    for reason in reasons {
        assert!(counters.of(path, *reason) > 100, "{}: {counters:?}", reason.name());
    }
    println!("connected after {} ms: {}", result["connectedMs"], result["agent"]);
    lab.nothing_is_left();
}

/// For the fragment of an address (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[test]
fn over_ipv4_by_xdp() {
    call(Family::V4, "xdp");
}

#[test]
fn over_ipv4_in_userspace() {
    call(Family::V4, "userspace");
}

#[test]
fn over_ipv6_by_xdp() {
    call(Family::V6, "xdp");
}

#[test]
fn over_ipv6_in_userspace() {
    call(Family::V6, "userspace");
}
