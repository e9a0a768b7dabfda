//! Of a flood, what arrives is what the operator allows, to within 5 %: by XDP, by the process, and where both relay parts
//! of it (lesson 41).

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use turnpike_tests::lab::{self, Counters, OneNic, Path, QUIET, Server, ServerOptions, receive};

use crate::common::{CHANNEL, Call, moved, path};

/// How long a flood lasts.
const TIME: Duration = Duration::from_secs(3);

/// Between two and two datagrams of one sender.
const PAUSE: Duration = Duration::from_micros(500);

/// Packets a second, and at once.
const RATE: u32 = 200;

/// As many as come until there is a pause after the flood. While it lasts one of two calls may get nothing for a while.
fn count(socket: &UdpSocket, over: &AtomicBool) -> u32 {
    let mut arrived = 0;
    loop {
        match receive(socket, QUIET) {
            Some(_) => arrived += 1,
            None if over.load(Ordering::Relaxed) => return arrived,
            None => {}
        }
    }
}

/// Sends all the time, and says how many arrived and for how long it was sent.
fn flood(arrives_at: &[&UdpSocket], send: impl Fn(u32)) -> (u32, Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let counting: Vec<_> = arrives_at.iter().map(|socket| scope.spawn(|| count(socket, &over))).collect();
        let start = Instant::now();
        let mut n = 0;
        while start.elapsed() < TIME {
            send(n);
            send(n + 1);
            n += 2;
            thread::sleep(PAUSE);
        }
        let time = start.elapsed();
        over.store(true, Ordering::Relaxed);
        assert!(n > 2 * 4 * RATE, "too few to be a flood: {n}");
        (counting.into_iter().map(|count| count.join().expect("no panic")).sum(), time)
    })
}

#[track_caller]
fn assert_kept((arrived, time): (u32, Duration), rate: u32) {
    let allowed = f64::from(rate) * (1.0 + time.as_secs_f64());
    let share = f64::from(arrived) / allowed;
    assert!((0.95..=1.05).contains(&share), "{arrived} of {allowed} in {time:?}");
}

struct Scene {
    _net: OneNic,
    server: Server,
    calls: Vec<Call>,
}

/// Calls of one user, with limits; `None` when the test is to be skipped.
fn calls(mode: &'static str, limits: &[(&str, &str)], calls: u32) -> Option<Scene> {
    if lab::skipped() {
        return None;
    }
    let net = OneNic::new();
    let options = ServerOptions::new(mode);
    let options = limits.iter().fold(options, |options, (flag, value)| options.flag(flag, value));
    let server = Server::start(&net.server, &options);
    let calls = (0..calls).map(|_| {
        let mut call = Call::new(&server, &net.client, &net.peer);
        if mode == "userspace" {
            call.both_ways();
        } else {
            call.settle(&server);
        }
        call
    });
    let calls = calls.collect();
    // The few packets until here are paid for.
    thread::sleep(Duration::from_secs(1));
    Some(Scene { _net: net, server, calls })
}

/// What went another way, and what was refused but by the rate.
fn assert_relayed_by(moved: &Counters, path: Path, arrived: u32) {
    let by = moved.relayed(path);
    // On a veth, one packet in 65,536 goes up.
    assert!((by.0 + by.1).abs_diff(arrived.into()) <= 2, "{arrived} arrived: {moved:?}");
    assert!(moved.of(path, Reason::RateLimited) > 500, "{moved:?}");
}

fn packets(mode: &'static str) {
    let Some(Scene { _net, server, calls }) = calls(mode, &[("--allocation-packets", "200")], 1) else {
        return;
    };
    let call = &calls[0];
    for to_peer in [true, false] {
        let mut flooded = Default::default();
        let moved = moved(&server, || {
            flooded = if to_peer {
                flood(&[&call.peer], |_| call.client.send(CHANNEL, b"to the peer"))
            } else {
                flood(&[call.client.socket()], |_| {
                    call.peer.send_to(b"to the client", call.relayed).expect("the server is reachable");
                })
            };
        });
        assert_kept(flooded, RATE);
        assert_relayed_by(&moved, path(mode), flooded.0);
    }
}

#[test]
fn packets_of_an_allocation_by_xdp() {
    packets("xdp");
}

#[test]
fn packets_of_an_allocation_by_generic_xdp() {
    packets("xdp-generic");
}

#[test]
fn packets_of_an_allocation_by_the_process() {
    packets("userspace");
}

fn bytes(mode: &'static str) {
    // 80,000 bytes a second: as many packets as above, of 400 bytes of data.
    let limits = [("--allocation-bandwidth", "640kbit")];
    let Some(Scene { _net, server, calls }) = calls(mode, &limits, 1) else { return };
    let (call, data) = (&calls[0], [7; 400]);
    let mut flooded = Default::default();
    let moved = moved(&server, || flooded = flood(&[&call.peer], |_| call.client.send(CHANNEL, &data)));
    assert_kept(flooded, RATE);
    assert_relayed_by(&moved, path(mode), flooded.0);
}

#[test]
fn bytes_of_an_allocation_by_xdp() {
    bytes("xdp");
}

#[test]
fn bytes_of_an_allocation_by_the_process() {
    bytes("userspace");
}

#[test]
fn packets_of_a_user_with_two_calls_by_xdp() {
    let limits = [("--user-packets", "200"), ("--allocation-packets", "2000")];
    let Some(Scene { _net, server, calls }) = calls("xdp", &limits, 2) else { return };
    let mut flooded = Default::default();
    let moved = moved(&server, || {
        flooded = flood(&[&calls[0].peer, &calls[1].peer], |n| {
            calls[n as usize % 2].client.send(CHANNEL, b"to the peer");
        });
    });
    assert_kept(flooded, RATE);
    assert_relayed_by(&moved, Path::Xdp, flooded.0);
}

/// What comes in fragments goes up, and takes from the same meter.
#[test]
fn packets_of_which_half_go_by_xdp_and_half_by_the_process() {
    let Some(Scene { _net, server, calls }) = calls("xdp", &[("--allocation-packets", "200")], 1) else {
        return;
    };
    let call = &calls[0];
    let mut flooded = Default::default();
    let moved = moved(&server, || {
        flooded = flood(&[&call.peer], |n| {
            call.client.send(CHANNEL, if n % 2 == 0 { b"whole" } else { &[7; 2_000] });
        });
    });
    assert_kept(flooded, RATE);
    let [xdp, process] = [Path::Xdp, Path::Userspace].map(|path| moved.relayed(path).0);
    assert_eq!(xdp + process, u64::from(flooded.0), "{moved:?}");
    assert!(xdp > 100 && process > 100, "{moved:?}");
}
