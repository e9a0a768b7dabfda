//! The least that a process can do which relays by AF_XDP: each frame is copied to it, and goes back by the same socket with its MAC
//! addresses swapped. What [`Floor`](super::Floor) is to a relay in XDP.
//!
//! It is a process, measured and stopped like a server's: the binary of the bench once more, with a word that its help leaves out.

mod reflector;
mod ring;
mod socket;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use turnpike_tests::lab::Process;

use super::process::{command, rest, wait_until, wake};
use super::{Subject, kernel};
use crate::allocations::Plan;
use crate::figures::Flow;
use crate::lab::{Lab, process_seconds};
use crate::traffic::Wire;

pub use reflector::reflect;

/// What reports call it.
const NAME: &str = "AF_XDP reflector";

/// What the process is told on the command line, before the interface.
pub const WORD: &str = "af-xdp-reflector";

/// What it prints when it begins.
const READY: &str = "frames are sent back";

/// The process, and the program on the relay's interface that it brought there.
#[derive(Debug)]
pub struct AfXdp {
    process: Process,
    rests: bool,
    flows: Vec<Flow>,
    version: String,
    lab: Lab,
}

impl AfXdp {
    /// Starts it by the binary of the bench, `program`.
    pub fn start(lab: Lab, plan: &Plan, program: &Path) -> Result<Self> {
        ensure!(
            lab.has_one_nic(),
            "the AF_XDP reflector sends frames back where they came from: it is for labs with one card"
        );
        let flows = plan.without_a_server(&lab)?;
        let interface =
            *lab.relay_interfaces().first().context("the AF_XDP reflector needs a lab in namespaces")?;
        let mut process = Process::start(command(lab.relay()?, program)?.args([WORD, interface]));
        wait_until(&mut process, NAME, |process| process.output().contains(READY))?;
        Ok(Self { process, rests: false, flows, version: kernel()?, lab })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }
}

impl Subject for AfXdp {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn cpu_time(&self) -> Option<f64> {
        Some(process_seconds(self.pid()) + self.lab.polling_seconds())
    }

    fn flows(&self) -> &[Flow] {
        &self.flows
    }

    fn wire(&self) -> Wire {
        Wire::Echo
    }

    fn rest(&mut self) -> Result<()> {
        rest(self.pid())?;
        self.rests = true;
        Ok(())
    }

    fn wake(&mut self) -> Result<()> {
        if self.rests {
            wake(&mut self.process, NAME)?;
            self.rests = false;
        }
        Ok(())
    }
}
