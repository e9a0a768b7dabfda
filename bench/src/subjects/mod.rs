//! What is measured: TURN servers, and three that do less and are the yardstick.
//!
//! Each has a lab of its own, so that all of them can be there at the same time and take turns. In a lab of namespaces the
//! process of a server is kept on [`RELAY_CPU`](crate::lab::RELAY_CPU), as are the threads that poll the relay's interfaces; the
//! CPU time of a subject is that of both.

pub mod af_xdp;
mod coturn;
mod floor;
mod forwarding;
mod process;
mod server;
mod turnpike;

use anyhow::{Context, Result};

use crate::figures::Flow;
use crate::lab::Lab;
use crate::traffic::Wire;

pub use af_xdp::AfXdp;
pub use coturn::{Coturn, OptionSet};
pub use floor::Floor;
pub use forwarding::Forwarding;
pub use server::{Server, user};
pub use turnpike::{DataPath, Turnpike};

/// Something that sends on what it is offered. It stops when it is dropped.
pub trait Subject: Send + Sync {
    /// What reports call it.
    fn name(&self) -> &str;

    /// Which version it is.
    fn version(&self) -> &str;

    /// The lab that it is in.
    fn lab(&self) -> &Lab;

    /// CPU time in seconds that it has taken since its start; `None` where it runs on another machine.
    fn cpu_time(&self) -> Option<f64>;

    /// The same, 0 where it isn't known.
    fn cpu_seconds(&self) -> f64 {
        self.cpu_time().unwrap_or(0.0)
    }

    /// What can be offered to it.
    fn flows(&self) -> &[Flow];

    /// How frames are made for it, and what must arrive.
    fn wire(&self) -> Wire;

    /// Keeps its flows from expiring; one that rests is woken for it, if it is time. To be called every minute, while no load is
    /// offered.
    fn keep_alive(&mut self) -> Result<()> {
        Ok(())
    }

    /// Stops what it has running on the CPU that others are measured on. What arrives for it meanwhile waits or is lost.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends its rest, and waits until it has nothing left to do.
    fn wake(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The version of the kernel, which is what the yardsticks are made of.
fn kernel() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    Ok(format!("Linux {}", release.trim()))
}
