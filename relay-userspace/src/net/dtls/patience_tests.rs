//! For how long clients are waited for: see [`seconds`].

#[path = "../../../tests/sockets/bridge.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
mod bridge;
#[path = "../../../tests/sockets/caller.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
mod caller;
#[path = "../../../tests/sockets/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the sockets")]
mod client;

use std::net::SocketAddr;
use std::time::Instant;

use bridge::{Bridge, Door, serve};
use caller::Caller;
use client::{Client, socket};
use relay_common::reason::Reason;

use super::table::MOST_HANDSHAKES;
use super::{DtlsEvent, HANDSHAKE, seconds};
use crate::dtls::ToDo;
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
    let mut silent = Caller::to(listener);
    let begun = Instant::now();
    let bridges = [(); 3].map(|()| Bridge::to(listener));
    bridges.iter().for_each(|bridge| bridge.connected().unwrap());
    let mut clients = bridges.each_ref().map(|bridge| Client::over(socket(), bridge.address));
    let [_silent, talks, stays] = &mut clients;
    silent.connect();
    stays.allocate().unwrap();
    let idle = |n| move |stats: &crate::net::Stats| stats.dtls(DtlsEvent::Idle) == n;
    // Those that say nothing, long before the one that talks.
    while server.stats().dtls(DtlsEvent::Idle) < 2 {
        assert!(begun.elapsed() < seconds(600), "nobody's time is over");
        let request = talks.binding_request();
        talks.socket.send(&request).unwrap();
        std::thread::sleep(seconds(2));
    }
    assert!(idle(2)(&server.stats()));
    assert_eq!(silent.hear(), ToDo::Closed, "and are told");
    wait_for(&server, "the end of the one that only talked", idle(3));
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

/// A client that has brought its cookie back and been sent the server's certificate, and went no further.
fn half_open(server: SocketAddr) -> Caller {
    let mut caller = Caller::to(server);
    begin(&mut caller);
    caller
}

/// As far as that.
fn begin(caller: &mut Caller) {
    for _ in 0..2 {
        let ToDo::Send(hello) = caller.next() else { panic!("a client speaks") };
        caller.socket.send(&hello).unwrap();
        caller.receive();
    }
}

/// As anybody could send it in a client's name: fatal, `bad_certificate`, in epoch 0.
const CLEAR_ALERT: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 42];

#[test]
fn an_alert_in_the_clear_ends_no_handshake() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let mut caller = half_open(listener);
    caller.socket.send(&CLEAR_ALERT).unwrap();
    // Behind something that is the client's.
    let ToDo::Send(first) = caller.next() else { panic!("the client goes on") };
    caller.socket.send(&[&first[..], &CLEAR_ALERT].concat()).unwrap();
    caller.socket.send(&first).unwrap();
    caller.connect();
    let stats = server.stats();
    assert_eq!((stats.dtls(DtlsEvent::ClearAlert), stats.dtls(DtlsEvent::Completed)), (2, 1));
    assert_eq!(stats.reason(Reason::Malformed).packets, 2);
}

/// It keeps its place for as long as one that says nothing, and is told apart from it.
#[test]
fn a_client_that_refuses_by_an_alert_in_the_clear_is_counted_when_its_time_is_over() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let begun = Instant::now();
    let caller = half_open(listener);
    caller.socket.send(&CLEAR_ALERT).unwrap();
    let stats = wait_for(&server, "the end", |stats| stats.dtls(DtlsEvent::Refused) == 1);
    assert!(begun.elapsed() >= HANDSHAKE, "{:?}", begun.elapsed());
    assert_eq!((stats.dtls(DtlsEvent::ClearAlert), stats.dtls(DtlsEvent::TimedOut)), (1, 0));
}

#[test]
fn handshakes_that_stall_make_room_for_others() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    // To make one takes longer than what it says, and the first may not run out of time meanwhile.
    let mut callers: Vec<_> = (0..=MOST_HANDSHAKES).map(|_| Caller::to(listener)).collect();
    let (last, stalled) = callers.split_last_mut().expect("some");
    stalled.iter_mut().for_each(begin);
    assert_eq!(server.stats().dtls(DtlsEvent::Displaced), 0);
    last.connect();
    assert_eq!(server.stats().dtls(DtlsEvent::Displaced), 1);
}
