//! Who is measured, as the runs see them: the lab, its subjects and the traffic stand behind two traits.

use anyhow::Result;
use serde::Serialize;

use super::measure::Case;
use super::setup::Setup;
use crate::figures::{Load, Outcome};

/// What a subject stands for in the ratios of the report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A program that only swaps MAC addresses: what driver, generator and sink cost.
    Floor,
    /// A process that only swaps MAC addresses, by AF_XDP: what any relay by AF_XDP costs at the least.
    AfXdp,
    /// The kernel's IP forwarding.
    Forwarding,
    /// Turnpike with its XDP program in the driver.
    Driver,
    /// Turnpike with its XDP program in generic mode.
    Generic,
    /// Turnpike without XDP.
    Userspace,
    /// A coturn.
    Coturn,
    /// A server that is there already, behind real interfaces.
    External,
}

/// A subject by name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct Subject {
    /// What it is called in tables; no two of a report have the same.
    pub name: String,
    /// What it stands for.
    pub role: Role,
    /// Which version of it, with the options that matter; empty where the kernel's version says it.
    pub version: String,
}

/// A subject that was not measured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Absent {
    /// Its name.
    pub subject: String,
    /// Why not, and what to do about it.
    pub why: String,
}

/// A subject in its lab, with its flows made and a generator before it. It rests until it is woken.
pub trait Rig {
    /// Who it is.
    fn subject(&self) -> &Subject;

    /// Offers the load, waits until what is under way has arrived, and tells what came of it.
    ///
    /// # Errors
    /// Where the subject or the traffic failed; the subject is then left out of the rest of this setup.
    fn offer(&mut self, load: &Load) -> Result<Outcome>;

    /// Keeps its flows from expiring, and leaves it as it was, awake or at rest. Called between turns, of whomever they were; mostly there is nothing to do yet.
    ///
    /// # Errors
    /// Where the subject no longer answers.
    fn keep_alive(&mut self) -> Result<()> {
        Ok(())
    }

    /// Has it do nothing until it is woken: it shares a CPU with those that have their turn.
    ///
    /// # Errors
    /// Where it cannot be stopped.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes it ready for its turn.
    ///
    /// # Errors
    /// Where it has ended.
    fn wake(&mut self) -> Result<()> {
        Ok(())
    }
}

/// All subjects of a setup, side by side, at rest but for the one whose turn it is.
#[derive(Default)]
pub struct Lineup {
    /// Those that can do it.
    pub rigs: Vec<Box<dyn Rig>>,
    /// Those that can't.
    pub absent: Vec<Absent>,
}

/// A figure of the control plane or of memory.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What it is, for programs: one of the constants of this type, or another word of this kind.
    pub id: &'static str,
    /// What it is, for people.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// Whose it is.
    pub subject: Subject,
    /// One value a round, the discarded one left out.
    pub values: Vec<f64>,
}

impl Figure {
    /// Authenticated Allocate with ChannelBind, a second of a core.
    pub const ALLOCATIONS_A_SECOND: &'static str = "allocations-a-second";
    /// Bytes of userspace memory an allocation.
    pub const MEMORY_AN_ALLOCATION: &'static str = "memory-an-allocation";
    /// Allocations held at once.
    pub const ALLOCATIONS: &'static str = "allocations";
    /// Bindings held at once.
    pub const BINDINGS: &'static str = "bindings";
}

/// Where subjects are measured: a lab in namespaces, or real interfaces.
pub trait Bench {
    /// Starts every subject that can do this setup and makes its flows. What it returns is dropped before the next is asked for.
    ///
    /// # Errors
    /// Where the lab itself cannot be made. A subject that does not start is absent, and no error.
    fn lineup(&mut self, setup: &Setup) -> Result<Lineup>;

    /// Why nobody can be offered this case here, if so. It is left out.
    fn excuse(&self, _: &Case) -> Option<String> {
        None
    }

    /// Bytes of application data that the generator needs in every packet, for its number, time and check.
    fn least_data(&self) -> u16;

    /// The drivers of the interfaces that the relay is measured on.
    fn drivers(&self) -> Vec<String>;

    /// Measures the control plane and memory; `quick` leaves out what takes minutes.
    ///
    /// # Errors
    /// Where the lab cannot be made.
    fn scale(&mut self, rounds: u32, quick: bool) -> Result<(Vec<Figure>, Vec<Absent>)>;
}
