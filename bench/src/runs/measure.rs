//! What is done with a subject when it is its turn.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};

use super::search::{Search, together};
use super::setup::{Setup, direction_name};
use super::subject::Rig;
use crate::figures::{Direction, Load, Outcome};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The highest rate with hardly any loss, and what happens beyond it.
    Capacity,
    /// How late packets are at shares of the subject's own capacity.
    Latency,
    /// What is lost of key frames.
    Bursts,
    /// How many packets get through of clients that have only so many on their way.
    Window,
}

/// One line-up of subjects, one way through them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Case {
    /// What the lab is made for.
    pub setup: Setup,
    /// Which way the data goes.
    pub direction: Direction,
    /// Bytes of a frame as it is offered.
    pub frame: u16,
    /// Packets of a flow in succession; 1 where flows take turns.
    pub train: u32,
    /// What is measured.
    pub measure: Measure,
}

impl Case {
    /// What it is called where it is left out.
    pub fn title(&self) -> String {
        let Self { setup, direction, frame, .. } = self;
        format!("{setup}, {}, frames of {frame} bytes{}", direction_name(*direction), self.in_trains())
    }

    /// What reports say behind the rest of a case: nothing where flows take turns.
    pub fn in_trains(&self) -> String {
        if self.train == 1 { String::new() } else { format!(", trains of {}", self.train) }
    }
}

/// Which of the loads of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Label {
    /// The highest rate that lost less than 0.1 %.
    Lossless,
    /// As many packets as the generator makes.
    Flood,
    /// This share of the subject's capacity, in percent; of the driver mode's for the floor.
    Share(u8),
    /// As many packets as get through, a bounded number on their way.
    Window,
    /// Bursts, so many microseconds from one to the next.
    Every(u32),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lossless => f.write_str("lossless"),
            Self::Flood => f.write_str("flood"),
            Self::Window => f.write_str("a bounded window"),
            Self::Share(percent) => write!(f, "{percent} %"),
            Self::Every(micros) => write!(f, "a burst every {} ms", f64::from(*micros) / 1e3),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What one load of a turn came to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// Which load.
    pub label: Label,
    /// What came of it.
    pub outcome: Outcome,
    /// The generator made no more.
    pub at_least: bool,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// One slice of a search. Long enough that what a relay's queue holds is little of it, and short enough that a CPU is
    /// seldom away in it.
    pub slice: Duration,
    /// Slices of a latency at a rate; the one in the middle counts.
    pub latency_slices: u32,
    /// The search.
    pub search: Search,
}

impl Pace {
    /// What a report is made with.
    pub fn thorough() -> Self {
        Self { slice: Duration::from_millis(250), latency_slices: 5, search: Search::default() }
    }

    /// For a look: shorter, and less precise.
    pub fn quick() -> Self {
        let search = Search { precision: 1.15, ..Search::default() };
        Self { slice: Duration::from_millis(100), latency_slices: 3, search }
    }
}

/// Shares of the capacity at which latency is measured, in percent.
pub const SHARES: [u8; 6] = [10, 25, 50, 75, 90, 100];
/// Microseconds from one key frame to the next: each flow has one a second, and ten a second.
pub const GAPS: [u32; 2] = [10_000, 1_000];

/// The highest rate, found near `guess` if there is one. `None` beside the samples where there was no lossless rate.
///
/// # Errors
/// Those of the subject.
pub fn capacity(
    case: &Case,
    pace: &Pace,
    rig: &mut dyn Rig,
    guess: Option<f64>,
) -> Result<(Option<f64>, Vec<Sample>)> {
    let found = pace.search.highest(guess, |rate| rig.offer(&load(case, rate, pace.slice)))?;
    let mut samples = Vec::new();
    if let Some(outcome) = found.lossless {
        samples.push(Sample { label: Label::Lossless, outcome, at_least: found.at_least });
    }
    samples.push(Sample { label: Label::Flood, outcome: found.flood, at_least: false });
    let made = found.lossless.map(|outcome| outcome.sent as f64 / outcome.seconds);
    Ok((made, samples))
}

/// How late packets are at shares of `capacity`.
///
/// # Errors
/// Those of the subject, and where nothing was found that it carries without loss.
pub fn latency(case: &Case, pace: &Pace, rig: &mut dyn Rig, capacity: Option<f64>) -> Result<Vec<Sample>> {
    let capacity = capacity.context("no rate was found that it carries without loss")?;
    let at = |percent: u8| {
        let load = load(case, Some(capacity * f64::from(percent) / 100.0), pace.slice);
        let slices = (0..pace.latency_slices).map(|_| rig.offer(&load)).collect::<Result<Vec<_>>>()?;
        Ok(Sample { label: Label::Share(percent), outcome: together(&slices), at_least: false })
    };
    SHARES.into_iter().map(at).collect()
}

/// How many packets get through in as long as four slices: there is no rate to search for, as the generator waits for the relay.
///
/// # Errors
/// Those of the subject.
pub fn window(case: &Case, pace: &Pace, rig: &mut dyn Rig) -> Result<Vec<Sample>> {
    let outcome = rig.offer(&load(case, None, 4 * pace.slice))?;
    Ok(vec![Sample { label: Label::Window, outcome, at_least: false }])
}

/// How long a frame takes on a wire of 10 Gbit/s, with preamble, check sequence and gap: the packets of a burst cannot reach a
/// relay any faster there.
fn on_the_wire(frame: u16) -> Duration {
    const BESIDE: u64 = 8 + 4 + 12;
    Duration::from_nanos((u64::from(frame) + BESIDE) * 8 / 10)
}

/// What is lost when each flow has a train of packets, one flow after the other.
///
/// # Errors
/// Those of the subject.
pub fn bursts(case: &Case, rig: &mut dyn Rig) -> Result<Vec<Sample>> {
    let every = |micros: u32| {
        let gap = Duration::from_micros(micros.into());
        let rate = f64::from(case.train) / gap.as_secs_f64();
        let bursts =
            Load { spacing: on_the_wire(case.frame), ..load(case, Some(rate), gap * case.setup.flows) };
        let outcome = rig.offer(&bursts)?;
        Ok(Sample { label: Label::Every(micros), outcome, at_least: false })
    };
    GAPS.into_iter().map(every).collect()
}

fn load(case: &Case, rate: Option<f64>, duration: Duration) -> Load {
    Load {
        direction: case.direction,
        frame: case.frame,
        rate,
        burst: case.train,
        spacing: Duration::ZERO,
        duration,
    }
}
