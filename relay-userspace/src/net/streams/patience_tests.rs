//! For how long clients are waited for: see [`seconds`].

#[path = "../../../tests/streams/client.rs"]
#[allow(dead_code, reason = "shared with the tests of streams")]
pub(in crate::net) mod client;
#[path = "../../../tests/sockets/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
pub(in crate::net) mod server;

use std::io::Write;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, KINDS, channel_data};
use relay_common::reason::Reason;
use server::{start, wait_for};

use super::seconds;
use crate::net::{ConnectionKind, Server};

fn open(server: &Server) -> u64 {
    let stats = server.stats();
    KINDS.iter().map(|&kind| stats.connections(kind).open()).sum()
}

/// How long it takes until so many connections are left.
fn until(server: &Server, left: u64) -> Duration {
    let start = Instant::now();
    while open(server) != left {
        assert!(start.elapsed() < client::PATIENCE, "{} are left", open(server));
        thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

#[test]
fn a_client_that_says_nothing_or_never_ends_its_first_message_is_closed() {
    let server = start(1);
    let mut slow: Vec<_> = KINDS.map(|kind| Client::new(&server, kind)).into();
    let silent: Vec<_> = KINDS.map(|kind| Client::new(&server, kind)).into();
    let start = Instant::now();
    wait_for(&server, "all of them", |_| open(&server) == 8);
    let mut request = slow.iter_mut().map(|client| {
        let request = client.binding_request();
        (client.framed(&request).into_iter(), client)
    });
    let mut requests: Vec<_> = request.by_ref().collect();
    while open(&server) > 0 {
        for (bytes, client) in &mut requests {
            if bytes.len() > 1 {
                // It may be closed by now.
                let _ = client.wire.write_all(&[bytes.next().unwrap()]);
            }
        }
        thread::sleep(seconds(2));
        assert!(start.elapsed() < seconds(60), "{} are left", open(&server));
    }
    assert!(start.elapsed() >= seconds(29), "{:?}", start.elapsed());
    drop(silent);
}

#[test]
fn a_client_without_an_allocation_is_closed_after_a_minute_and_one_with_it_is_not() {
    let server = start(1);
    let mut with = Client::new(&server, ConnectionKind::Tls);
    with.allocate();
    let mut without: Vec<_> = KINDS.map(|kind| Client::new(&server, kind)).into();
    let start = Instant::now();
    while open(&server) > 1 {
        for client in &mut without {
            let request = client.binding_request();
            let _ = client.wire.write_all(&client.framed(&request));
        }
        thread::sleep(seconds(5));
        assert!(start.elapsed() < seconds(120));
    }
    assert!(start.elapsed() >= seconds(58), "{:?}", start.elapsed());
    thread::sleep(seconds(100));
    with.request(crate::stun::Method::REFRESH, |b| _ = b.lifetime(Duration::ZERO)).unwrap();
    assert!(until(&server, 0) <= seconds(150), "and when its allocation has ended");
}

#[test]
fn a_client_that_reads_nothing_is_closed_half_a_minute_after_its_queue_was_full() {
    for kind in [ConnectionKind::Tcp, ConnectionKind::Wss] {
        let server = start(1);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut client = Client::new(&server, kind);
        let relayed = client.allocate();
        client.bind_channel(0x4001, peer.local_addr().unwrap());
        let begun = Instant::now();
        while server.stats().reason(Reason::SlowReader).packets == 0 {
            (0..20).for_each(|_| _ = peer.send_to(&[7; 1200], relayed).unwrap());
            thread::sleep(Duration::from_millis(1));
        }
        // Nothing more needs to come for it.
        until(&server, 0);
        let took = begun.elapsed();
        assert!(took >= seconds(25) && took <= seconds(120), "{kind:?}: {took:?}");
        wait_for(&server, "the end", |s| s.allocations() == 0);
        assert!(server.stats().reason(Reason::SendFailed).packets > 100, "what was queued is counted");
    }
}

#[test]
fn a_client_that_reads_a_little_now_and_then_is_not_closed() {
    let server = start(1);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new(&server, ConnectionKind::Tcp);
    let relayed = client.allocate();
    client.bind_channel(0x4001, peer.local_addr().unwrap());
    let dropped = || server.stats().reason(Reason::SlowReader).packets;
    let start = Instant::now();
    while start.elapsed() < seconds(150) {
        let before = dropped();
        while dropped() == before {
            assert_eq!(open(&server), 1, "closed, and so nothing would be dropped for ever");
            (0..20).for_each(|_| _ = peer.send_to(&[7; 1200], relayed).unwrap());
            thread::sleep(Duration::from_millis(1));
        }
        // A fifth of what it would be closed after: the machine may be busy.
        thread::sleep(seconds(6));
        (0..200).for_each(|_| assert_eq!(client.receive(), Some(channel_data(0x4001, &[7; 1200]))));
    }
    assert_eq!(open(&server), 1);
}

#[test]
fn a_websocket_that_does_not_say_goodbye_is_closed() {
    let server = start(1);
    for kind in [ConnectionKind::Ws, ConnectionKind::Wss] {
        let mut client = Client::new(&server, kind);
        client.wire.write_all(&client::frame(0x81, b"text")).unwrap();
        assert_eq!(client.receive_frame(), Some((0x88, 1003_u16.to_be_bytes().to_vec())));
        let took = until(&server, 0);
        assert!(took >= seconds(3) && took <= seconds(20), "{took:?}");
    }
}

#[test]
fn a_websocket_that_is_refused_while_it_reads_nothing_has_no_more_time_for_its_goodbye() {
    let server = start(1);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new(&server, ConnectionKind::Ws);
    let relayed = client.allocate();
    client.bind_channel(0x4001, peer.local_addr().unwrap());
    while server.stats().reason(Reason::SlowReader).packets == 0 {
        (0..20).for_each(|_| _ = peer.send_to(&[7; 1200], relayed).unwrap());
        thread::sleep(Duration::from_millis(1));
    }
    client.wire.write_all(&client::frame(0x81, b"text")).unwrap();
    wait_for(&server, "the end of its allocation", |s| s.allocations() == 0);
    assert_eq!(open(&server), 1, "it may still say goodbye");
    assert!(until(&server, 0) >= seconds(3));
}
