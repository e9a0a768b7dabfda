//! How many clients a second of CPU time lets in: authenticated Allocate and ChannelBind, one of each.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::clients::{Answer, Ask, User, Users};
use super::lab::{Lab, Mode};
use super::process::{median, own_cpu_seconds};
use super::shard::Shard;
use super::wire::Clients;

/// Requests handled between two readings of the clock.
const BATCH: usize = 500;

/// The protocol core by itself, on one core. Medians of the rounds, of the thread's CPU time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct CoreRate {
    /// Who the clients are.
    pub users: Users,
    /// Allocations of others that stand while this is measured.
    pub standing: u32,
    /// Authenticated Allocate with ChannelBind a second.
    pub pairs_per_second: f64,
    /// Nanoseconds for an Allocate without credentials and its challenge.
    pub challenge: f64,
    /// Nanoseconds for an Allocate with credentials.
    pub allocate: f64,
    /// Nanoseconds for a ChannelBind.
    pub bind: f64,
    /// Nanoseconds for a Refresh.
    pub refresh: f64,
    /// Nanoseconds for a Refresh that ends the allocation.
    pub end: f64,
}

/// The release binary over UDP sockets.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Rate {
    /// How it relays.
    pub mode: Mode,
    /// Who the clients are.
    pub users: Users,
    /// Clients, each with one allocation and one channel.
    pub clients: u32,
    /// Authenticated Allocate with ChannelBind in a second of the shard's CPU time, what the kernel does for it included.
    pub pairs_per_cpu_second: f64,
    /// The same by the clock, where client and server share the machine.
    pub pairs_per_second: f64,
    /// Requests that were sent again for want of an answer.
    pub repeated: u64,
}

/// Measures the core with so many allocations standing.
pub fn core_rate(users: Users, standing: u32, rounds: usize) -> Result<CoreRate> {
    let clients = 20_000;
    let mut shard = Shard::new(standing + clients)?;
    let mut datagram = Vec::new();
    for n in 0..standing {
        shard.admit(n, &users.of(n), 1, &mut datagram)?;
    }
    let all: Vec<_> = (standing..standing + clients).map(|n| (n, users.of(n))).collect();
    let mut steps: [Vec<f64>; 5] = Default::default();
    // The first round is not counted: it makes the memory that the others use.
    for round in 0..=rounds {
        let times = step_times(&mut shard, &all, round as u32)?;
        ensure!(shard.allocations() == standing as usize, "allocations are left over");
        for (step, time) in steps.iter_mut().zip(times).filter(|_| round > 0) {
            step.push(time);
        }
    }
    let [challenge, allocate, bind, refresh, end] = steps.map(|times| median(times) * 1e9);
    let pairs_per_second = 1e9 / (allocate + bind);
    Ok(CoreRate { users, standing, pairs_per_second, challenge, allocate, bind, refresh, end })
}

/// Seconds for one request of each kind. Clients come in batches, each of which gets its challenges, then its allocations,
/// then its channels: as many as come in a fortieth of a second at 20,000 a second. When all are in, all refresh, and then
/// all end.
fn step_times(shard: &mut Shard, clients: &[(u32, User)], round: u32) -> Result<[f64; 5]> {
    let mut times = [0.0; 5];
    let mut datagrams: Vec<Vec<u8>> = vec![Vec::new(); BATCH];
    let mut nonces: Vec<Vec<Vec<u8>>> = vec![Vec::new(); clients.len().div_ceil(BATCH)];
    let coming: &[_] = &[(0, Ask::Allocate), (1, Ask::Allocate), (2, Ask::Bind(0))];
    for asks in [coming, &[(3, Ask::Refresh)], &[(4, Ask::End)]] {
        for (batch, nonces) in clients.chunks(BATCH).zip(&mut nonces) {
            for &(step, ask) in asks {
                for (i, (n, user)) in batch.iter().enumerate() {
                    let with = nonces.get(i).map(|nonce| (user, &nonce[..]));
                    ask.write(*n, round * 8 + step as u32, with, &mut datagrams[i]);
                }
                shard.tick();
                let before = own_cpu_seconds();
                for ((n, _), datagram) in batch.iter().zip(&datagrams) {
                    let answer = shard.handle(*n, datagram);
                    if step == 0 {
                        let nonce = Answer::read(answer).and_then(|a| a.nonce().map(<[u8]>::to_vec));
                        nonces.push(nonce.unwrap_or_default());
                    }
                }
                times[step] += own_cpu_seconds() - before;
            }
        }
        ensure!(asks.len() < 2 || shard.allocations() >= clients.len(), "clients were refused");
    }
    Ok(times.map(|time| time / clients.len() as f64))
}

/// Measures the release binary, with one shard: `clients` come, and go again, in each round.
pub fn rate(mode: Mode, users: Users, clients: u32, rounds: usize) -> Result<Rate> {
    let lab = Lab::start(mode, clients, 1)?;
    let mut them = Clients::new(&lab, users, clients);
    let (mut per_cpu_second, mut per_second) = (Vec::new(), Vec::new());
    // The first round is not counted: it has the challenges, and makes the memory that the others use.
    for round in 0..=rounds {
        let before = lab.shard_seconds()?;
        let took = them.all(0..clients, &[Ask::Allocate, Ask::Bind(0)])?;
        let cpu = lab.shard_seconds()? - before;
        if round > 0 {
            per_cpu_second.push(f64::from(clients) / cpu);
            per_second.push(f64::from(clients) / took.as_secs_f64());
        }
        them.all(0..clients, &[Ask::End])?;
        lab.settle();
    }
    Ok(Rate {
        mode,
        users,
        clients,
        pairs_per_cpu_second: median(per_cpu_second),
        pairs_per_second: median(per_second),
        repeated: them.repeated,
    })
}
