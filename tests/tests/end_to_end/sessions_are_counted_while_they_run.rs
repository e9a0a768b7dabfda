//! While a call goes on, the operator sees what each side has sent, to the packet and byte, and how much of it XDP has
//! forwarded; and ends it. Lessons 30 and 48.

use std::mem;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use turnpike::stun::{ErrorCode, Message, Method};
use turnpike_tests::lab::{
    self, ADMIN, Host, OneNic, Path, Server, ServerOptions, TurnClient, USER, turnpike,
};

use crate::common::{Call, moved, path, settled};

/// What `turnpike sessions` says on the server's machine: exit code and text.
fn sessions(host: &Host, words: &[&str]) -> (Option<i32>, String) {
    let mut command = turnpike(host);
    command.arg("sessions").args(words).args(["--admin", &ADMIN.to_string()]);
    let output = command.output().expect("turnpike can be run");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

/// The one session of the server.
fn session(host: &Host) -> Value {
    let (code, text) = sessions(host, &["--json"]);
    assert_eq!(code, Some(0));
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["total"], 1, "{text}");
    told["sessions"][0].clone()
}

/// What one direction has carried.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Way {
    packets: u64,
    bytes: u64,
    xdp_packets: u64,
    xdp_bytes: u64,
}

fn way(session: &Value, direction: &str) -> Way {
    let number = |key: &str| session[direction][key].as_u64().expect("a number");
    let [packets, bytes] = ["packets", "bytes"].map(number);
    let [xdp_packets, xdp_bytes] = ["xdp_packets", "xdp_bytes"].map(number);
    Way { packets, bytes, xdp_packets, xdp_bytes }
}

fn both(host: &Host) -> [Way; 2] {
    let session = session(host);
    ["to_peer", "to_client"].map(|direction| way(&session, direction))
}

/// The only session has carried what the server has relayed.
fn assert_all_is_counted(server: &Server, host: &Host) -> [Way; 2] {
    let counters = server.counters();
    let (xdp, process) = (counters.relayed(Path::Xdp), counters.relayed(Path::Userspace));
    let ways = both(host);
    assert_eq!(ways.map(|way| way.packets), [xdp.0 + process.0, xdp.1 + process.1], "{counters:?}");
    assert_eq!(ways.map(|way| way.xdp_packets), [xdp.0, xdp.1], "{counters:?}");
    ways
}

fn grows(mode: &'static str) {
    let Some((net, server, mut call)) = settled(mode) else { return };
    let s = session(&net.server);
    assert_eq!((&s["user"], &s["realm"]), (&USER.into(), &"lab.test".into()));
    assert_eq!(s["client"], call.client.address().to_string());
    assert_eq!(s["relayed"][0], call.relayed.to_string());
    assert_eq!((&s["permissions"], &s["channels"], &s["transport"]), (&1.into(), &1.into(), &"udp".into()));

    let mut before = assert_all_is_counted(&server, &net.server);
    for round in 1..4u8 {
        let moved = moved(&server, || {
            (0..5).for_each(|_| call.client_sends(&[round; 100]));
            (0..3).for_each(|_| call.peer_sends(&[round; 33]));
        });
        let after = assert_all_is_counted(&server, &net.server);
        let grown = [0, 1].map(|n| (after[n].packets - before[n].packets, after[n].bytes - before[n].bytes));
        assert_eq!(grown, [(5, 500), (3, 99)], "{after:?}");
        let by_xdp = [0, 1].map(|n| {
            (after[n].xdp_packets - before[n].xdp_packets, after[n].xdp_bytes - before[n].xdp_bytes)
        });
        let (to_peer, to_client) = moved.relayed(path(mode));
        assert!(to_peer >= 4 && to_client >= 2, "one packet in 65,536 goes another way: {moved:?}");
        let expected = if mode == "userspace" { (0, 0) } else { (to_peer, to_client) };
        assert_eq!(by_xdp, [(expected.0, 100 * expected.0), (expected.1, 33 * expected.1)]);
        before = after;
    }
}

#[test]
fn by_xdp() {
    grows("xdp");
}

#[test]
fn by_generic_xdp() {
    grows("xdp-generic");
}

#[test]
fn by_the_process() {
    grows("userspace");
}

/// The data path forgets every binding and learns it anew whenever the client has moved.
#[test]
fn nothing_is_lost_or_counted_twice_when_bindings_are_made_anew() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server =
        Server::start(&net.server, &ServerOptions::new("xdp").flag("--shards", 4).switch("--mobility"));
    let other = net.net.host(4);
    let mut client = TurnClient::new(&net.client, server.address());
    let answer = client.request(Method::ALLOCATE, |request| {
        request.requested_transport(17).mobility_ticket(&[]);
    });
    let answer = answer.expect("mobility is allowed");
    let message = Message::parse(&answer).expect("well formed");
    let relayed = message.xor_relayed_address().expect("well formed").expect("XOR-RELAYED-ADDRESS");
    let mut ticket = message.mobility_ticket().expect("MOBILITY-TICKET").to_vec();
    let mut call = Call::with(client, relayed, &net.peer);
    call.settle(&server);

    let mut by_xdp = 0;
    for host in [&other, &net.client, &other] {
        let ways = assert_all_is_counted(&server, &net.server);
        assert!(ways[0].xdp_packets > by_xdp, "{ways:?}");
        by_xdp = ways[0].xdp_packets;
        // Media stays where it moved to for a second.
        thread::sleep(Duration::from_secs(1));
        let mut new = TurnClient::new(host, server.address());
        let answer = new.request(Method::REFRESH, |request| {
            request.mobility_ticket(&ticket);
        });
        let answer = answer.expect("the newest ticket");
        let message = Message::parse(&answer).expect("well formed");
        ticket = message.mobility_ticket().expect("MOBILITY-TICKET").to_vec();
        drop(mem::replace(&mut call.client, new));
        call.settle(&server);
    }
    let [to_peer, to_client] = assert_all_is_counted(&server, &net.server);
    assert_eq!(session(&net.server)["client"], call.client.address().to_string());

    call.client.end();
    let (_, log) = server.stop();
    let line = log.lines().find(|line| line.contains("allocation ended")).expect("a line of its end");
    for part in [
        format!("user={USER}"),
        format!("client={}", call.client.address()),
        format!("relayed={relayed}"),
        format!("to_peer_packets={} to_peer_bytes={}", to_peer.packets, to_peer.bytes),
        format!("to_client_packets={} to_client_bytes={}", to_client.packets, to_client.bytes),
        format!("fast_packets={}", to_peer.xdp_packets + to_client.xdp_packets),
    ] {
        assert!(line.contains(&part), "no {part} in {line}");
    }
}

fn ends(mode: &'static str) {
    let Some((net, server, mut call)) = settled(mode) else { return };
    let shown = sessions(&net.server, &[]).1;
    assert!(shown.starts_with("1 session\n") && shown.contains(USER), "{shown}");
    assert_eq!(sessions(&net.server, &["end", "--user", "somebody"]), (Some(1), "there is none\n".into()));
    call.both_ways();

    let moved = moved(&server, || {
        let ended = sessions(&net.server, &["end", "--user", USER]);
        assert_eq!(ended, (Some(0), "ended 1 session\n".into()));
        call.is_dead();
    });
    assert_eq!([Path::Xdp, Path::Userspace].map(|path| moved.relayed(path)), [(0, 0); 2], "{moved:?}");
    let refused = call.client.request(Method::REFRESH, |_| {});
    assert_eq!(refused.err(), Some(ErrorCode::ALLOCATION_MISMATCH));
    assert_eq!(sessions(&net.server, &[]).1, "no sessions\n");
}

#[test]
fn a_user_whose_sessions_are_ended_is_not_relayed_for_by_xdp() {
    ends("xdp");
}

#[test]
fn a_user_whose_sessions_are_ended_is_not_relayed_for_by_the_process() {
    ends("userspace");
}
