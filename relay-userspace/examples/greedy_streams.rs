//! What a client over UDP sees beside clients over streams that send all they can:
//! `cargo run --release -p turnpike --example greedy_streams [SECONDS]`.
//!
//! The server has one shard, on a CPU of its own. The others have another CPU, on which the greedy ones run only when the
//! client over UDP does not want to: so it waits for the server alone. It sends a Binding request, a packet to its peer and has one back
//! every five milliseconds.

#[allow(dead_code, reason = "shared with other measurements")]
mod common;

use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, PORT, Priority, Running, SERVER, Server, Wire, as_turnpike, channel_data};
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};

/// How many at once.
const NUMBERS: [usize; 4] = [1, 8, 64, 512];

/// Between two rounds of the client over UDP.
const PAUSE: Duration = Duration::from_millis(5);

/// After so long a packet is taken for lost.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if let Some(code) = as_turnpike() {
        return code;
    }
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["greedy", kind, number, certificate] => be_greedy(kind, number.parse().expect("N"), certificate),
        ["ask", seconds] => ask(Duration::from_secs(seconds.parse().expect("a number"))),
        ref others => measure(others.first().unwrap_or(&"5")),
    }
    ExitCode::SUCCESS
}

fn measure(seconds: &str) {
    common::assert_free();
    println!("                          request and answer        client to peer           peer to client");
    println!(
        "greedy clients             median    99 % longest   median    99 % longest   median    99 % longest  lost (ms)"
    );
    for (kind, what) in [
        ("strangers-tcp", "TCP, junk of four bytes"),
        ("strangers-tls", "TLS, junk of four bytes"),
        ("media-tcp", "TCP, media to a peer"),
        ("media-tls", "TLS, media to a peer"),
    ] {
        for number in [0].into_iter().chain(NUMBERS) {
            // None is the same whatever they would send.
            if number == 0 && kind != "strangers-tcp" {
                continue;
            }
            let server = Server::start(0);
            let certificate = server.certificate().display().to_string();
            let greedy = (number > 0).then(|| {
                Running::start(1, Priority::Idle, &["greedy", kind, &number.to_string(), &certificate])
            });
            // Their handshakes are not what is measured.
            thread::sleep(Duration::from_millis(1000 + 10 * number as u64));
            print!("{:<26}", if number == 0 { "none".into() } else { format!("{number} {what}") });
            io::stdout().flush().expect("a terminal");
            let before = server.process.cpu_time();
            let start = Instant::now();
            let this = env::current_exe().expect("the name of this program");
            let status = std::process::Command::new("taskset")
                .args(["--cpu-list", "1"])
                .arg(this)
                .args(["ask", seconds])
                .status();
            assert!(status.expect("taskset").success());
            let used = (server.process.cpu_time() - before).as_secs_f64() / start.elapsed().as_secs_f64();
            println!("   server {:.0} % busy", used * 100.0);
            drop(greedy);
        }
    }
}

/// The client over UDP, and its peer.
fn ask(time: Duration) {
    let mut client = Client::allocate(Wire::udp((SERVER, PORT).into()));
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    client.bind(peer.local_addr().expect("an address"));
    let Wire::Udp(socket) = client.wire else { unreachable!("it is of UDP") };
    for socket in [&socket, &peer] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }
    let mut binding = Vec::new();
    let request = MessageType::new(Method::BINDING, Class::Request);
    Builder::new(&mut binding, request, TransactionId([2; 12])).finish();
    let mut ways = [(); 3].map(|()| Vec::new());
    let mut lost = 0_u32;
    let start = Instant::now();
    while start.elapsed() < time {
        let exchanges = [
            exchange(&socket, &binding, None, &socket),
            exchange(&socket, &channel_data(172), None, &peer),
            exchange(&peer, &[7; 172], Some(client.relayed), &socket),
        ];
        for (way, exchange) in ways.iter_mut().zip(exchanges) {
            match exchange {
                Some(time) => way.push(time),
                None => lost += 1,
            }
        }
        thread::sleep(PAUSE);
    }
    for mut way in ways {
        way.sort();
        let at = |share: f64| {
            let index = ((way.len() as f64 * share) as usize).min(way.len().saturating_sub(1));
            way.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        print!("{:>9.2}{:>8.2}{:>8.2}", at(0.5), at(0.99), at(1.0));
    }
    print!("{lost:>6}");
    io::stdout().flush().expect("a terminal");
}

/// How long it takes from one socket to the other through the server; `None` when it is lost.
fn exchange(from: &UdpSocket, bytes: &[u8], to: Option<SocketAddr>, at: &UdpSocket) -> Option<Duration> {
    let mut buffer = [0; 512];
    // What was taken for lost before.
    at.set_nonblocking(true).expect("a socket");
    while at.recv(&mut buffer).is_ok() {}
    at.set_nonblocking(false).expect("a socket");
    let sent = Instant::now();
    match to {
        Some(to) => from.send_to(bytes, to),
        None => from.send(bytes),
    }
    .expect("the server is there");
    at.recv(&mut buffer).ok().map(|_| sent.elapsed())
}

/// Clients that send until somebody ends them.
fn be_greedy(kind: &str, number: usize, certificate: &str) {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let peer = peer.local_addr().expect("an address");
    let connect = || if kind.ends_with("tls") { Wire::tls(certificate) } else { Wire::tcp() };
    thread::scope(|scope| {
        for _ in 0..number {
            let (mut wire, junk) = if kind.starts_with("media") {
                let mut client = Client::allocate(connect());
                client.bind(peer);
                (client.wire, channel_data(0))
            } else {
                let mut wire = connect();
                let mut first = Vec::new();
                let indication = MessageType::new(Method::BINDING, Class::Indication);
                Builder::new(&mut first, indication, TransactionId([1; 12])).finish();
                wire.send(&first).expect("the server is there");
                (wire, channel_data(0))
            };
            let much = junk.repeat((64 << 10) / junk.len());
            scope.spawn(move || while wire.send(&much).is_ok() {});
        }
    });
}
