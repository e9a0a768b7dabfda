//! For how long clients are waited for: see [`seconds`].

#[path = "../../../tests/sockets/bridge.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
mod bridge;
#[path = "../../../tests/sockets/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
mod client;

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use bridge::{Bridge, Door, serve};
use client::{Client, socket};

use super::table::MOST_HANDSHAKES;
use super::{DtlsEvent, HANDSHAKE, seconds};
use crate::dtls::{Call, ToDo};
use crate::net::ConnectionKind;
use crate::net::streams::patience_tests::server::{self, start, wait_for};

#[test]
fn a_handshake_that_does_not_go_on_ends() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let begun = Instant::now();
    // Two hellos, and then nothing.
    let bridge = Bridge::with(bridge::any_socket(listener), listener, |n| n < 2, |_| true);
    let stats = wait_for(&server, "the end", |stats| stats.dtls(DtlsEvent::TimedOut) == 1);
    assert!(begun.elapsed() >= HANDSHAKE, "{:?}", begun.elapsed());
    assert_eq!((stats.dtls(DtlsEvent::Begun), stats.connections(ConnectionKind::Dtls).opened), (1, 0));
    drop(bridge);
}

#[test]
fn an_association_without_an_allocation_ends_and_one_with_stays() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let begun = Instant::now();
    let bridges = [(); 3].map(|()| Bridge::to(listener));
    bridges.iter().for_each(|bridge| bridge.connected().unwrap());
    let mut clients = bridges.each_ref().map(|bridge| Client::over(socket(), bridge.address));
    let [_silent, talks, stays] = &mut clients;
    stays.allocate().unwrap();
    while begun.elapsed() < seconds(40) {
        let request = talks.binding_request();
        talks.socket.send(&request).unwrap();
        std::thread::sleep(seconds(2));
    }
    let idle = |n| move |stats: &crate::net::Stats| stats.dtls(DtlsEvent::Idle) == n;
    assert!(idle(1)(&server.stats()), "the one that said nothing");
    wait_for(&server, "the end of the one that only talked", idle(2));
    assert!(begun.elapsed() >= seconds(60), "{:?}", begun.elapsed());
    std::thread::sleep(seconds(60));
    stays.refresh().unwrap();
    assert_eq!(server.stats().connections(ConnectionKind::Dtls).open(), 1);
}

#[test]
fn handshakes_of_a_network_have_a_rate() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    for _ in 0..5 {
        Bridge::to(listener).connected().unwrap();
    }
    let sixth = Bridge::to(listener);
    let stats = wait_for(&server, "a refusal", |stats| stats.dtls(DtlsEvent::TooOften) > 0);
    assert_eq!((stats.dtls(DtlsEvent::Completed), stats.dtls(DtlsEvent::Begun)), (5, 5));
    drop(sixth);
}

/// Takes a call until it has brought its cookie back and the server's certificate has come, and no further.
fn half_open(server: SocketAddr) -> (Call, UdpSocket) {
    let (mut call, socket) = (Call::new(client::PATIENCE).unwrap(), bridge::any_socket(server));
    socket.connect(server).unwrap();
    let mut buffer = [0; 2048];
    for _ in 0..2 {
        let ToDo::Send(hello) = call.poll() else { panic!("a client speaks") };
        socket.send(&hello).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        call.receive(&buffer[..length]).unwrap();
    }
    (call, socket)
}

#[test]
fn handshakes_that_stall_make_room_for_others() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let stalled: Vec<_> = (0..MOST_HANDSHAKES).map(|_| half_open(listener)).collect();
    assert_eq!(server.stats().dtls(DtlsEvent::Displaced), 0);
    Bridge::to(listener).connected().unwrap();
    assert_eq!(server.stats().dtls(DtlsEvent::Displaced), 1);
    drop(stalled);
}
