//! An interface that is deleted, made again, renamed or taken down and up while a call runs: what is attached follows,
//! and the status, the metrics and the log say so. Nothing is left behind.

use std::time::{Duration, Instant};

use turnpike_tests::lab::{
    self, ADMIN, Host, Net, OneNic, PassProgram, Path, QUIET, Server, ServerOptions, get, receive, wait_for,
};

use crate::common::{CHANNEL, Call, moved, settled};

/// Within this, media goes by XDP again.
const BACK: Duration = Duration::from_secs(2);

/// Sends until XDP forwards both ways again, and says how long that took. What is lost meanwhile is not waited for.
fn until_by_xdp(call: &mut Call, server: &Server) -> Duration {
    let start = Instant::now();
    wait_for("media by XDP again", || {
        let moved = moved(server, || {
            call.client.send(CHANNEL, format!("to the peer {:?}", start.elapsed()).as_bytes());
            let _ =
                call.peer.send_to(format!("to the client {:?}", start.elapsed()).as_bytes(), call.relayed);
            receive(&call.peer, Duration::from_millis(50));
            call.client.receive(Duration::from_millis(50));
        });
        (moved.relayed(Path::Xdp) == (1, 1)).then_some(())
    });
    let took = start.elapsed();
    // What was under way.
    while receive(&call.peer, QUIET).is_some() || call.client.receive(QUIET).is_some() {}
    took
}

fn wait_for_mode(server: &Server, interface: &str, mode: &str) -> Vec<String> {
    wait_for(&format!("{interface} {mode}"), || {
        let status = server.status();
        let known =
            status["interfaces"].as_array().is_some_and(|all| all.iter().any(|i| i["name"] == interface));
        let (now, reasons) = known.then(|| server.mode(interface))?;
        (now == mode).then_some(reasons)
    })
}

fn metric(host: &Host, interface: &str, mode: &str) -> bool {
    let wanted = format!("turnpike_interface_mode{{interface=\"{interface}\",mode=\"{mode}\"}} 1");
    get(host, ADMIN, "/metrics").expect("the admin API answers").body.lines().any(|line| line == wanted)
}

/// Deletes the server's card, and makes it again.
fn again(net: &OneNic) {
    net.server.ip("link del eth0");
    net.net.plug(&net.server, "eth0", 1);
}

fn deleted_and_made_again(mode: &'static str) {
    let Some((net, mut server, mut call)) = settled(mode) else { return };
    call.both_ways_by_xdp(&server);

    net.server.ip("link del eth0");
    let reasons = wait_for_mode(&server, "eth0", "absent");
    assert_eq!(reasons, ["no interface carries 10.77.0.1 now"]);
    assert!(metric(&net.server, "eth0", "absent") && !metric(&net.server, "eth0", mode));
    server.process().wait_for_output("interface eth0 is gone");
    let while_away = moved(&server, || call.is_dead());
    assert_eq!(while_away.relayed(Path::Xdp), (0, 0));

    net.net.plug(&net.server, "eth0", 1);
    let took = until_by_xdp(&mut call, &server);
    assert!(took < BACK, "{took:?}");
    call.both_ways_by_xdp(&server);
    assert_eq!(server.mode("eth0"), (mode.into(), vec![]));
    assert!(metric(&net.server, "eth0", mode) && !metric(&net.server, "eth0", "absent"));
    server.process().wait_for_output(&format!("interface eth0 is back: {mode}"));
    let shown = net.server.ip("link show dev eth0");
    assert!(shown.contains("prog/xdp id"), "{shown}");

    let (status, output) = server.stop();
    assert!(status.success(), "{status}\n{output}");
    let shown = net.server.ip("link show dev eth0");
    assert!(!shown.contains("xdp"), "{shown}");
}

#[test]
fn in_driver_mode() {
    deleted_and_made_again("xdp");
}

#[test]
fn in_generic_mode() {
    deleted_and_made_again("xdp-generic");
}

/// What one process has open, by kind, and which programs are attached.
fn open(server: &mut Server) -> Vec<String> {
    let fds = format!("/proc/{}/fd", server.process().pid());
    let all = std::fs::read_dir(fds).expect("a process of ours");
    let mut open: Vec<_> = all
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().split(':').next().unwrap_or_default().to_owned())
        .collect();
    open.sort();
    open
}

fn program_id(host: &Host) -> Option<String> {
    let shown = host.ip("link show dev eth0");
    let (_, rest) = shown.split_once("prog/xdp id ")?;
    rest.split_whitespace().next().map(Into::into)
}

#[test]
fn ten_times_in_a_row_without_a_leak() {
    let Some((net, mut server, mut call)) = settled("xdp") else { return };
    let (before, program) = (open(&mut server), program_id(&net.server));
    assert!(program.is_some());
    for _ in 0..10 {
        again(&net);
        until_by_xdp(&mut call, &server);
        assert_eq!(program_id(&net.server), program, "the program is the one that was loaded");
    }
    // A connection of a question to the admin API may be among them, before and now.
    lab::wait_for("no more open than before", || {
        let mut before = before.clone();
        let was_open = |kind: &String| before.iter().position(|b| b == kind).map(|i| before.swap_remove(i));
        open(&mut server).iter().map(was_open).all(|was| was.is_some()).then_some(())
    });
}

#[test]
fn one_that_comes_back_under_its_old_index_is_not_taken_for_the_same() {
    let Some((net, server, mut call)) = settled("xdp") else { return };
    let index = server.status()["interfaces"][0]["index"].as_u64().expect("a number");
    // Faster than the server looks.
    net.server.ip("link del eth0");
    net.server.ip(&format!("link add eth0 index {index} type veth peer name far0"));
    assert!(program_id(&net.server).is_none());
    net.server.ip("addr add 10.77.0.1/24 dev eth0");
    net.server.ip("link set far0 up");
    net.server.ip("link set eth0 up");
    wait_for("the program is attached", || program_id(&net.server));
    assert_eq!(server.mode("eth0").0, lab::xdp_mode());
    // Its wire leads nowhere; the next one does not.
    again(&net);
    until_by_xdp(&mut call, &server);
}

#[test]
fn one_that_is_renamed_goes_on_under_its_new_name() {
    let Some((net, mut server, mut call)) = settled("xdp") else { return };
    for args in ["link set eth0 down", "link set eth0 name wan0", "link set wan0 up"] {
        net.server.ip(args);
    }
    wait_for_mode(&server, "wan0", lab::xdp_mode());
    let took = until_by_xdp(&mut call, &server);
    assert!(took < BACK, "{took:?}");
    assert_eq!(server.status()["interfaces"].as_array().map(Vec::len), Some(1));
    server.process().wait_for_output("interface eth0 is called wan0 now");
}

#[test]
fn one_that_goes_down_keeps_the_program_and_says_that_it_is_down() {
    let Some((net, mut server, mut call)) = settled("xdp") else { return };
    net.server.ip("link set eth0 down");
    wait_for("the status tells", || (!server.mode("eth0").1.is_empty()).then_some(()));
    assert_eq!(server.mode("eth0"), (lab::xdp_mode().into(), vec!["it is down, or its other end is".into()]));
    server.process().wait_for_output("interface eth0 is down");
    call.is_dead();
    net.server.ip("link set eth0 up");
    let took = until_by_xdp(&mut call, &server);
    assert!(took < BACK, "{took:?}");
    assert_eq!(server.mode("eth0"), (lab::xdp_mode().into(), vec![]));
    server.process().wait_for_output("interface eth0 is up");
}

#[test]
fn one_that_is_named_and_not_there_is_waited_for_with_auto_and_an_error_otherwise() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let named = |mode| ServerOptions::new(mode).flag("--interface", "eth0").flag("--interface", "eth1");
    let (status, output) = Server::launch(&net.server, &named("xdp")).process().wait(Duration::from_secs(5));
    assert!(!status.success() && output.contains("--interface eth1: there is no such interface"), "{output}");

    let mut server = Server::start(&net.server, &named("auto"));
    let absent = ("absent".to_owned(), vec!["there is no interface of this name".to_owned()]);
    assert_eq!(server.mode("eth1"), absent);
    assert!(metric(&net.server, "eth1", "absent"));
    let outside = Net::new([10, 78, 0]);
    outside.plug(&net.server, "eth1", 1);
    server.process().wait_for_output("interface eth1 is back: xdp");
    let peer = outside.host(3);
    let mut call = Call::new(&server, &net.client, &peer);
    peer.ip("route add 10.77.0.0/24 via 10.78.0.1");
    until_by_xdp(&mut call, &server);
    net.server.ip("link del eth1");
    wait_for_mode(&server, "eth1", "absent");
    assert_eq!(server.mode("eth1"), absent);
}

#[test]
fn one_that_somebody_elses_program_holds_is_attached_to_once_it_is_free() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let foreign = PassProgram::attach(&net.server, "eth0");
    let mut server = Server::on(&net.server, "auto");
    assert_eq!(server.mode("eth0").0, "userspace");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.both_ways();
    drop(foreign);
    // Nothing announces that; the server looks every ten seconds.
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.mode("eth0").0 == "userspace" {
        assert!(Instant::now() < deadline, "{:?}", server.mode("eth0"));
        std::thread::sleep(Duration::from_millis(200));
    }
    server.process().wait_for_output("interface eth0 has changed: xdp");
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}
