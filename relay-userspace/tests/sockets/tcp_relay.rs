//! TCP allocations (RFC 6062) over real connections.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use turnpike::net::{Server, ServerConfig};
use turnpike::stun::{ErrorCode, Method};
use turnpike::turn::{CoreConfig, TcpRelay};

use super::client::PATIENCE;
use super::server::{ANY_PORT, PASSWORD, USER, config, wait_for};
use super::streams::{Door, rest_of};

fn tcp_config(shards: usize, ports: std::ops::RangeInclusive<u16>) -> ServerConfig {
    let mut config = config(shards, ports);
    let core = Arc::get_mut(&mut config.core).expect("not shared yet");
    core.tcp_relay = Some(TcpRelay {
        allocation_connections: 64,
        user_connections: 256,
        total_connections: 256,
        idle: Duration::from_secs(3600),
    });
    config
}

fn start(shards: usize) -> Server {
    Server::start(tcp_config(shards, ANY_PORT)).unwrap()
}

fn peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (socket, from) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, from)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn exactly(socket: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).unwrap();
    bytes
}

/// Sections 5.2 and 5.4, by whatever shards the connections come to: the connection leaves from the relayed transport address, what the peer said
/// before the client was there comes first, and what the client sent with its request goes on.
#[test]
fn a_client_connects_to_a_peer_over_tcp_and_tls() {
    let server = start(4);
    for door in [Door::tcp(&server), Door::tls(&server)] {
        let mut control = door.connect();
        let relayed = control.allocate_tcp();
        for _ in 0..8 {
            let (listener, address) = peer();
            let connection = control.connect_to(address).unwrap();
            let (mut at_peer, from) = accept(&listener);
            assert_eq!(from, relayed);
            at_peer.write_all(b"220 ready\r\n").unwrap();
            let mut data = door.connect();
            data.bind_and_send(connection, b"HELO");
            assert_eq!(exactly(&mut at_peer, 4), b"HELO");
            assert_eq!(data.receive(11), b"220 ready\r\n");
            data.send(b"QUIT");
            assert_eq!(exactly(&mut at_peer, 4), b"QUIT");
            at_peer.write_all(b"221 bye").unwrap();
            assert_eq!(data.receive(7), b"221 bye");
        }
    }
    wait_for(&server, "the ends of all", |s| s.tcp.bound == 16 && s.tcp.ended == 16);
}

/// Section 5.3.
#[test]
fn a_peer_connects_and_the_client_takes_it_up() {
    let server = start(2);
    let door = Door::tcp(&server);
    let mut control = door.connect();
    let relayed = control.allocate_tcp();
    let mut stranger = TcpStream::connect(relayed).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(rest_of(&mut stranger), b"", "closed without a permission");

    let permission = SocketAddr::from(([127, 0, 0, 1], 1));
    control.request(Method::CREATE_PERMISSION, |b| _ = b.xor_peer_address(permission)).unwrap();
    let mut at_peer = TcpStream::connect(relayed).unwrap();
    let (connection, from) = control.attempt();
    assert_eq!(from, at_peer.local_addr().unwrap());
    at_peer.write_all(b"hello").unwrap();
    let mut data = door.connect();
    data.bind(connection).unwrap();
    assert_eq!(data.receive(5), b"hello");
    data.send(b"welcome");
    assert_eq!(exactly(&mut at_peer, 7), b"welcome");
    let stats = wait_for(&server, "what happened", |s| s.tcp.to_peer == 7 && s.tcp.to_client == 5);
    assert_eq!((stats.tcp.accepted, stats.tcp.refused, stats.tcp.active()), (1, 1, 1));
}

/// The end of one direction is passed on, and the other goes on.
#[test]
fn one_direction_may_end_before_the_other() {
    let server = start(2);
    for door in [Door::tcp(&server), Door::tls(&server)] {
        let (mut control, (listener, address)) = (door.connect(), peer());
        control.allocate_tcp();
        let connection = control.connect_to(address).unwrap();
        let (mut at_peer, _) = accept(&listener);
        let mut data = door.connect();
        data.bind(connection).unwrap();
        data.send(b"a question");
        data.finish();
        assert_eq!(rest_of(&mut at_peer), b"a question");
        at_peer.write_all(b"an answer").unwrap();
        drop(at_peer);
        assert_eq!(data.receive_all(), b"an answer");
    }
    wait_for(&server, "the ends", |s| s.tcp.bound == 2 && s.tcp.ended == 2);
}

/// Every byte arrives, in order, both ways at once, and a peer that sends before the client is there waits for it.
#[test]
fn megabytes_go_both_ways_and_a_flood_before_the_bind_waits() {
    let server = start(2);
    for door in [Door::tcp(&server), Door::tls(&server)] {
        let (mut control, (listener, address)) = (door.connect(), peer());
        control.allocate_tcp();
        let connection = control.connect_to(address).unwrap();
        let (at_peer, _) = accept(&listener);
        let (mut reads, mut writes) = (at_peer.try_clone().unwrap(), at_peer);
        let bytes = pattern(24 << 20);
        let flooding = {
            let bytes = bytes.clone();
            thread::spawn(move || {
                let started = Instant::now();
                writes.write_all(&bytes).unwrap();
                writes.shutdown(std::net::Shutdown::Write).unwrap();
                started.elapsed()
            })
        };
        thread::sleep(Duration::from_secs(1));
        let mut data = door.connect();
        data.bind(connection).unwrap();
        let reading = thread::spawn(move || rest_of(&mut reads));
        data.send(&bytes[..6 << 20]);
        data.finish();
        assert!(data.receive_all() == bytes, "what the peer sent");
        assert!(reading.join().unwrap() == bytes[..6 << 20], "what the client sent");
        assert!(flooding.join().unwrap() >= Duration::from_secs(1), "it was not buffered without bound");
    }
}

/// Section 5.4: 400 for what is nobody's, or taken; the connection that was refused may try another.
#[test]
fn connections_are_bound_once() {
    let server = start(3);
    let door = Door::tcp(&server);
    let (mut control, (listener, address)) = (door.connect(), peer());
    control.allocate_tcp();
    let connection = control.connect_to(address).unwrap();
    let (mut at_peer, _) = accept(&listener);
    assert_eq!(control.connect_to(address), Err(ErrorCode::CONNECTION_ALREADY_EXISTS));
    assert_eq!(control.bind(connection), Err(ErrorCode::BAD_REQUEST), "by the control connection");
    let mut data = door.connect();
    assert_eq!(data.bind(connection ^ 1), Err(ErrorCode::BAD_REQUEST));
    data.bind(connection).unwrap();
    for _ in 0..6 {
        assert_eq!(door.connect().bind(connection), Err(ErrorCode::BAD_REQUEST));
    }
    data.send(b"still here");
    assert_eq!(exactly(&mut at_peer, 10), b"still here");
}

/// Section 5.2: 447.
#[test]
fn a_peer_that_is_not_there_is_447() {
    let server = start(1);
    let mut control = Door::tcp(&server).connect();
    control.allocate_tcp();
    let (listener, address) = peer();
    drop(listener);
    for _ in 0..2 {
        assert_eq!(control.connect_to(address), Err(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE));
    }
    assert_eq!(server.stats().tcp.connect_failed, 2);
}

/// Section 5.5, with data under way; and the port is free for the next at once, though there are four in all.
#[test]
fn connections_end_with_the_allocation_and_its_port_is_free() {
    let server = Server::start(tcp_config(2, 50_000..=50_003)).unwrap();
    let door = Door::tcp(&server);
    for round in 0..12 {
        let (mut control, (listener, address)) = (door.connect(), peer());
        let relayed = control.allocate_tcp();
        let connection = control.connect_to(address).unwrap();
        let (mut at_peer, _) = accept(&listener);
        let waiting = control.connect_to(peer_that_accepts()).unwrap();
        let mut data = door.connect();
        data.bind(connection).unwrap();
        data.send(&pattern(100_000));
        let mut some = [0; 10];
        at_peer.read_exact(&mut some).unwrap();
        if round % 2 == 0 {
            control.request(Method::REFRESH, |b| _ = b.lifetime(Duration::ZERO)).unwrap();
        } else {
            drop(control);
        }
        rest_of(&mut at_peer);
        data.receive_all();
        assert_eq!(door.connect().bind(waiting), Err(ErrorCode::BAD_REQUEST), "it went too");
        wait_for(&server, "the end", |s| s.allocations() == 0);
        assert!(TcpStream::connect(relayed).is_err(), "nobody listens there");
    }
    let stats = server.stats();
    assert_eq!((stats.tcp.active(), stats.ports_in_use), (0, 0), "{stats:?}");
}

/// What was carried in the second before the allocation's end, which is told by nobody else, is counted too.
#[test]
fn what_is_carried_just_before_the_end_is_counted() {
    const PIECE: u64 = 32 << 10;
    let server = start(2);
    for (round, door) in (1..).zip([Door::tcp(&server), Door::tls(&server)]) {
        let (mut control, (listener, address)) = (door.connect(), peer());
        control.allocate_tcp();
        let connection = control.connect_to(address).unwrap();
        let (mut at_peer, _) = accept(&listener);
        let mut data = door.connect();
        data.bind(connection).unwrap();
        data.send(&pattern(200_000));
        assert!(exactly(&mut at_peer, 200_000) == pattern(200_000));
        control.request(Method::REFRESH, |b| _ = b.lifetime(Duration::ZERO)).unwrap();
        let stats = wait_for(&server, "the end", |s| s.tcp.ended == round);
        // The last piece may have arrived before it was counted.
        assert!(stats.tcp.to_peer > round * (200_000 - PIECE), "{:?}", stats.tcp);
    }
}

fn peer_that_accepts() -> SocketAddr {
    let (listener, address) = peer();
    thread::spawn(move || {
        let _held = listener.accept();
        thread::sleep(PATIENCE);
    });
    address
}

/// A flood of connections without a permission is closed, and the allocation goes on.
#[test]
fn a_flood_of_strangers_disturbs_nobody() {
    let server = start(1);
    let door = Door::tcp(&server);
    let (mut control, (listener, address)) = (door.connect(), peer());
    let relayed = control.allocate_tcp();
    let connection = control.connect_to(address).unwrap();
    let (mut at_peer, _) = accept(&listener);
    let mut data = door.connect();
    data.bind(connection).unwrap();
    let floods: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..250 {
                    // From where there is no permission; from 127.0.0.1 there is none either.
                    let mut stranger = TcpStream::connect(relayed).unwrap();
                    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
                    assert_eq!(rest_of(&mut stranger), b"");
                }
            })
        })
        .collect();
    for n in 0..100_u8 {
        data.send(&[n]);
        assert_eq!(exactly(&mut at_peer, 1), [n]);
    }
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    assert_eq!(server.stats().tcp.refused, 1000);
}

/// Limits hold for what is carried: it waits.
#[test]
fn what_is_carried_keeps_to_the_limits() {
    use turnpike::policy::Rate;
    use turnpike::turn::{Rates, Throughput};

    let mut config = tcp_config(1, ANY_PORT);
    let second = Duration::from_secs(1);
    let bytes = Some(Rate::new(200_000, second, 200_000));
    let core: &mut CoreConfig = Arc::get_mut(&mut config.core).unwrap();
    core.rates = Rates { user: Throughput { bytes, packets: None }, ..Rates::default() };
    let server = Server::start(config).unwrap();
    let door = Door::tcp(&server);
    let (mut control, (listener, address)) = (door.connect(), peer());
    control.allocate_tcp();
    let connection = control.connect_to(address).unwrap();
    let (mut at_peer, _) = accept(&listener);
    let mut data = door.connect();
    data.bind(connection).unwrap();
    let started = Instant::now();
    data.send(&pattern(800_000));
    data.finish();
    assert!(rest_of(&mut at_peer) == pattern(800_000));
    let took = started.elapsed();
    assert!((2.5..6.0).contains(&took.as_secs_f64()), "600,000 bytes beyond the burst took {took:?}");
}

/// coturn's client in its RFC 6062 mode, which connects its clients to each other's relayed addresses. With `-P` it is active
/// peers that connect, and ConnectionAttempt that tells of them; half of the messages is all that it receives then, also from
/// coturn's own server. Not over TLS: it tries TLS 1.0 and 1.1 at random.
#[test]
fn turnutils_uclient_relays_over_tcp() {
    let server = start(2);
    let door = Door::tcp(&server);
    for (flags, received) in [("-T", 40), ("-P", 20)] {
        let Output { status, stdout, stderr } = uclient(door.address, flags);
        let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{flags}: {said}");
        let totals = format!("tot_send_msgs=40, tot_recv_msgs={received}");
        let last = said.lines().rev().find(|line| line.contains("tot_send_msgs="));
        assert!(last.is_some_and(|line| line.contains(&totals)), "{flags}: {said}");
    }
    let tcp = server.stats().tcp;
    assert!(tcp.bound >= 3 && tcp.connected > 0 && tcp.accepted > 0, "{tcp:?}");
}

fn uclient(server: SocketAddr, flag: &str) -> Output {
    let ip: IpAddr = server.ip();
    let mut command = Command::new("turnutils_uclient");
    command.args([flag, "-u", USER, "-w", PASSWORD, "-m", "2", "-n", "20", "-l", "170", "-z", "5"]);
    command.args(["-L", "127.0.0.1", "-p", &server.port().to_string(), &ip.to_string()]);
    command.output().expect("turnutils_uclient, of Debian's package coturn")
}
