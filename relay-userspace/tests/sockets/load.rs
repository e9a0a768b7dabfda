//! Floods and bursts.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use relay_common::reason::Reason;
use turnpike::net::Server;
use turnpike::stun::AddressFamily;

use super::client::{Client, PATIENCE, Relayed, socket, socket_at};
use super::server::{ANY_PORT, Recorder, config, dual_stack_config, start, wait_for};

#[test]
fn a_flood_on_one_allocation_does_not_stop_another() {
    let server = start(1);
    let (mut flooded, mut other) = (Client::new(server.listeners()[0]), Client::new(server.listeners()[0]));
    let (flooder, peer) = (socket(), socket());
    let target = flooded.allocate().unwrap();
    flooded.bind_channel(0x4000, flooder.local_addr().unwrap());
    let relayed = other.allocate().unwrap();
    other.bind_channel(0x4000, peer.local_addr().unwrap());

    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            // Also when the test has failed.
            let start = Instant::now();
            while !stop.load(Ordering::Relaxed) && start.elapsed() < 3 * PATIENCE {
                flooder.send_to(&[0; 1000], target).unwrap();
            }
        });
        wait_for(&server, "the flood", |s| s.reason(Reason::ToClient).packets > 1_000);
        for i in 0..200u8 {
            other.send_on(0x4000, &[i]);
            let mut buffer = [0; 16];
            assert_eq!((peer.recv(&mut buffer).unwrap(), buffer[0]), (1, i));
            peer.send_to(&[i], relayed).unwrap();
            assert_eq!(other.receive(), Relayed::Channel(0x4000, vec![i]));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A server of one shard that serves nobody for this long whenever it installs a binding.
pub(crate) fn slow_to_bind(delay: Duration) -> Server {
    let recorder = Recorder { delay, ..Recorder::default() };
    let mut config = config(1, ANY_PORT);
    config.fast_path = recorder.writers();
    Server::start(config).unwrap()
}

#[test]
fn a_key_frame_burst_is_not_lost_while_the_shard_is_busy() {
    let server = slow_to_bind(Duration::from_millis(300));
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().unwrap(), socket());
    client.permit(peer.local_addr().unwrap());
    // While the shard installs this binding, it serves nobody.
    let burst = thread::scope(|s| {
        s.spawn(|| client.bind_channel(0x4000, peer.local_addr().unwrap()));
        thread::sleep(Duration::from_millis(100));
        // More than the kernel's default buffer holds, less than the largest that it grants to anybody.
        (0..160).filter(|_| peer.send_to(&[0; 1_200], relayed).is_ok()).count() as u64
    });
    let stats = wait_for(&server, "the burst", |s| s.reason(Reason::ToClient).packets == burst);
    assert_eq!((burst, stats.relay_drops), (160, 0));
}

#[test]
fn datagrams_that_wait_together_leave_in_the_order_they_came() {
    let server = slow_to_bind(Duration::from_millis(200));
    let mut sender = Client::new(server.listeners()[0]);
    let (relayed, peer) = (sender.allocate().unwrap(), socket());
    sender.bind_channel(0x4000, peer.local_addr().unwrap());
    let mut other = Client::new(server.listeners()[0]);
    other.allocate().unwrap();
    // While the shard installs this binding, both directions of the first one fill.
    thread::scope(|s| {
        s.spawn(|| other.bind_channel(0x4000, peer.local_addr().unwrap()));
        thread::sleep(Duration::from_millis(50));
        for i in 0..100 {
            sender.send_on(0x4000, &[i]);
            peer.send_to(&[i], relayed).unwrap();
        }
    });
    for i in 0..100 {
        let mut buffer = [0; 16];
        assert_eq!((peer.recv(&mut buffer).unwrap(), buffer[0]), (1, i));
        assert_eq!(sender.receive(), Relayed::Channel(0x4000, vec![i]));
    }
}

#[test]
fn what_the_kernel_drops_for_want_of_buffer_space_is_counted() {
    let server = slow_to_bind(Duration::from_millis(500));
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().unwrap(), socket());
    client.permit(peer.local_addr().unwrap());
    const SENT: u64 = 6_000;
    thread::scope(|s| {
        s.spawn(|| client.bind_channel(0x4000, peer.local_addr().unwrap()));
        thread::sleep(Duration::from_millis(100));
        (0..SENT).for_each(|_| _ = peer.send_to(&[0; 1_200], relayed).unwrap());
    });
    // The kernel tells the count with the datagrams that it takes after it dropped some.
    let fate = |s: &turnpike::net::Stats| s.reason(Reason::ToClient).packets + s.relay_drops;
    thread::sleep(Duration::from_millis(600));
    peer.send_to(b"one more", relayed).unwrap();
    let stats = wait_for(&server, "an account of all datagrams", |s| fate(s) == SENT + 1);
    assert!(stats.relay_drops > 0, "6,000 datagrams of 1,200 bytes do not fit into the buffer");
}

/// Sent as one, as the kernel also has what comes together by the wire: these many bytes each, and a shorter last one.
fn send_merged(socket: &UdpSocket, to: SocketAddr, size: u16, datagrams: &[Vec<u8>]) {
    setsockopt(socket, sockopt::UdpGsoSegment, &i32::from(size)).unwrap();
    socket.send_to(&datagrams.concat(), to).unwrap();
}

#[test]
fn datagrams_that_the_kernel_merged_are_relayed_each_by_itself_and_in_order() {
    const SIZE: usize = 300;
    let server = Server::start(dual_stack_config()).unwrap();
    let mut relayed_so_far = 0;
    for (listener, (family, ip)) in
        [(0, (AddressFamily::V4, "127.0.0.1:0")), (1, (AddressFamily::V6, "[::1]:0"))]
    {
        let mut client = Client::new(server.listeners()[listener]);
        let (relayed, peer) = (client.allocate_of(family).unwrap(), socket_at(ip));
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        let payloads: Vec<Vec<u8>> =
            (0..40).map(|n| vec![n; if n == 39 { SIZE / 2 } else { SIZE }]).collect();
        send_merged(&peer, relayed, SIZE as u16, &payloads);
        for payload in &payloads {
            assert_eq!(client.receive(), Relayed::Channel(0x4000, payload.clone()));
        }
        let by_channel: Vec<_> =
            payloads.iter().map(|payload| client.channel_data(0x4000, payload)).collect();
        send_merged(&client.socket, server.listeners()[listener], SIZE as u16 + 4, &by_channel);
        for payload in &payloads {
            let mut buffer = [0; 2 * SIZE];
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], payload);
        }
        relayed_so_far += payloads.len() as u64;
        wait_for(&server, "an account of each", |s| {
            [Reason::ToClient, Reason::ToPeer].map(|reason| s.reason(reason).packets) == [relayed_so_far; 2]
        });
    }
}
