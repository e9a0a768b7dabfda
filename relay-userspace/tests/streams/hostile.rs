//! Clients that mean no good, or know no better.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use turnpike::net::{ConnectionKind, Framing, Server};

use super::client::{Client, channel_data, connect, pair, stream};
use super::server::{start, wait_for};

fn admitted(server: &Server) -> TcpStream {
    let (accepted, client) = pair();
    server.streams().admit(stream(accepted, None, Framing::Turn));
    client
}

/// Whether the server closes a connection, before it would for want of anything.
fn is_closed(mut socket: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

#[test]
fn garbage_closes_the_connection_and_nobody_elses() {
    let server = start(1);
    let mut other = Client::new(&server, ConnectionKind::Tcp);
    other.allocate();
    let long = [&[0x40, 1, 0x13, 0x88][..], &[7; 5000]].concat();
    let oversized = [&[0, 3, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42][..], &[0; 100]].concat();
    let garbage: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        &[0xff; 1000],
        // STUN, but for the magic cookie, the length, and a length that no datagram has.
        &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x43],
        &[0, 1, 0, 3],
        &oversized,
        // More than a client without an allocation has to say.
        &long,
    ];
    for bytes in garbage {
        let mut client = admitted(&server);
        let start = Instant::now();
        // It may be closed before it is all sent.
        let _ = client.write_all(bytes);
        assert!(is_closed(&client), "{bytes:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{bytes:?}");
    }
    let stats = wait_for(&server, "the end", |s| s.connections(ConnectionKind::Tcp).open() == 1);
    assert_eq!(stats.reason(Reason::Malformed).packets, garbage.len() as u64);
    other.permit("127.0.0.1:9".parse().unwrap());
}

#[test]
fn garbage_in_tls_closes_the_connection_with_an_alert() {
    let server = start(1);
    let (stream, wire) = connect(ConnectionKind::Tls);
    server.streams().admit(stream);
    let mut socket = wire.socket();
    socket.write_all(&[0x17, 3, 3, 0, 32]).unwrap();
    socket.write_all(&[9; 32]).unwrap();
    assert!(is_closed(socket));
    wait_for(&server, "the end", |s| s.connections(ConnectionKind::Tls).closed == 1);
}

#[test]
fn a_client_that_asks_without_reading_is_not_listened_to() {
    let server = start(1);
    let mut client = Client::new(&server, ConnectionKind::Tcp);
    let request = client.binding_request();
    let requests = request.repeat(1000);
    let socket = client.wire.socket();
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut asked = 0;
    // All buffers of the kernel on both ways are full in the end, and none of the server's grew.
    let refused = loop {
        match (&mut &*socket).write(&requests) {
            Ok(length) => asked += length,
            Err(error) => break error,
        }
        assert!(asked < 64 << 20, "the server takes all there is");
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let stats = server.stats();
    let mut other = Client::new(&server, ConnectionKind::Tcp);
    other.allocate();
    drop(other);

    // Once it reads, it gets every answer.
    let asked = asked / request.len();
    for n in 0..asked {
        assert!(client.receive().is_some(), "{n} of {asked}");
    }
    assert!(stats.responses("binding", None) < asked as u64, "some waited");
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = start(2);
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    for n in 0..3000 {
        let mut client = admitted(&server);
        match n % 4 {
            0 => drop(client),
            1 => _ = client.write_all(&[0, 1, 0, 0, 0x21]),
            2 => _ = client.write_all(&[0xff; 64]),
            _ => {
                let mut client = Client::over(Box::new(client), false);
                let request = client.binding_request();
                client.send(&request);
                client.receive();
            }
        }
    }
    let stats = wait_for(&server, "the end", |s| s.connections(ConnectionKind::Tcp).closed == 3000);
    assert_eq!(stats.connections(ConnectionKind::Tcp).open(), 0);
    // Other tests of this process have files of their own.
    assert!(open_files() < before + 500, "{before} before, {} now", open_files());
}

#[test]
fn a_client_that_connects_again_from_the_same_port_has_left_the_old_connection() {
    let server = start(1);
    let (first, wire) = pair();
    let mut old = Client::over(Box::new(wire), false);
    let first = stream(first, None, Framing::Turn);
    let (client, listener) = (first.client, first.listener);
    server.streams().admit(first);
    old.allocate();
    let (second, wire) = pair();
    let mut second = stream(second, None, Framing::Turn);
    (second.client, second.listener) = (client, listener);
    server.streams().admit(second);
    let mut new = Client::over(Box::new(wire), false);
    new.allocate();
    assert_eq!(old.receive(), None);
    let stats = server.stats();
    assert_eq!((stats.allocations_created, stats.allocations()), (2, 1));
}

#[test]
fn data_for_channels_that_are_not_bound_closes_nothing() {
    let server = start(1);
    let mut client = Client::new(&server, ConnectionKind::Tcp);
    client.send(&channel_data(0x4001, b"nobody's"));
    client.allocate();
    assert_eq!(server.stats().reason(Reason::NoAllocation).packets, 1);
}
