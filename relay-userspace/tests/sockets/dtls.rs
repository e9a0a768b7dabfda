//! Clients over DTLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use relay_common::reason::Reason;
use turnpike::dtls::{Call, CallFailed, Identity, ToDo};
use turnpike::net::{ConnectionKind, DtlsConfig, DtlsDoor, DtlsEvent, Place, Server, SessionQuery};
use turnpike::stun::AddressFamily;
use turnpike::turn::Transport;

use super::bridge::{Bridge, Door, any_socket, serve};
use super::caller::Caller;
use super::client::{Client, PATIENCE, Relayed, socket};
use super::server::{dual_stack_config, start, wait_for};

fn open(server: &Server) -> u64 {
    server.stats().connections(ConnectionKind::Dtls).open()
}

/// The first datagram of a client.
fn hello(call: &mut Call) -> Vec<u8> {
    let ToDo::Send(hello) = call.poll() else { panic!("a client speaks first") };
    hello
}

#[test]
fn data_goes_both_ways_by_channels_and_indications_over_either_family() {
    let server = Server::start(dual_stack_config()).unwrap();
    for listener in serve(&server, &Door::new()) {
        let bridge = Bridge::to(listener);
        bridge.connected().unwrap();
        let mut client = Client::over(any_socket(listener), bridge.address);
        let relayed = client.allocate_of(AddressFamily::V4).unwrap();
        let peer = socket();
        let at = peer.local_addr().unwrap();
        client.permit(at);
        client.send_to(at, b"by an indication");
        let mut buffer = [0; 2048];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"by an indication"[..], relayed));
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(client.receive_data(), Relayed::Data(at, b"back".into()));
        client.bind_channel(0x4000, at);
        for length in [0, 1, 170, 1400] {
            let data = vec![7; length];
            client.send_on(0x4000, &data);
            let (received, _) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..received], data);
            peer.send_to(&data, relayed).unwrap();
            assert_eq!(client.receive_data(), Relayed::Channel(0x4000, data));
        }
        let found = server.sessions(&SessionQuery { user: None, most: 9 }).wait(PATIENCE).unwrap();
        let session = found.iter().flat_map(|found| &found.sessions).next().unwrap();
        assert_eq!(session.session.five_tuple.transport, Transport::Dtls);
        client.release();
        drop(bridge);
        wait_for(&server, "the end of the association", |_| open(&server) == 0);
    }
    let stats = server.stats();
    assert_eq!((stats.dtls(DtlsEvent::Completed), stats.dtls(DtlsEvent::Closed)), (2, 2));
    assert_eq!((stats.reason(Reason::ToPeer).packets, stats.reason(Reason::ToClient).packets), (10, 10));
    assert_eq!(stats.reason(Reason::Malformed).packets, 0);
}

#[test]
fn an_allocation_ends_with_its_association() {
    let server = start(1);
    let bridge = Bridge::to(serve(&server, &Door::new())[0]);
    bridge.connected().unwrap();
    Client::over(socket(), bridge.address).allocate().unwrap();
    drop(bridge);
    let stats = wait_for(&server, "the end", |stats| stats.allocations_ended == 1);
    assert_eq!(stats.dtls(DtlsEvent::Closed), 1);
}

/// A client that is told begins anew at once; one that is not finds out when nothing comes any more.
#[test]
fn clients_are_told_when_the_server_stops() {
    let server = start(2);
    let listener = serve(&server, &Door::new())[0];
    let mut callers: Vec<_> = (0..20).map(|_| Caller::to(listener)).collect();
    callers.iter_mut().for_each(Caller::connect);
    wait_for(&server, "all of them", |_| open(&server) == 20);
    server.stop();
    assert!(callers.iter_mut().all(|caller| caller.hear() == ToDo::Closed));
}

/// RFC 6347 section 4.2.1: nothing is kept of clients that have not shown to be where they say, and nobody is sent more than came
/// in its name.
#[test]
fn a_flood_of_hellos_leaves_nothing_and_is_answered_with_less() {
    const FLOOD: u64 = 500;
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 2048];
    for _ in 0..FLOOD {
        // Each from another port.
        let socket = socket();
        let hello = hello(&mut Call::new(PATIENCE).unwrap());
        socket.send_to(&hello, listener).unwrap();
        sent += hello.len();
        let answer = socket.recv(&mut buffer).unwrap();
        assert!(answer < hello.len(), "{answer} for {}", hello.len());
        received += answer;
    }
    assert!(received < sent);
    let stats = server.stats();
    assert_eq!(stats.dtls(DtlsEvent::Verify), FLOOD);
    assert_eq!((stats.dtls(DtlsEvent::Begun), stats.connections(ConnectionKind::Dtls).opened), (0, 0));
}

/// A cookie is for one address, one hello, one listener.
#[test]
fn somebody_elses_cookie_is_none() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let (mut call, first, second) = (Call::new(PATIENCE).unwrap(), socket(), socket());
    let mut buffer = [0; 2048];
    first.send_to(&hello(&mut call), listener).unwrap();
    let length = first.recv(&mut buffer).unwrap();
    call.receive(&buffer[..length]).unwrap();
    let with_cookie = hello(&mut call);
    second.send_to(&with_cookie, listener).unwrap();
    second.recv(&mut buffer).unwrap();
    let mut changed = with_cookie.clone();
    // A bit of what the client drew.
    changed[30] ^= 1;
    first.send_to(&changed, listener).unwrap();
    first.recv(&mut buffer).unwrap();
    let stats = server.stats();
    assert_eq!((stats.dtls(DtlsEvent::Verify), stats.dtls(DtlsEvent::Begun)), (3, 0));
    first.send_to(&with_cookie, listener).unwrap();
    first.recv(&mut buffer).unwrap();
    assert_eq!(server.stats().dtls(DtlsEvent::Begun), 1);
}

/// Each of the first datagrams in either direction is lost once, also the whole of a flight.
#[test]
fn a_handshake_survives_losses() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    type Loses = (fn(usize) -> bool, fn(usize) -> bool);
    let cases: [Loses; 6] = [
        (|n| n != 0, |_| true),
        (|n| n != 1, |_| true),
        (|n| n != 2, |_| true),
        (|_| true, |n| n != 0),
        (|_| true, |n| n != 1),
        (|_| true, |n| n != 2),
    ];
    std::thread::scope(|scope| {
        for (goes, comes) in cases {
            scope.spawn(move || {
                let bridge = Bridge::with(any_socket(listener), listener, goes, comes);
                bridge.connected().unwrap();
                Client::over(socket(), bridge.address).allocate().unwrap();
            });
        }
    });
    assert_eq!(server.stats().dtls(DtlsEvent::Completed), 6);
}

#[test]
fn what_is_replayed_or_changed_on_its_way_is_counted_as_discarded() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let mut caller = Caller::to(listener);
    caller.connect();
    let request = Client::over(socket(), listener).binding_request();
    for _ in 0..3 {
        let sealed = caller.sealed(&request);
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        // The right one comes second, and is heard.
        for datagram in [&changed, &sealed, &sealed] {
            caller.socket.send(datagram).unwrap();
        }
        assert!(matches!(caller.hear(), ToDo::Heard(_)));
    }
    let stats = wait_for(&server, "the last", |stats| stats.dtls(DtlsEvent::Discarded) >= 6);
    assert_eq!((stats.dtls(DtlsEvent::Discarded), stats.reason(Reason::Malformed).packets), (6, 6));
    assert_eq!(stats.responses("binding", None), 3);
}

#[test]
fn garbage_and_replays_disturb_nobody_and_are_counted() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let out = any_socket(listener);
    let stranger = socket();
    let bridge = Bridge::with(out.try_clone().unwrap(), listener, |_| true, |_| true);
    bridge.connected().unwrap();
    let mut client = Client::over(socket(), bridge.address);
    // More than anybody says who has no allocation.
    out.send_to(&vec![23; 5000], listener).unwrap();
    client.allocate().unwrap();
    let whole = hello(&mut Call::new(PATIENCE).unwrap());
    let mut dropped = 1;
    for length in 0..whole.len() {
        // Parts of a hello, from nobody that is known.
        stranger.send_to(&whole[..length], listener).unwrap();
        dropped += 1;
    }
    for first in 0..=255 {
        let garbage = [&[first, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40][..], &[first; 40]].concat();
        stranger.send_to(&garbage, listener).unwrap();
        dropped += 1;
        // The same in the client's name: encrypted by nobody, or of no kind that there is.
        out.send_to(&garbage, listener).unwrap();
        dropped += 1;
    }
    // More records than anybody has to say at once, and a hello that would be kept.
    out.send_to(&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0].repeat(5), listener).unwrap();
    let mut large = whole.clone();
    large.resize(2049, 0);
    out.send_to(&large, listener).unwrap();
    dropped += 2;
    for clear in [
        // In the clear, after the handshake: a fatal alert, close_notify, data, a ChangeCipherSpec; a record that claims more than
        // came; an epoch that never will be.
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 50, 0, 2, 2, 40][..],
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 51, 0, 2, 1, 0],
        &[23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 52, 0, 2, 1, 0],
        &[20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 53, 0, 1, 1],
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 54, 0xff, 0xff, 16, 0, 0, 1],
        &[23, 0xfe, 0xfd, 0, 9, 0, 0, 0, 0, 0, 52, 0, 2, 1, 0],
    ] {
        for _ in 0..20 {
            out.send_to(clear, listener).unwrap();
            dropped += 1;
        }
    }
    out.send_to(
        &[&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0xea, 0x60][..], &[23; 60_000]].concat(),
        listener,
    )
    .unwrap();
    dropped += 1;
    client.refresh().unwrap();
    let stats = wait_for(&server, "all of it", |stats| stats.reason(Reason::Malformed).packets >= dropped);
    assert_eq!(stats.reason(Reason::Malformed).packets, dropped);
    let told = [DtlsEvent::Malformed, DtlsEvent::Stray, DtlsEvent::ClearAlert, DtlsEvent::Discarded];
    let told = told.map(|event| stats.dtls(event));
    assert_eq!(told.iter().sum::<u64>(), dropped, "{told:?}");
    // The kinds that there are, four kinds in the clear, and the longest.
    assert_eq!((told[2], told[3]), (40, 4 + 80 + 1));
    assert_eq!((open(&server), stats.allocations()), (1, 1));
}

/// RFC 6347 section 4.2.8: its old association is over once it has brought a cookie back, and not before.
#[test]
fn a_client_that_begins_anew_from_its_port_is_served() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let out = any_socket(listener);
    let first = Bridge::with(out.try_clone().unwrap(), listener, |_| true, |_| true);
    first.connected().unwrap();
    let mut client = Client::over(socket(), first.address);
    client.allocate().unwrap();
    // Anybody could say this in its name.
    out.send_to(&hello(&mut Call::new(PATIENCE).unwrap()), listener).unwrap();
    wait_for(&server, "the answer", |stats| stats.dtls(DtlsEvent::Verify) == 2);
    client.refresh().unwrap();
    assert_eq!(open(&server), 1);

    first.abandon();
    let second = Bridge::with(out, listener, |_| true, |_| true);
    second.connected().unwrap();
    let stats = wait_for(&server, "the end of the first", |stats| stats.allocations_ended == 1);
    assert_eq!((stats.dtls(DtlsEvent::Replaced), open(&server)), (1, 1));
    Client::over(socket(), second.address).allocate().unwrap();
}

/// Lets one client in at a time.
struct Narrow(Arc<Door>, Arc<()>);

impl DtlsDoor for Narrow {
    fn admit(&self, _: IpAddr) -> Option<Place> {
        (Arc::strong_count(&self.1) == 1).then(|| Place::new(self.1.clone()))
    }

    fn identity(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        self.0.identity(name)
    }
}

/// It is the same client, whose place it is.
#[test]
fn a_client_that_begins_anew_where_all_places_are_taken_keeps_its_own() {
    let server = start(1);
    let narrow = Arc::new(Narrow(Door::new(), Arc::default()));
    let listeners = vec![SocketAddr::new(server.listeners()[0].ip(), 0)];
    let listener = server.serve_dtls(&DtlsConfig { listeners, door: narrow.clone() }).unwrap()[0];
    let (out, taken) = (any_socket(listener), || Arc::strong_count(&narrow.1) - 1);
    let mut first = Caller::by(out.try_clone().unwrap(), listener);
    first.connect();
    for again in 1..=3 {
        let mut next = Caller::by(out.try_clone().unwrap(), listener);
        next.connect();
        let stats = wait_for(&server, "the new one", |stats| stats.dtls(DtlsEvent::Replaced) == again);
        assert_eq!((taken(), open(&server), stats.dtls(DtlsEvent::TooMany)), (1, 1, 0));
        first = next;
    }
    // Others are refused until it goes.
    let stranger = Bridge::to(listener);
    wait_for(&server, "a refusal", |stats| stats.dtls(DtlsEvent::TooMany) > 0);
    first.call.close();
    let ToDo::Send(goodbye) = first.next() else { panic!("it says that it goes") };
    out.send(&goodbye).unwrap();
    stranger.connected().unwrap();
    assert_eq!((taken(), open(&server)), (1, 1));
}

#[test]
fn who_is_not_let_in_costs_nothing() {
    let server = start(1);
    let door = Door::new();
    let listener = serve(&server, &door)[0];
    door.is_open.store(false, Ordering::Relaxed);
    let bridge = Bridge::to(listener);
    let stats = wait_for(&server, "a refusal", |stats| stats.dtls(DtlsEvent::TooMany) > 0);
    assert_eq!((stats.dtls(DtlsEvent::Begun), open(&server)), (0, 0));
    // It asks again, and there is room.
    door.is_open.store(true, Ordering::Relaxed);
    bridge.connected().unwrap();
}

#[test]
fn a_client_of_dtls_1_0_is_told_that_it_is_too_old() {
    let server = start(1);
    let listener = serve(&server, &Door::new())[0];
    let mut call = Call::new(PATIENCE).unwrap();
    let mut old = hello(&mut call);
    // The version in the hello.
    old[26] = 0xff;
    let socket = socket();
    socket.send_to(&old, listener).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!((buffer[0], &buffer[13..length]), (21, &[2, 70][..]));
    assert_eq!(call.receive(&buffer[..length]), Err(CallFailed::Alert(70)));
    assert_eq!(server.stats().dtls(DtlsEvent::OldVersion), 1);
}
