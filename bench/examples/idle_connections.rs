//! What idle clients over streams cost the server in memory: `cargo run --release -p turnpike-bench --example idle_connections
//! [NUMBER]`, as root, after `cargo xtask build`.
//!
//! A server for each transport, in a lab of its own; each of its clients has an allocation with a channel and then says nothing. What
//! the process's own memory grew by, divided by their number, when all are made and once it has looked after all.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use turnpike_bench::lab::Lab;
use turnpike_bench::runs::setup::Transport;
use turnpike_bench::scale::resident;
use turnpike_bench::streams::{Identity, StreamClients};
use turnpike_bench::subjects::{Server, Subject, Turnpike, user};

/// Every connection is looked after once a minute, when it gives back what it does not need.
const LOOKED_AFTER: Duration = Duration::from_secs(70);

fn main() -> Result<()> {
    let number: u32 = std::env::args().nth(1).map_or(Ok(2_000), |word| word.parse()).context("how many?")?;
    ensure!(number > 0, "no connections cost nothing");
    let (turnpike, identity) = (Turnpike::built()?, Identity::new()?);
    let mut standing = Vec::new();
    for transport in [Transport::Tcp, Transport::Tls, Transport::WebSocket] {
        let server = turnpike.start_for_streams(Lab::one_nic()?, &identity)?;
        let before = memory(&server)?;
        let make = || StreamClients::make(server.lab(), &user(), transport, number, &identity);
        let clients = server.lab().generator().enter(make)?;
        let made = memory(&server)?;
        standing.push((transport, before, made, clients, server));
    }
    thread::sleep(LOOKED_AFTER);
    for (transport, before, made, _clients, server) in &standing {
        let each = |bytes: u64| bytes.saturating_sub(*before) / u64::from(number);
        let idle = memory(server)?;
        println!("{transport:<9} {number} connections: {} bytes each, idle {}", each(*made), each(idle));
    }
    Ok(())
}

/// Memory of the server's process that is its own, in bytes.
fn memory(server: &Server) -> Result<u64> {
    let pid = server.pid().context("the server is a process of this machine")?;
    Ok(resident(&pid.to_string())?.anonymous)
}
