//! What a client over UDP sees beside clients over streams that send all they can:
//! `cargo run --release -p turnpike-bench --example greedy_streams [SECONDS]`, as root, after `cargo xtask build`.
//!
//! The server has one shard, on a CPU of its own. The others have another CPU, on which the greedy ones run only when the
//! client over UDP does not want to: so it waits for the server alone. It sends a Binding request, a packet to its peer and has one
//! back every five milliseconds. What is lost is waited for for a second.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Pid;
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_bench::lab::{Family, GENERATOR_CPU, Lab, pin, process_seconds};
use turnpike_bench::runs::setup::Transport;
use turnpike_bench::streams::{CHANNEL, Connection, Identity, StreamClients, listener};
use turnpike_bench::subjects::{Server, Subject, Turnpike, user};
use turnpike_bench::traffic::last_in_line;

/// How many at once.
const NUMBERS: [u32; 4] = [1, 8, 64, 512];

/// Between two rounds of the client over UDP.
const PAUSE: Duration = Duration::from_millis(5);

/// After so long a packet is taken for lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that a greedy client writes at once.
const MUCH: usize = 64 << 10;

/// Bytes of data of the client over UDP.
const LENGTH: usize = 172;

/// What a greedy client sends: ChannelData without data, on a channel or without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Junk,
    Media,
}

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |word| word.parse()).context("how many seconds?")?;
    let time = Duration::from_secs(seconds);
    println!("                          request and answer        client to peer           peer to client");
    println!(
        "greedy clients             median    99 % longest   median    99 % longest   median    99 % longest  lost (ms)"
    );
    let (turnpike, identity) = (Turnpike::built()?, Identity::new()?);
    let row = |name: &str, number, transport, what| {
        let server = turnpike.start_for_streams(Lab::one_nic()?, &identity)?;
        let figures =
            server.lab().generator().enter(|| row(&server, &identity, number, transport, what, time));
        // The other rows are as good as before.
        println!("{name:<26}{}", figures.unwrap_or_else(|error| format!("{error:#}")));
        anyhow::Ok(())
    };
    row("none", 0, Transport::Tcp, What::Junk)?;
    for (what, words) in [(What::Junk, "junk of four bytes"), (What::Media, "media to peers")] {
        for transport in [Transport::Tcp, Transport::Tls] {
            for number in NUMBERS {
                row(&format!("{number} {transport}, {words}"), number, transport, what)?;
            }
        }
    }
    Ok(())
}

/// The figures beside so many greedy clients.
fn row(
    server: &Server,
    identity: &Identity,
    number: u32,
    transport: Transport,
    what: What,
    time: Duration,
) -> Result<String> {
    pin(Pid::from_raw(0), GENERATOR_CPU)?;
    let pid = server.pid().context("the server is a process of this machine")?;
    let udp = listener(server.lab(), Transport::Udp)?;
    let pair = StreamClients::make_at(udp, server.lab(), &user(), Transport::Udp, 0..1, identity)?;
    let (mut client, peer) = pair.into_pairs().pop().context("a client")?;
    client.wait(true)?;
    let greedy = greedy(server, identity, number, transport, what)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for mut connection in greedy {
            let over = &over;
            scope.spawn(move || {
                last_in_line()?;
                let much = [&CHANNEL.to_be_bytes()[..], &[0, 0]].concat().repeat(MUCH / 4);
                while !over.load(Ordering::Relaxed) {
                    connection.send(&much)?;
                }
                anyhow::Ok(())
            });
        }
        // They fill their buffers.
        thread::sleep(Duration::from_millis(500));
        let (before, start) = (process_seconds(pid), Instant::now());
        let asked = ask(&mut client, &peer, time);
        let busy = (process_seconds(pid) - before) / start.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        Ok(format!("{}   server {:.0} % busy", asked?, busy * 100.0))
    })
}

/// Connections of clients that want all that there is.
fn greedy(
    server: &Server,
    identity: &Identity,
    number: u32,
    transport: Transport,
    what: What,
) -> Result<Vec<Connection>> {
    let (at, lab) = (listener(server.lab(), transport)?, server.lab());
    // The first is the client over UDP.
    let numbers = 1..1 + number;
    if what == What::Media {
        let made = StreamClients::make_at(at, lab, &user(), transport, numbers, identity)?;
        return Ok(made.into_pairs().into_iter().map(|(connection, _)| connection).collect());
    }
    let stranger = |number| {
        let mut connection =
            Connection::open(lab.addresses().client(Family::V4, number)?, at, transport, identity)?;
        connection.send(&binding(Class::Indication, 1))?;
        Ok(connection)
    };
    numbers.map(stranger).collect()
}

/// The client over UDP, and its peer.
fn ask(client: &mut Connection, peer: &UdpSocket, time: Duration) -> Result<String> {
    peer.set_nonblocking(false)?;
    peer.set_read_timeout(Some(PATIENCE))?;
    client.wait_at_most(PATIENCE)?;
    let data = [7; LENGTH];
    let message = [&CHANNEL.to_be_bytes()[..], &(LENGTH as u16).to_be_bytes(), &data].concat();
    let mut ways = [(); 3].map(|()| Vec::new());
    let (mut lost, mut requests, start) = (0_u32, 1_u8, Instant::now());
    while start.elapsed() < time {
        requests = requests.wrapping_add(1);
        let request = binding(Class::Request, requests);
        let asked = Instant::now();
        match client.exchange(&request, TransactionId([requests; 12])) {
            Ok(_) => ways[0].push(asked.elapsed()),
            Err(_) => lost += 1,
        }
        let sent = Instant::now();
        client.send(&message)?;
        match peer.recv(&mut [0; 512]) {
            Ok(_) => ways[1].push(sent.elapsed()),
            Err(_) => lost += 1,
        }
        let sent = Instant::now();
        peer.send(&data)?;
        match arrives(client)? {
            true => ways[2].push(sent.elapsed()),
            false => lost += 1,
        }
        thread::sleep(PAUSE);
    }
    let mut out = String::new();
    for mut way in ways {
        if way.is_empty() {
            out += &format!("{:>8}{:>8}{:>8} ", "-", "-", "-");
            continue;
        }
        way.sort();
        for share in [0.5, 0.99, 1.0] {
            let index = ((way.len() as f64 * share) as usize).min(way.len() - 1);
            out += &format!("{:>8.2}", way[index].as_secs_f64() * 1e3);
        }
        out.push(' ');
    }
    Ok(format!("{out}{lost:>5}"))
}

/// Whether a peer's data comes to the client.
fn arrives(client: &mut Connection) -> Result<bool> {
    loop {
        while let Some(at) = client.next_message()? {
            if client.bytes()[at].starts_with(&CHANNEL.to_be_bytes()) {
                return Ok(true);
            }
        }
        if !client.fill()? {
            return Ok(false);
        }
    }
}

/// A Binding request or indication.
fn binding(class: Class, number: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    Builder::new(&mut bytes, MessageType::new(Method::BINDING, class), TransactionId([number; 12])).finish();
    bytes
}
