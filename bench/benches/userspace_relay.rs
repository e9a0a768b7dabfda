//! What a relayed datagram costs the userspace relay: packets per second of its shard's CPU time, over the loopback.
//!
//! `cargo bench -p turnpike-bench --bench userspace_relay`; needs no privileges. The loopback's own work, both halves of
//! the kernel's UDP path, is in the figure: it is for comparing two builds on one machine.

#[allow(dead_code, unreachable_pub, reason = "made for the tests of the sockets")]
#[path = "../../relay-userspace/tests/sockets/client.rs"]
mod client;
#[allow(dead_code, unreachable_pub, reason = "made for the tests of the sockets")]
#[path = "../../relay-userspace/tests/sockets/server.rs"]
mod server;

use std::fs;
use std::net::UdpSocket;

use client::{Client, socket};

/// Datagrams on their way at once: what a shard finds when it is busy.
const BURST: usize = 32;
const BURSTS: usize = 2_000;
const ROUNDS: usize = 15;
const PAYLOAD: [u8; 200] = [7; 200];

fn main() {
    let server = server::start(1);
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().expect("an allocation"), socket());
    client.bind_channel(0x4000, peer.local_addr().expect("bound"));
    let to_peer = || pass(|| client.send_on(0x4000, &PAYLOAD), &peer);
    let to_client = || pass(|| _ = peer.send_to(&PAYLOAD, relayed).expect("sent"), &client.socket);
    println!("packets of {} bytes per second of the shard's CPU time", PAYLOAD.len());
    println!("to the peer    {:>8.0}", median(to_peer));
    println!("to the client  {:>8.0}", median(to_client));
}

/// Sends and receives, a burst at a time.
fn pass(send: impl Fn(), receiver: &UdpSocket) {
    let mut buffer = [0; 512];
    for _ in 0..BURSTS {
        (0..BURST).for_each(|_| send());
        (0..BURST).for_each(|_| _ = receiver.recv(&mut buffer).expect("nothing is lost"));
    }
}

fn median(round: impl Fn()) -> f64 {
    round();
    let mut figures: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let before = shard_nanoseconds();
            round();
            (BURST * BURSTS) as f64 * 1e9 / (shard_nanoseconds() - before) as f64
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    figures[ROUNDS / 2]
}

/// CPU time of the shard's thread so far.
fn shard_nanoseconds() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").map(|task| task.expect("a thread").path());
    let shard = tasks
        .into_iter()
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "shard-0"))
        .expect("the shard's thread");
    let schedstat = fs::read_to_string(shard.join("schedstat")).expect("scheduler statistics");
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}
