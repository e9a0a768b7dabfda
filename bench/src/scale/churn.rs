//! How a full server answers while allocations come, are refreshed and go.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::clients::{Ask, Users};
use super::lab::{Lab, Mode};
use super::wire::{Clients, Done};

/// Channels that a client binds in the course of time.
const CHANNELS: u32 = 3;

/// Answers at a steady rate of requests. Times are from the first sending of a request to its answer, as the client sees
/// them, which shares the machine with the server.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Churn {
    /// Allocations at the beginning. As many requests end one as make one.
    pub standing: u32,
    /// Requests a second that were to be made.
    pub wanted_rate: f64,
    /// Requests a second that were answered.
    pub rate: f64,
    /// Share of a core that the shards took.
    pub cpu: f64,
    /// Requests answered.
    pub answered: u64,
    /// Of them, Allocate requests granted.
    pub allocated: u64,
    /// Of them, refused.
    pub refused: u64,
    /// Requests sent again because no answer came for half a second.
    pub repeated: u64,
    /// Microseconds: half of the answers took less.
    pub p50: f64,
    /// Microseconds: 99 of a hundred took less.
    pub p99: f64,
    /// Microseconds: 999 of a thousand took less.
    pub p999: f64,
}

/// Has `standing` clients with an allocation, and more come and go, for so long.
pub fn churn(mode: Mode, standing: u32, rate: f64, duration: Duration) -> Result<Churn> {
    let lab = Lab::start(mode, standing, 1)?;
    let mut clients = Clients::new(&lab, Users::TimeLimited, standing);
    clients.all(0..standing, &[Ask::Allocate, Ask::Bind(0)])?;
    clients.repeated = 0;
    lab.settle();

    let mut random = StdRng::seed_from_u64(1);
    let mut without = vec![false; standing as usize];
    let (mut took, mut done) = (Vec::new(), Vec::new());
    let mut figures = Churn { standing, wanted_rate: rate, ..Churn::default() };
    let (start, cpu) = (Instant::now(), lab.shard_seconds()?);
    let mut made = 0_u64;
    while start.elapsed() < duration {
        while (made as f64) < start.elapsed().as_secs_f64() * rate {
            made += 1;
            let n = random.random_range(0..standing);
            if !clients.is_busy(n) {
                let ask = match random.random_range(0..10) {
                    _ if without[n as usize] => Ask::Allocate,
                    0..2 => Ask::End,
                    2..6 => Ask::Refresh,
                    _ => Ask::Bind(random.random_range(0..CHANNELS)),
                };
                clients.ask(n, ask)?;
            }
        }
        lab.wait()?;
        clients.receive(&mut done)?;
        for Done { client, ask, refusal, took: time } in done.drain(..) {
            took.push(time.as_secs_f64() * 1e6);
            let granted = refusal.is_none();
            figures.refused += u64::from(!granted);
            match ask {
                Ask::End if granted => without[client as usize] = true,
                Ask::Allocate if granted => {
                    without[client as usize] = false;
                    figures.allocated += 1;
                }
                _ => {}
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let quantile = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    Ok(Churn {
        rate: took.len() as f64 / seconds,
        cpu: (lab.shard_seconds()? - cpu) / seconds,
        answered: took.len() as u64,
        repeated: clients.repeated,
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        ..figures
    })
}
