//! A tunnel between local clients and a fake server.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::backoff::Pace;
use super::{Limits, Local, Tunnel};
use crate::client::fakes::{FakeCa, FakeProxy, FakeServer, Speaks, binding};
use crate::client::{Connector, Proxy, Trust};
use crate::stun::{Builder, Class, Message, MessageType, Method, TransactionId};
use std::net::SocketAddr;

/// Enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

const DATA: &[u8] = b"\x40\x00\0\x05hello";

/// A tunnel that runs until it is dropped or stopped.
struct Running {
    udp: SocketAddr,
    tcp: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn to(server: SocketAddr) -> Connector {
    Connector::new(format!("ws://{server}/turn").parse().unwrap(), None, None).unwrap()
}

fn limits() -> Limits {
    Limits { clients: 10, idle: PATIENCE }
}

fn pace() -> Pace {
    Pace {
        first_wait: Duration::from_millis(50),
        longest_wait: Duration::from_millis(200),
        ..Pace::default()
    }
}

async fn start(connector: Connector, limits: Limits, pace: Pace) -> Running {
    let any = ([127, 0, 0, 1], 0).into();
    let tunnel =
        Tunnel::with_pace(&[Local::Udp(any), Local::Tcp(any)], connector, limits, pace).await.unwrap();
    let [Local::Udp(udp), Local::Tcp(tcp)] = tunnel.listening().unwrap()[..] else { panic!("two sockets") };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(tunnel.serve(async { drop(stopped.await) }));
    Running { udp, tcp, stop, task }
}

/// A UDP client of a tunnel.
async fn client(tunnel: &Running) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(tunnel.udp).await.unwrap();
    socket
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2000];
    let len = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
    buffer[..len].to_vec()
}

/// Sends until an answer is there, as clients over UDP do.
async fn ask(socket: &UdpSocket, message: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2000];
    for _ in 0..100 {
        socket.send(message).await.unwrap();
        if let Ok(len) = timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await {
            return buffer[..len.unwrap()].to_vec();
        }
    }
    panic!("no answer");
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !done() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn each_udp_client_has_a_connection_of_its_own_and_messages_pass_unchanged() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let clients = [client(&tunnel).await, client(&tunnel).await];
    let mut mapped = Vec::new();
    for (n, client) in clients.iter().enumerate() {
        client.send(&binding(n as u8)).await.unwrap();
        let answer = receive(client).await;
        let answer = Message::parse(&answer).unwrap();
        assert_eq!(answer.transaction_id(), TransactionId([n as u8; 12]));
        // What the server saw: not the client's address, and none that the tunnel made up.
        mapped.push(answer.xor_mapped_address().unwrap().unwrap());
        client.send(&[DATA, &[0; 3]].concat()).await.unwrap();
        assert_eq!(receive(client).await, DATA);
    }
    assert_ne!(mapped[0], mapped[1]);
    assert_eq!(server.accepted(), 2);
    assert_eq!(server.received(), [binding(0), DATA.into(), binding(1), DATA.into()], "without padding");
}

#[tokio::test]
async fn a_tcp_client_is_carried_with_padding_and_in_any_segments() {
    let server = FakeServer::start(Speaks::Twice, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let mut client = TcpStream::connect(tunnel.tcp).await.unwrap();
    let padded = [DATA, &[0; 3]].concat();
    for byte in [&binding(7), &padded[..], &binding(8)].concat() {
        client.write_all(&[byte]).await.unwrap();
        client.flush().await.unwrap();
    }
    // Twice the answer of 32 bytes, then the data.
    let mut answers = vec![0; 64 + 2 * padded.len()];
    timeout(PATIENCE, client.read_exact(&mut answers)).await.unwrap().unwrap();
    assert_eq!(Message::parse(&answers[..32]).unwrap().transaction_id(), TransactionId([7; 12]));
    assert_eq!(answers[64..], padded.repeat(2));
    until("all messages", || server.received() == [binding(7), DATA.to_vec(), binding(8)]).await;
    drop(client);
    until("the end of its connection", || server.open() == 0).await;
}

#[tokio::test]
async fn it_goes_through_tls_and_a_proxy_with_a_password() {
    let ca = FakeCa::new("tunnel");
    let server = FakeServer::start(Speaks::WebSocket, Some(ca.server(&["localhost"]))).await;
    let proxy = FakeProxy::start(Some("bWU6c2VjcmV0"), server.address.port()).await;
    let url = format!("wss://localhost:{}/turn", server.address.port()).parse().unwrap();
    let through: Proxy = proxy.url("me:secret@");
    let connector = Connector::new(url, Some(through), Some(Trust::file(&ca.file).unwrap())).unwrap();
    let tunnel = start(connector, limits(), pace()).await;
    let client = client(&tunnel).await;
    assert!(Message::parse(&ask(&client, &binding(1)).await).is_ok());
    assert_eq!(proxy.connected.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn after_a_break_the_next_datagram_makes_a_new_connection() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let client = client(&tunnel).await;
    ask(&client, &binding(1)).await;
    server.break_connections();
    sleep(Duration::from_millis(400)).await;
    assert_eq!(server.accepted(), 1, "nothing is made before there is something to carry");
    // Of one client, data may make it as well as a request.
    assert_eq!(ask(&client, DATA).await, DATA);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let address = server.address;
    let tunnel = start(to(address), limits(), pace()).await;
    let client = client(&tunnel).await;
    ask(&client, &binding(1)).await;
    drop(server);
    for n in 0..20 {
        client.send(&binding(n)).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    let server = FakeServer::start_at(address, Speaks::WebSocket, None).await;
    ask(&client, &binding(9)).await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn attempts_that_fail_are_made_less_and_less_often() {
    let server = FakeServer::start(Speaks::Hangs, None).await;
    let pace =
        Pace { first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(10), ..pace() };
    let tunnel = start(to(server.address), limits(), pace).await;
    let client = client(&tunnel).await;
    for n in 0..150 {
        client.send(&binding(n)).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    // At 0, then after 50 to 100, 100 to 200, 200 to 400 ms and so on.
    let attempts = server.accepted();
    assert!((2..=6).contains(&attempts), "{attempts} attempts in 1.5 s");
}

#[tokio::test]
async fn a_tcp_client_learns_of_a_break_by_the_end_of_its_connection() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let mut client = TcpStream::connect(tunnel.tcp).await.unwrap();
    client.write_all(&binding(1)).await.unwrap();
    assert!(client.read(&mut [0; 100]).await.unwrap() > 0);
    server.break_connections();
    let end = timeout(PATIENCE, client.read(&mut [0; 100])).await.expect("the end of the connection");
    assert_eq!(end.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_server_that_stalls_stops_no_client_and_gets_the_newest_media() {
    const MESSAGES: u32 = 20_000;
    let server = FakeServer::start(Speaks::Stalls, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let mut client = TcpStream::connect(tunnel.tcp).await.unwrap();
    client.write_all(&binding(1)).await.unwrap();
    client.read_exact(&mut [0; 32]).await.unwrap();
    let media = |number: u32| [&[0x40, 0, 0x05, 0][..], &number.to_be_bytes(), &[0; 1276]].concat();
    let start = std::time::Instant::now();
    for number in 1..=MESSAGES {
        client.write_all(&media(number)).await.unwrap();
    }
    client.write_all(&binding(2)).await.unwrap();
    let took = start.elapsed();
    until("the last request", || server.received().last().is_some_and(|last| *last == binding(2))).await;
    let received = server.received();
    assert_eq!(received[received.len() - 2], media(MESSAGES), "{took:?}");
    assert!(
        received.len() < MESSAGES as usize * 9 / 10,
        "{} of {MESSAGES}, written in {took:?}",
        received.len()
    );
}

#[tokio::test]
async fn there_are_no_more_clients_than_allowed_and_a_place_that_is_free_is_given_again() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let limits = Limits { clients: 2, ..limits() };
    let tunnel = start(to(server.address), limits, pace()).await;
    let first = client(&tunnel).await;
    ask(&first, &binding(1)).await;
    let mut second = TcpStream::connect(tunnel.tcp).await.unwrap();
    second.write_all(&binding(2)).await.unwrap();
    assert!(second.read(&mut [0; 100]).await.unwrap() > 0);

    let third = client(&tunnel).await;
    third.send(&binding(3)).await.unwrap();
    assert!(timeout(Duration::from_millis(300), third.recv(&mut [0; 100])).await.is_err());
    let mut fourth = TcpStream::connect(tunnel.tcp).await.unwrap();
    let end = timeout(PATIENCE, fourth.read(&mut [0; 100])).await.expect("turned away");
    assert_eq!((end.unwrap_or(0), server.accepted()), (0, 2));

    drop(second);
    ask(&third, &binding(3)).await;
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn an_idle_client_is_closed_and_may_come_again() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let limits = Limits { clients: 1, idle: Duration::from_millis(300) };
    let pace = Pace { linger: Duration::from_millis(100), ..pace() };
    let tunnel = start(to(server.address), limits, pace).await;
    let client = client(&tunnel).await;
    ask(&client, &binding(1)).await;
    until("the end of the idle connection", || server.open() == 0).await;
    ask(&client, &binding(2)).await;
    // So is a TCP client that says nothing.
    until("the end of the second", || server.open() == 0).await;
    sleep(Duration::from_millis(100)).await;
    let mut silent = TcpStream::connect(tunnel.tcp).await.unwrap();
    assert_eq!(timeout(PATIENCE, silent.read(&mut [0; 10])).await.expect("closed").unwrap_or(0), 0);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn the_connection_of_an_ended_allocation_does_not_stay() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let pace = Pace { linger: Duration::from_millis(200), ..pace() };
    let tunnel = start(to(server.address), Limits { idle: Duration::from_secs(600), ..limits() }, pace).await;
    let client = client(&tunnel).await;
    ask(&client, &binding(1)).await;
    // The fake sends back what it gets: the answer to a Refresh.
    let mut refreshed = Vec::new();
    let kind = MessageType::new(Method::REFRESH, Class::Success);
    Builder::new(&mut refreshed, kind, TransactionId([1; 12])).lifetime(Duration::ZERO);
    ask(&client, &refreshed).await;
    until("the end of the connection", || server.open() == 0).await;
}

#[tokio::test]
async fn a_server_without_a_sign_of_life_is_given_up() {
    // It accepts, upgrades nothing and says nothing after that.
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let pace = Pace { ping: Duration::from_secs(60), dead: Duration::from_millis(300), ..pace() };
    let tunnel = start(to(server.address), limits(), pace).await;
    let first = client(&tunnel).await;
    ask(&first, &binding(1)).await;
    until("the end of the silent connection", || server.open() == 0).await;
    // With pings it stays.
    let pace = Pace { ping: Duration::from_millis(50), ..pace };
    let tunnel = start(to(server.address), limits(), pace).await;
    let second = client(&tunnel).await;
    ask(&second, &binding(1)).await;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(server.open(), 1);
}

#[tokio::test]
async fn junk_makes_no_connection() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let client = client(&tunnel).await;
    for junk in [&b"OPTIONS sip:a SIP/2.0\r\n\r\n"[..], b"", b"\x16\x03\x01\0\0", DATA, &binding(1)[..19]] {
        client.send(junk).await.unwrap();
    }
    let mut over_tcp = TcpStream::connect(tunnel.tcp).await.unwrap();
    over_tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(timeout(PATIENCE, over_tcp.read(&mut [0; 10])).await.expect("closed").unwrap_or(0), 0);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn it_stops_in_order_and_soon() {
    let server = FakeServer::start(Speaks::WebSocket, None).await;
    let tunnel = start(to(server.address), limits(), pace()).await;
    let client = client(&tunnel).await;
    ask(&client, &binding(1)).await;
    tunnel.stop.send(()).unwrap();
    timeout(Duration::from_secs(3), tunnel.task).await.expect("it stops").unwrap();
    until("the end of all connections", || server.open() == 0).await;
}

#[test]
fn listeners_are_read_as_elsewhere() {
    for text in ["udp://127.0.0.1:3478", "tcp://[::1]:3478"] {
        assert_eq!(text.parse::<Local>().unwrap().to_string(), text);
    }
    for text in ["127.0.0.1:3478", "tls://127.0.0.1:3478", "udp://localhost:3478", "udp://127.0.0.1"] {
        assert!(text.parse::<Local>().unwrap_err().contains("write udp://ADDRESS:PORT"), "{text}");
    }
}
