//! What `turnpike tunnel` carries in a second of its CPU time, over wss on the loopback:
//! `cargo run --release -p turnpike --example tunnel_throughput [SECONDS]`.
//!
//! The tunnel has a CPU of its own; the server, the clients and their peer share another. The clients are of UDP, each with an
//! allocation and a channel, and take turns with datagrams of 172 bytes, which is 20 ms of speech. No more are on the way than
//! the sockets' buffers hold: what is counted has arrived.

#[allow(dead_code, reason = "shared with other measurements")]
mod common;

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, Priority, Running, SERVER, Server, TLS_PORT, Wire, as_turnpike, channel_data};

/// Where the tunnel listens.
const TUNNEL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 90, 0, 2)), 3478);

/// Bytes of speech in a packet.
const LENGTH: u16 = 172;

/// Packets on the way at a time, of all clients: fewer than a socket's buffer holds.
const WINDOW: usize = 100;

fn main() -> ExitCode {
    if let Some(code) = as_turnpike() {
        return code;
    }
    let seconds = env::args().nth(1).map_or(5, |seconds| seconds.parse().expect("a number of seconds"));
    common::assert_free();
    let server = Server::start(0);
    let certificate = server.certificate().display().to_string();
    let to = format!("wss://{SERVER}:{TLS_PORT}/turn");
    let listen = [format!("udp://{TUNNEL}"), format!("tcp://{TUNNEL}")];
    let words = ["tunnel", "--to", &to, "--ca", &certificate, "--listen", &listen[0], "--listen", &listen[1]];
    let tunnel = Running::start(1, Priority::Usual, &[&words[..], &["--proxy", "none"]].concat());
    while TcpStream::connect(TUNNEL).is_err() {
        thread::sleep(Duration::from_millis(50));
    }
    println!("clients                      packets/s   CPU of the tunnel   packets a CPU-second   lost");
    for number in [1, 10] {
        for to_peer in [true, false] {
            measure(&tunnel, number, to_peer, Duration::from_secs(seconds));
        }
    }
    ExitCode::SUCCESS
}

fn measure(tunnel: &Running, number: usize, to_peer: bool, time: Duration) {
    let mut pairs: Vec<(Client, UdpSocket)> = (0..number)
        .map(|_| {
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let mut client = Client::allocate(Wire::udp(TUNNEL));
            client.bind(peer.local_addr().expect("an address"));
            for socket in [udp(&client), &peer] {
                socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            }
            (client, peer)
        })
        .collect();
    // What a warm-up brings in is not counted.
    exchange(&pairs, to_peer);
    let (before, start) = (tunnel.cpu_time(), Instant::now());
    let (mut sent, mut received) = (0, 0);
    while start.elapsed() < time {
        let (there, arrived) = exchange(&pairs, to_peer);
        (sent, received) = (sent + there, received + arrived);
    }
    let (wall, used) = (start.elapsed().as_secs_f64(), (tunnel.cpu_time() - before).as_secs_f64());
    let way = if to_peer { "to the peer" } else { "to the client" };
    println!(
        "{:<26}{:>12.0}{:>18.0} %{:>23.0}{:>7}",
        format!("{number}, {way}"),
        received as f64 / wall,
        used / wall * 100.0,
        received as f64 / used,
        sent - received
    );
    pairs.drain(..).for_each(|(client, _)| client.end());
}

/// Each sends its part of what may be on the way, and all of it is received: how many were sent, and how many came.
fn exchange(pairs: &[(Client, UdpSocket)], to_peer: bool) -> (u64, u64) {
    let (packet, data) = (channel_data(LENGTH), [7; LENGTH as usize]);
    let each = (WINDOW / pairs.len()).max(1);
    for (client, peer) in pairs {
        for _ in 0..each {
            let sent = match to_peer {
                true => udp(client).send(&packet),
                false => peer.send_to(&data, client.relayed),
            };
            sent.expect("room to send");
        }
    }
    let mut received = 0;
    let mut buffer = [0; 2048];
    for (client, peer) in pairs {
        let socket = if to_peer { peer } else { udp(client) };
        received += (0..each).take_while(|_| socket.recv(&mut buffer).is_ok()).count() as u64;
    }
    ((each * pairs.len()) as u64, received)
}

fn udp(client: &Client) -> &UdpSocket {
    let Wire::Udp(socket) = &client.wire else { unreachable!("it is of UDP") };
    socket
}
