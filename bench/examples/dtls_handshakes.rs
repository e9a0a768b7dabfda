//! What DTLS clients cost a server: CPU of a handshake, and memory of an association.
//!
//! `cargo run --release -p turnpike-bench --example dtls_handshakes -- 127.0.0.1:5349 PID [CLIENTS]`, beside a server on this host,
//! whose process is PID, that has no other clients. The clients come from many networks of the loopback, because of the limits by network.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use turnpike::dtls::{Call, ToDo};
use turnpike_bench::lab::process_seconds;
use turnpike_bench::scale::resident;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients of one network: fewer than may come at once.
const OF_NETWORK: usize = 200;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next();
    let server: SocketAddr = word().context("which server?")?.parse()?;
    let pid = word().context("which process?")?;
    let clients: usize = word().map_or(Ok(2000), |word| word.parse())?;
    let process = Pid::from_raw(pid.parse()?);
    let (memory, cpu, start) = (resident(&pid)?.anonymous, process_seconds(process), Instant::now());
    let calls = (0..clients).map(|number| connect(server, number)).collect::<Result<Vec<_>>>()?;
    let (took, used) = (start.elapsed(), process_seconds(process) - cpu);
    let grown = resident(&pid)?.anonymous.saturating_sub(memory);
    println!("{clients} handshakes, one after the other, in {:.2} s", took.as_secs_f64());
    println!("server: {:.0} us of CPU a handshake", used * 1e6 / clients as f64);
    println!("server: {:.1} KiB more memory an association", grown as f64 / 1024.0 / clients as f64);
    drop(calls);
    Ok(())
}

/// A client with its association.
fn connect(server: SocketAddr, number: usize) -> Result<(Call, UdpSocket)> {
    let network = 1 + number / OF_NETWORK;
    let from = Ipv4Addr::new(127, 100, u8::try_from(network).context("too many clients")?, 1);
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    let (mut call, mut buffer, mut connected) = (Call::new(PATIENCE)?, [0; 4096], false);
    loop {
        match call.poll() {
            ToDo::Send(datagram) => _ = socket.send(&datagram)?,
            ToDo::Connected => connected = true,
            ToDo::Wait(_) if connected => return Ok((call, socket)),
            ToDo::Wait(_) => {
                let length = socket.recv(&mut buffer).context("no answer")?;
                call.receive(&buffer[..length])?;
            }
            ToDo::Closed => bail!("the server ended it"),
            ToDo::Certificate(_) | ToDo::Heard(_) => {}
        }
    }
}
