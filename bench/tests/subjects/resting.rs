//! A subject rests while others have their turn, and relays when it is woken.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use turnpike_bench::allocations::Plan;
use turnpike_bench::lab::{Family, Lab, process_seconds};
use turnpike_bench::subjects::{DataPath, Server, Subject, Turnpike};
use turnpike_tests::frames::channel_data;

use crate::common::{awake, client_of, coturn, generator, skipped, there_and_back, turnpike};

/// What a server that is awake does with so many allocations takes some of this time.
const WHILE: Duration = Duration::from_secs(2);

/// The state of a process, as `/proc` has it.
fn state(server: &Server) -> char {
    let pid = server.pid().expect("a process");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a state")
}

fn rests_and_relays_again(start: impl Fn(Lab, Plan) -> Option<Server>) {
    if skipped() {
        return;
    }
    let lab = Lab::one_nic().expect("a lab");
    let _awake = awake(&lab);
    let Some(mut server) = start(lab, Plan::channels(300, 1, Family::V4)) else { return };
    let pid = server.pid().expect("a process");
    server.rest().expect("it stops");
    let before = process_seconds(pid);
    let flow = server.flows()[0];
    let peer = generator(server.lab()).enter(|| UdpSocket::bind(flow.peer)).expect("the peer's address");
    let client = client_of(server.allocations(), 0);
    client.send(&channel_data(flow.channel, b"while it rests", 0)).expect("sent");
    thread::sleep(WHILE);
    assert_eq!(process_seconds(pid), before, "it has run");
    peer.set_nonblocking(true).expect("a socket that does not wait");
    let nothing = peer.recv(&mut [0; 64]).expect_err("nobody relays").kind();
    assert_eq!(nothing, ErrorKind::WouldBlock);

    // Refreshed in its rest, in which it is left.
    server.refresh().expect("it answers");
    assert_eq!(state(&server), 'T');
    assert!(process_seconds(pid) > before, "it was not woken");

    server.wake().expect("it goes on");
    assert_ne!(state(&server), 'T');
    drop(peer);
    (0..4).for_each(|index| there_and_back(&mut server, index));
    // Twice is as good as once.
    server.wake().expect("it is awake");
    server.rest().expect("it stops");
    server.rest().expect("it has stopped");
    drop(server);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "stopped, it ends all the same");
}

#[test]
fn turnpike_rests_and_relays_again() {
    rests_and_relays_again(|lab, plan| Some(turnpike(lab, DataPath::Userspace, plan)));
}

#[test]
fn coturn_rests_and_relays_again() {
    rests_and_relays_again(coturn);
}

#[test]
fn one_that_ended_in_its_rest_is_not_taken_for_awake() {
    if skipped() {
        return;
    }
    let plan = Plan::channels(1, 1, Family::V4);
    let mut server = turnpike(Lab::one_nic().expect("a lab"), DataPath::Userspace, plan);
    server.rest().expect("it stops");
    let pid = server.pid().expect("a process");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is there");
    let error = server.wake().expect_err("it has ended").to_string();
    assert!(error.contains("turnpike userspace ended with signal: 9"), "{error}");
}

#[test]
fn a_script_must_become_the_server() {
    if skipped() {
        return;
    }
    let turnpike = std::env::var_os("TURNPIKE_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/turnpike").into());
    let script = std::env::temp_dir().join(format!("turnpike-{}.sh", std::process::id()));
    let start = |how: &str| {
        fs::write(&script, format!("#!/bin/sh\n{how}\n")).expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("made a program");
        let plan = Plan::channels(1, 1, Family::V4);
        let lab = Lab::one_nic().expect("a lab");
        Turnpike::at(script.clone()).expect("a version").start(lab, DataPath::Userspace, &[], &plan)
    };
    let turnpike = turnpike.display();
    drop(start(&format!("exec {turnpike} \"$@\"")).expect("it serves"));
    let error = start(&format!("{turnpike} \"$@\"; exit $?")).map(drop).expect_err("a child").to_string();
    fs::remove_file(&script).expect("it was there");
    assert!(error.contains("has to end in `exec`"), "{error}");
}
