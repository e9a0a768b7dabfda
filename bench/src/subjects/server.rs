//! A TURN server with the allocations that were made at it.

use anyhow::Result;
use nix::unistd::Pid;
use turnpike_tests::lab::Process;

use super::Subject;
use super::process::{rest, wake};
use crate::allocations::{Allocations, Plan, User};
use crate::figures::Flow;
use crate::lab::{Lab, process_seconds};
use crate::traffic::Wire;

/// The realm of the servers that the bench starts.
pub(super) const REALM: &str = "bench.test";

/// The first of the ports that they relay from.
pub(super) const FIRST_PORT: u16 = 16_384;

/// A running TURN server: one that the bench started, or one on another machine.
#[derive(Debug)]
pub struct Server {
    name: String,
    version: String,
    allocations: Option<Allocations>,
    process: Option<Process>,
    rests: bool,
    // The last to go: the others are in it.
    lab: Lab,
}

impl Server {
    /// Makes allocations at a server that somebody else runs, over real interfaces. They are ended when it is dropped.
    pub fn elsewhere(lab: Lab, name: &str, user: &User, plan: &Plan) -> Result<Self> {
        let allocations = Allocations::make(&lab, user, *plan)?;
        let version = "of another machine".to_owned();
        Ok(Self {
            name: name.to_owned(),
            version,
            allocations: Some(allocations),
            process: None,
            rests: false,
            lab,
        })
    }

    /// One that was just started, and has no clients yet.
    pub(super) fn started(lab: Lab, name: String, version: String, process: Process) -> Self {
        Self { name, version, allocations: None, process: Some(process), rests: false, lab }
    }

    /// Makes allocations at it.
    pub(super) fn admit(mut self, plan: &Plan) -> Result<Self> {
        self.allocations = Some(Allocations::make(&self.lab, &user(), *plan)?);
        Ok(self)
    }

    /// The allocations that were made.
    ///
    /// # Panics
    /// If clients are [somebody else's](crate::streams).
    pub fn allocations(&mut self) -> &mut Allocations {
        self.allocations.as_mut().expect("made with the server")
    }

    /// Refreshes allocations and bindings. A server at rest is woken for it.
    pub fn refresh(&mut self) -> Result<()> {
        self.awake(|server| server.allocations().refresh())
    }

    /// Does something with it that is awake meanwhile; after that it is as it was.
    pub fn awake(&mut self, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let rested = self.rests;
        self.wake()?;
        f(self)?;
        if rested { self.rest() } else { Ok(()) }
    }

    /// Its process; `None` for a server elsewhere.
    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(Process::pid)
    }

    /// All that its process printed; nothing for a server elsewhere.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}

/// The user of the servers that the bench starts.
pub fn user() -> User {
    User { name: "bench".to_owned(), password: "bench".to_owned() }
}

impl Subject for Server {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn cpu_time(&self) -> Option<f64> {
        let process = self.process.as_ref()?;
        Some(process_seconds(process.pid()) + self.lab.polling_seconds())
    }

    fn flows(&self) -> &[Flow] {
        self.allocations.as_ref().map_or(&[], Allocations::flows)
    }

    fn wire(&self) -> Wire {
        Wire::Turn
    }

    fn keep_alive(&mut self) -> Result<()> {
        let due = self.allocations.as_ref().is_some_and(Allocations::are_due);
        if due { self.refresh() } else { Ok(()) }
    }

    fn rest(&mut self) -> Result<()> {
        if let Some(process) = &self.process {
            rest(process.pid())?;
            self.rests = true;
        }
        Ok(())
    }

    fn wake(&mut self) -> Result<()> {
        if let Some(process) = self.process.as_mut().filter(|_| self.rests) {
            wake(process, &self.name)?;
            self.rests = false;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What the bench started ends with all that it holds; elsewhere the ports would be in use for an hour.
        if self.process.is_none()
            && let Some(Err(error)) = self.allocations.take().map(Allocations::end)
        {
            eprintln!("the allocations at {} were not ended: {error:#}", self.name);
        }
    }
}
