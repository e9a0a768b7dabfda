//! What memory an allocation takes: the difference of what is resident before and after.

use anyhow::Result;
use serde::Serialize;

use super::clients::{Ask, Users};
use super::lab::{Lab, Mode};
use super::process::{Resident, resident};
use super::shard::Shard;
use super::wire::Clients;

/// The protocol core by itself.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct CoreMemory {
    /// Allocations, each with one channel.
    pub allocations: u32,
    /// Bytes for each.
    pub bytes: f64,
}

/// The release binary with so many allocations.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Memory {
    /// How it relays.
    pub mode: Mode,
    /// Allocations.
    pub allocations: u32,
    /// Channels of each, each to another peer. A channel has two bindings: its permission's is the other.
    pub channels: u32,
    /// Bindings in the tables.
    pub bindings: u64,
    /// All that became resident since the start.
    pub resident: Resident,
    /// Of it the process's own memory, in bytes an allocation.
    pub bytes: f64,
    /// Seconds that it took to make those that were not there at the step before.
    pub seconds: f64,
}

/// Fills a core up, step by step.
pub fn core_memory(users: Users, steps: &[u32]) -> Result<Vec<CoreMemory>> {
    let mut shard = Shard::new(steps.iter().copied().max().unwrap_or_default())?;
    let mut datagram = Vec::with_capacity(2048);
    let mut made = 0;
    let before = resident("self")?.anonymous;
    let mut figures = Vec::new();
    for &allocations in steps {
        for n in made..allocations {
            shard.admit(n, &users.of(n), 1, &mut datagram)?;
        }
        made = allocations;
        let taken = resident("self")?.anonymous.saturating_sub(before);
        figures.push(CoreMemory { allocations, bytes: taken as f64 / f64::from(allocations) });
    }
    Ok(figures)
}

/// Fills a server up, step by step, over sockets.
pub fn memory(mode: Mode, steps: &[u32], channels: u32) -> Result<Vec<Memory>> {
    let most = steps.iter().copied().max().unwrap_or_default();
    let lab = Lab::start(mode, most, 1)?;
    let mut clients = Clients::new(&lab, Users::TimeLimited, most);
    let asks: Vec<_> = std::iter::once(Ask::Allocate).chain((0..channels).map(Ask::Bind)).collect();
    let before = lab.resident()?;
    let mut made = 0;
    let mut figures = Vec::new();
    for &allocations in steps {
        let took = clients.all(made..allocations, &asks)?;
        made = allocations;
        lab.settle();
        let now = lab.resident()?;
        let grown = Resident {
            anonymous: now.anonymous.saturating_sub(before.anonymous),
            shared: now.shared.saturating_sub(before.shared),
        };
        figures.push(Memory {
            mode,
            allocations,
            channels,
            bindings: lab.bindings(),
            resident: grown,
            bytes: grown.anonymous as f64 / f64::from(allocations),
            seconds: took.as_secs_f64(),
        });
    }
    Ok(figures)
}
