//! What the rounds of a run came to.

use serde::Serialize;

use super::measure::{Case, Label, Measure};
use super::statistics::Spread;
use super::subject::{Absent, Figure, Role, Subject};
use crate::figures::{Latency, Outcome};

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct RunResult {
    /// Its name.
    pub name: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// What was offered, and what came of it.
    pub cases: Vec<CaseResult>,
    /// Figures of the control plane and of memory.
    pub figures: Vec<FigureResult>,
    /// Who has no such figures, and the cases that were left out.
    pub absent: Vec<Absent>,
}

/// What a case came to.
#[derive(Debug, Serialize)]
pub struct CaseResult {
    /// Which case; its frame is the size that was offered.
    #[serde(flatten)]
    pub case: Case,
    /// One for each subject that got through.
    pub results: Vec<SubjectResult>,
    /// The others.
    pub absent: Vec<Absent>,
}

/// What a subject did in a case.
#[derive(Debug, Serialize)]
pub struct SubjectResult {
    /// Who.
    pub subject: Subject,
    /// One for each load.
    pub points: Vec<Point>,
}

/// What one load came to.
#[derive(Debug, Serialize)]
pub struct Point {
    /// Which load.
    pub label: Label,
    /// In some round the generator made no more: the relay may be able to carry more.
    pub at_least: bool,
    /// Packets a second that arrived.
    pub rate: Option<Spread>,
    /// Packets that arrived in a second of the relay's CPU time.
    pub packets_per_cpu_second: Option<Spread>,
    /// Share of the packets that did not arrive.
    pub loss: Option<Spread>,
    /// Nanoseconds, half of the packets were faster.
    pub p50: Option<Spread>,
    /// Nanoseconds, 99 of a hundred were.
    pub p99: Option<Spread>,
    /// Nanoseconds, 999 of a thousand were.
    pub p999: Option<Spread>,
    /// Packets of all rounds that arrived after a later one of their flow.
    pub reordered: u64,
    /// Packets of all rounds that arrived with other addresses, lengths or bytes than they should have.
    pub corrupt: u64,
    /// What each round came to; `null` where no rate passed.
    pub rounds: Vec<Option<Outcome>>,
}

/// A figure with its spread.
#[derive(Debug, Serialize)]
pub struct FigureResult {
    /// What it is, and the value of each round.
    #[serde(flatten)]
    pub figure: Figure,
    /// What the rounds say together.
    pub spread: Option<Spread>,
}

impl Point {
    /// Of what each round came to.
    pub fn new(label: Label, at_least: bool, rounds: Vec<Option<Outcome>>) -> Self {
        let outcomes: Vec<Outcome> = rounds.iter().flatten().copied().collect();
        let spread = |of: &dyn Fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(of));
        let late = |of: fn(Latency) -> u64| {
            Spread::of(
                outcomes.iter().filter_map(|outcome| outcome.latency).map(|latency| of(latency) as f64),
            )
        };
        Self {
            label,
            at_least,
            rate: spread(&rate),
            packets_per_cpu_second: spread(&Outcome::packets_per_cpu_second),
            loss: spread(&Outcome::loss),
            p50: late(|latency| latency.p50),
            p99: late(|latency| latency.p99),
            p999: late(|latency| latency.p999),
            reordered: outcomes.iter().map(|outcome| outcome.reordered).sum(),
            corrupt: outcomes.iter().map(|outcome| outcome.corrupt).sum(),
            rounds,
        }
    }
}

/// Packets a second that arrived.
pub fn rate(outcome: &Outcome) -> f64 {
    outcome.arrived as f64 / outcome.seconds
}

impl SubjectResult {
    /// What this load came to.
    pub fn point(&self, label: Label) -> Option<&Point> {
        self.points.iter().find(|point| point.label == label)
    }
}

impl CaseResult {
    /// The subjects of a role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &SubjectResult> {
        self.results.iter().filter(move |result| result.subject.role == role)
    }
}

impl RunResult {
    /// The cases of a measure.
    pub fn measured(&self, measure: Measure) -> impl Iterator<Item = &CaseResult> {
        self.cases.iter().filter(move |case| case.case.measure == measure)
    }
}
