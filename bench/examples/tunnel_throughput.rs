//! What `turnpike tunnel` carries in a second of its CPU time, over wss:
//! `cargo run --release -p turnpike-bench --example tunnel_throughput [SECONDS]`, as root, after `cargo xtask build`.
//!
//! The tunnel has a CPU; the server, the clients and their peers have the other one. The clients are of UDP, each with an
//! allocation and a channel, and take turns with datagrams of 172 bytes, which is 20 ms of speech. No more are on the way than
//! the sockets' buffers hold: what is counted has arrived.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use turnpike_bench::figures::Direction;
use turnpike_bench::lab::{GENERATOR_CPU, Lab, Place, pin, pin_process, process_seconds};
use turnpike_bench::runs::setup::Transport;
use turnpike_bench::streams::{Identity, NAME, StreamClients, listener};
use turnpike_bench::subjects::{Server, Subject, Turnpike, user};

/// Where the tunnel listens: on the clients' machine.
const TUNNEL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3478);

/// Bytes of speech in a packet.
const LENGTH: u16 = 172;

/// How long the tunnel may take to start.
const START: Duration = Duration::from_secs(10);

/// The numbers of the clients: who asks once more from the same address has an allocation there already.
const CLIENTS: [Range<u32>; 2] = [0..1, 1..11];

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |word| word.parse()).context("how many seconds?")?;
    let (turnpike, identity) = (Turnpike::built()?, Identity::new()?);
    let server = turnpike.start_for_streams(Lab::one_nic()?, &identity)?;
    pin_process(server.pid().context("the server is a process of this machine")?, GENERATOR_CPU)?;
    let Place::Namespace(here) = server.lab().generator() else { bail!("the lab is of namespaces") };
    let at = listener(server.lab(), Transport::Tls)?;
    here.show("/etc/hosts", &format!("{} {NAME}\n", at.ip()));
    let [certificate, _] = identity.files(here);
    let to = format!("wss://{NAME}:{}/turn", at.port());
    let listen = [format!("udp://{TUNNEL}"), format!("tcp://{TUNNEL}")];
    let words = ["--to", &to, "--ca", &certificate, "--listen", &listen[0], "--listen", &listen[1]];
    let tunnel = turnpike.tunnel(here, &[&words[..], &["--proxy", "none"]].concat())?;
    let begun = Instant::now();
    while here.enter(|| TcpStream::connect(TUNNEL)).is_err() {
        ensure!(begun.elapsed() < START, "the tunnel does not start:\n{}", tunnel.output());
        thread::sleep(Duration::from_millis(50));
    }
    println!("clients                      packets/s   CPU of the tunnel   packets a CPU-second   lost");
    for numbers in CLIENTS {
        here.enter(|| measure(&server, &identity, tunnel.pid(), numbers, Duration::from_secs(seconds)))?;
    }
    Ok(())
}

fn measure(
    server: &Server,
    identity: &Identity,
    tunnel: Pid,
    numbers: Range<u32>,
    time: Duration,
) -> Result<()> {
    pin(Pid::from_raw(0), GENERATOR_CPU)?;
    let count = numbers.len();
    let mut clients =
        StreamClients::make_at(TUNNEL, server.lab(), &user(), Transport::Udp, numbers, identity)?;
    for (direction, way) in [(Direction::ToPeer, "to the peer"), (Direction::ToClient, "to the client")] {
        let mut offer = |time| clients.offer(direction, LENGTH, time, &|| process_seconds(tunnel));
        // What a warm-up brings in is not counted.
        offer(Duration::from_millis(100))?;
        let outcome = offer(time)?;
        println!(
            "{:<26}{:>12.0}{:>18.0} %{:>23.0}{:>7}",
            format!("{count}, {way}"),
            outcome.arrived as f64 / outcome.seconds,
            outcome.cpu_seconds / outcome.seconds * 100.0,
            outcome.packets_per_cpu_second(),
            outcome.sent - outcome.arrived
        );
    }
    Ok(())
}
