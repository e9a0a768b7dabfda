//! The figures that are to be reached, as ratios within one run, and what they are here; and one beside them that is to be
//! known only.

use serde::Serialize;

use crate::figures::{Direction, Outcome};
use crate::runs::measure::{Label, Measure};
use crate::runs::results::{CaseResult, Point, RunResult, SubjectResult, rate};
use crate::runs::setup::{Family, Kind, direction_name, grouped};
use crate::runs::statistics::Spread;
use crate::runs::subject::{Figure, Role};

/// A figure to be reached, or to be known.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Aim {
    /// What it is.
    pub what: String,
    /// Where it was measured.
    pub case: String,
    /// What it is here; a ratio's rounds are those of both, one by one. `None` where it could not be told.
    pub value: Option<Spread>,
    /// Its unit.
    pub unit: Unit,
    /// What it is to be; `None` where it is to be known only.
    pub bound: Option<Bound>,
    /// Whether the median is; `None` where it could not be told, or there is nothing to be reached.
    pub reached: Option<bool>,
    /// What must be known to read it.
    pub note: String,
}

/// A unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// None.
    Ratio,
    /// Microseconds.
    Micros,
    /// A share of all.
    Share,
    /// So many.
    Count,
    /// Bytes.
    Bytes,
}

/// What a figure is to be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }
}

impl Aim {
    fn new(what: &str, case: String, value: Option<Spread>, unit: Unit, bound: Bound) -> Self {
        let reached = value.map(|value| bound.holds(value.median));
        Self { what: what.into(), case, value, unit, bound: Some(bound), reached, note: String::new() }
    }

    /// A ratio that nothing is asked of.
    fn to_be_known(what: &str, case: String, value: Option<Spread>) -> Self {
        let unit = Unit::Ratio;
        Self { what: what.into(), case, value, unit, bound: None, reached: None, note: String::new() }
    }

    fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// All that these runs say something about.
pub fn of(runs: &[RunResult]) -> Vec<Aim> {
    let run = |name: &str| runs.iter().find(|run| run.name == name);
    let mut aims = Vec::new();
    for case in run("capacity").into_iter().flat_map(|run| run.measured(Measure::Capacity)) {
        if case.case.train == 1 {
            aims.extend(floor(case));
            aims.extend(coturn(case));
            aims.extend(userspace(case));
        } else {
            aims.extend(userspace_in_trains(case));
        }
    }
    for case in run("latency").into_iter().flat_map(|run| run.measured(Measure::Latency)) {
        aims.extend(added_latency(case));
    }
    for case in run("bursts").into_iter().flat_map(|run| run.measured(Measure::Bursts)) {
        aims.extend(burst_loss(case, Role::Driver, Bound::AtMost(0.0)));
        aims.extend(burst_loss(case, Role::Userspace, Bound::Below(0.001)));
    }
    aims.extend(run("scale").into_iter().flat_map(scale));
    // The same question of all cases together.
    aims.sort_by_key(|aim| order(&aim.what));
    aims
}

const FLOOR: &str = "XDP in the driver / floor, packets per CPU-second";
const COTURN: &str = "XDP in the driver / best coturn, lossless rate";
const COTURN_BY_FLOOR: &str = "the same, less what a packet costs the floor in time";
const COTURN_BY_CPU: &str = "the same, by packets per CPU-second, where generator and sink do not count";
const USERSPACE: &str = "userspace / best coturn, packets per CPU-second";
const USERSPACE_RATE: &str = "userspace / best coturn, lossless rate";
const LATENCY: &str = "p99 latency that XDP in the driver adds at half of its capacity";
const BURST_DRIVER: &str = "loss of key frames, XDP in the driver";
const BURST_USERSPACE: &str = "loss of key frames, userspace";

fn order(what: &str) -> usize {
    const ORDER: [&str; 9] = [
        FLOOR,
        COTURN,
        COTURN_BY_FLOOR,
        COTURN_BY_CPU,
        USERSPACE,
        USERSPACE_RATE,
        LATENCY,
        BURST_DRIVER,
        BURST_USERSPACE,
    ];
    ORDER.iter().position(|known| *known == what).unwrap_or(ORDER.len())
}

fn floor(case: &CaseResult) -> Option<Aim> {
    let aim = match case.case.setup.flows {
        64 => 0.90,
        65_536 => 0.75,
        _ => return None,
    };
    let (driver, floor) = (lossless(case, Role::Driver)?, lossless(case, Role::Floor)?);
    let ratio = paired(driver, floor, |a, b| a.packets_per_cpu_second() / b.packets_per_cpu_second());
    Some(Aim::new(FLOOR, place(case), ratio, Unit::Ratio, Bound::AtLeast(aim)))
}

fn coturn(case: &CaseResult) -> Vec<Aim> {
    let Some(driver) = lossless(case, Role::Driver) else { return Vec::new() };
    let mut aims = Vec::new();
    if let Some((coturn, name)) = best_coturn(case, rate) {
        let note = match driver.at_least {
            true => format!("{name}; the generator made no more than XDP carried: at least this"),
            false => name,
        };
        let ratio = paired(driver, coturn, |a, b| rate(a) / rate(b));
        aims.push(Aim::new(COTURN, place(case), ratio, Unit::Ratio, Bound::AtLeast(10.0)).noting(note));
        if let Some(floor) = lossless(case, Role::Floor) {
            aims.push(less_the_floor(case, driver, coturn, floor));
        }
    }
    if let Some((coturn, name)) = best_coturn(case, Outcome::packets_per_cpu_second) {
        let ratio = paired(driver, coturn, |a, b| a.packets_per_cpu_second() / b.packets_per_cpu_second());
        aims.push(
            Aim::new(COTURN_BY_CPU, place(case), ratio, Unit::Ratio, Bound::AtLeast(20.0)).noting(name),
        );
    }
    aims
}

/// Time a packet at the best rate, less that of the floor. Where generator and relay work at the same time, on CPUs of their own,
/// this takes off too much or nothing at all; the ratio by CPU time is the one to trust.
fn less_the_floor(case: &CaseResult, driver: &Point, coturn: &Point, floor: &Point) -> Aim {
    let rounds = driver.rounds.iter().zip(&coturn.rounds).zip(&floor.rounds);
    let ratios: Vec<f64> = rounds
        .filter_map(|((driver, coturn), floor)| {
            let base = 1.0 / rate(floor.as_ref()?);
            Some((1.0 / rate(coturn.as_ref()?) - base) / (1.0 / rate(driver.as_ref()?) - base))
        })
        .collect();
    let told = ratios.iter().all(|ratio| ratio.is_finite() && *ratio > 0.0);
    let spread = if told { Spread::of(ratios) } else { None };
    let note = if told { "" } else { "in some round XDP was as fast as the floor: it cannot be told" };
    Aim::new(COTURN_BY_FLOOR, place(case), spread, Unit::Ratio, Bound::AtLeast(20.0)).noting(note)
}

fn userspace(case: &CaseResult) -> Vec<Aim> {
    let aim = match case.case.setup.flows {
        64 => 2.0,
        4_096 => 3.0,
        _ => return Vec::new(),
    };
    let Some(userspace) = lossless(case, Role::Userspace) else { return Vec::new() };
    let questions: [(&str, Figured); 2] =
        [(USERSPACE, Outcome::packets_per_cpu_second), (USERSPACE_RATE, rate)];
    let ask = |(what, figure): (&str, Figured)| {
        let (coturn, name) = best_coturn(case, figure)?;
        let ratio = paired(userspace, coturn, |a, b| figure(a) / figure(b));
        Some(Aim::new(what, place(case), ratio, Unit::Ratio, Bound::AtLeast(aim)).noting(name))
    };
    questions.into_iter().filter_map(ask).collect()
}

/// The aims are of flows in turns; what trains add to that is the kernel's merging.
fn userspace_in_trains(case: &CaseResult) -> Option<Aim> {
    let userspace = lossless(case, Role::Userspace)?;
    let (coturn, name) = best_coturn(case, Outcome::packets_per_cpu_second)?;
    let ratio = paired(userspace, coturn, |a, b| a.packets_per_cpu_second() / b.packets_per_cpu_second());
    Some(Aim::to_be_known(USERSPACE, place(case) + &case.case.in_trains(), ratio).noting(name))
}

fn added_latency(case: &CaseResult) -> Option<Aim> {
    let half = Label::Share(50);
    let driver = case.of(Role::Driver).next()?.point(half)?;
    let late = |outcome: &Outcome| outcome.latency.map_or(f64::NAN, |latency| latency.p99 as f64 / 1e3);
    let floor = case.of(Role::Floor).next().and_then(|floor| floor.point(half));
    let (value, note) = match floor {
        Some(floor) => (
            paired(driver, floor, |a, b| late(a) - late(b)),
            format!(
                "{} us, less the floor's at the same rate",
                median(driver.p99.map(|p99| p99.median / 1e3))
            ),
        ),
        None => (
            Spread::of(driver.rounds.iter().flatten().map(late)),
            "with that of generator and driver, as there is no floor to take off".to_owned(),
        ),
    };
    Some(Aim::new(LATENCY, place(case), value, Unit::Micros, Bound::Below(50.0)).noting(note))
}

fn burst_loss(case: &CaseResult, role: Role, bound: Bound) -> Option<Aim> {
    let point = case.of(role).next()?.points.first()?;
    let what = if role == Role::Driver { BURST_DRIVER } else { BURST_USERSPACE };
    let aim = Aim::new(what, place(case), point.loss, Unit::Share, bound);
    Some(aim.noting(format!("300 packets as a wire of 10 Gbit/s brings them, {}", point.label)))
}

fn scale(run: &RunResult) -> Vec<Aim> {
    let bound = |id: &str| match id {
        Figure::ALLOCATIONS_A_SECOND => Some((Unit::Count, Bound::AtLeast(20_000.0))),
        Figure::MEMORY_AN_ALLOCATION => Some((Unit::Bytes, Bound::AtMost(1_024.0))),
        Figure::ALLOCATIONS => Some((Unit::Count, Bound::AtLeast(200_000.0))),
        Figure::BINDINGS => Some((Unit::Count, Bound::AtLeast(1_000_000.0))),
        _ => None,
    };
    let turnpike = |role| matches!(role, Role::Driver | Role::Generic | Role::Userspace);
    let figures = run.figures.iter().filter(|result| turnpike(result.figure.subject.role));
    figures
        .filter_map(|result| {
            let (unit, bound) = bound(result.figure.id)?;
            let what = format!("{}, {}", result.figure.what, result.figure.unit);
            Some(Aim::new(&what, result.figure.subject.name.clone(), result.spread, unit, bound))
        })
        .collect()
}

/// What is compared.
type Figured = fn(&Outcome) -> f64;

/// The best lossless rate of the only subject of this role.
fn lossless(case: &CaseResult, role: Role) -> Option<&Point> {
    case.of(role).next()?.point(Label::Lossless)
}

/// The coturn with the largest median of a figure at its best lossless rate.
fn best_coturn(case: &CaseResult, figure: Figured) -> Option<(&Point, String)> {
    let of = |result: &SubjectResult| {
        let outcomes =
            result.point(Label::Lossless).into_iter().flat_map(|point| point.rounds.iter().flatten());
        Spread::of(outcomes.map(figure)).map_or(0.0, |spread| spread.median)
    };
    let best = case.of(Role::Coturn).max_by(|a, b| of(a).total_cmp(&of(b)))?;
    Some((best.point(Label::Lossless)?, best.subject.name.clone()))
}

/// A figure of two subjects in the same rounds.
fn paired(a: &Point, b: &Point, figure: impl Fn(&Outcome, &Outcome) -> f64) -> Option<Spread> {
    let rounds = a.rounds.iter().zip(&b.rounds);
    Spread::of(rounds.filter_map(|(a, b)| Some(figure(a.as_ref()?, b.as_ref()?))))
}

fn median(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.1}"))
}

/// What tells this case from the others of its run.
fn place(case: &CaseResult) -> String {
    let setup = &case.case.setup;
    let mut place = format!("{} flows", grouped(setup.flows.into()));
    if (setup.client, setup.peer, setup.kind) != (Family::V4, Family::V4, Kind::Channel) {
        place = setup.to_string();
    }
    if case.case.direction != Direction::RelayToRelay {
        place += ", ";
        place += direction_name(case.case.direction);
    }
    place
}

#[cfg(test)]
#[path = "aims_tests.rs"]
mod tests;
