//! Rounds: every subject has its turn in each, so that what the machine does beside falls on all of them alike.

use anyhow::{Context, Result, ensure};

use super::measure::{Case, Label, Measure, Pace, Sample, bursts, capacity, latency, window};
use super::plan::{Run, Work};
use super::results::{CaseResult, FigureResult, Point, RunResult, SubjectResult};
use super::statistics::Spread;
use super::subject::{Absent, Bench, Figure, Lineup, Rig, Role};
use crate::figures::Outcome;

/// How a run is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rounds that count; one more comes before them.
    pub rounds: u32,
    /// Fewer cases.
    pub quick: bool,
    /// How long things take.
    pub pace: Pace,
}

/// Who is told how far a run has come.
pub trait Progress {
    /// A run begins that has this many steps.
    fn begin(&self, run: &str, steps: u64);
    /// This is done now.
    fn now(&self, what: &str);
    /// A step is over: all subjects had their turn at a case in a round.
    fn over(&self);
}

/// Runs it.
///
/// # Errors
/// Where the lab cannot be made, or no subject gets through a case. A subject that fails is absent from what follows.
pub fn run(
    run: &Run,
    bench: &mut dyn Bench,
    options: &Options,
    progress: &dyn Progress,
) -> Result<RunResult> {
    let mut result =
        RunResult { name: run.name, about: run.about, cases: vec![], figures: vec![], absent: vec![] };
    match run.work {
        Work::Scale => {
            progress.begin(run.name, 1);
            let (figures, absent) = bench.scale(options.rounds, options.quick)?;
            let spread = |figure: &Figure| Spread::of(figure.values.iter().copied());
            result.figures =
                figures.into_iter().map(|figure| FigureResult { spread: spread(&figure), figure }).collect();
            result.absent = absent;
            progress.over();
        }
        Work::Cases(cases) => {
            let mut cases = cases(options.quick);
            for case in &mut cases {
                case.frame = case.frame.max(case.setup.headers(case.direction) + bench.least_data());
            }
            cases.dedup();
            cases.retain(|case| match bench.excuse(case) {
                None => true,
                Some(why) => {
                    result.absent.push(Absent { subject: case.title(), why });
                    false
                }
            });
            let groups: Vec<&[Case]> = cases.chunk_by(|a, b| a.setup == b.setup).collect();
            progress.begin(run.name, cases.len() as u64 * u64::from(options.rounds + 1));
            for group in groups {
                progress.now(&format!("{}: start the subjects", group[0].setup));
                let lineup = bench.lineup(&group[0].setup).with_context(|| group[0].setup.to_string())?;
                result.cases.extend(rounds(group, lineup, options, progress)?);
            }
        }
    }
    Ok(result)
}

/// A subject in its place, and what is known of it.
struct Seat {
    rig: Box<dyn Rig>,
    /// One for each case.
    records: Vec<Record>,
    failed: Option<Absent>,
}

/// What a subject did in a case so far.
#[derive(Clone, Default)]
struct Record {
    /// The highest rate without loss that was found last.
    capacity: Option<f64>,
    /// What each round came to, by load.
    points: Vec<(Label, bool, Vec<Option<Outcome>>)>,
}

/// All rounds of the cases of one setup.
fn rounds(
    cases: &[Case],
    lineup: Lineup,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<CaseResult>> {
    let seat = |rig| Seat { rig, records: vec![Record::default(); cases.len()], failed: None };
    let mut seats: Vec<Seat> = lineup.rigs.into_iter().map(seat).collect();
    for round in 0..=options.rounds {
        for (number, case) in cases.iter().enumerate() {
            // Another one goes first in each round, so that nobody always follows the same one.
            let count = seats.len();
            for place in 0..count {
                let at = (place + round as usize) % count;
                if seats[at].failed.is_some() {
                    continue;
                }
                let reference = reference(&seats, number);
                let seat = &mut seats[at];
                let name = &seat.rig.subject().name;
                progress.now(&format!("{}, round {round} of {}: {name}", case.setup, options.rounds));
                match awake(seat, |seat| turn(case, options, round, reference, seat, number)) {
                    Ok(samples) if round > 0 => seat.records[number].add(round, options.rounds, samples),
                    // The first round warms up, and shows where to search.
                    Ok(_) => {}
                    Err(error) => seat.fail(&error),
                }
                for seat in seats.iter_mut().filter(|seat| seat.failed.is_none()) {
                    if let Err(error) = seat.rig.keep_alive() {
                        seat.fail(&error);
                    }
                }
            }
            progress.over();
        }
    }
    let failures = || seats.iter().filter_map(|seat| seat.failed.clone());
    let absent: Vec<Absent> = lineup.absent.into_iter().chain(failures()).collect();
    // Where nobody could begin, the reasons are the result, and the runs after this one are not kept from theirs.
    ensure!(
        seats.iter().any(|seat| seat.failed.is_none()) || (seats.is_empty() && !absent.is_empty()),
        "{}: no subject got through: {}",
        cases[0].setup,
        absent
            .iter()
            .map(|absent| format!("{}: {}", absent.subject, absent.why))
            .collect::<Vec<_>>()
            .join("; ")
    );
    let result = |(number, case): (usize, &Case)| {
        let through = seats.iter().filter(|seat| seat.failed.is_none());
        let results = through.map(|seat| SubjectResult {
            subject: seat.rig.subject().clone(),
            points: seat.records[number]
                .points
                .iter()
                .map(|(label, at_least, rounds)| Point::new(*label, *at_least, rounds.clone()))
                .collect(),
        });
        CaseResult { case: *case, results: results.collect(), absent: absent.clone() }
    };
    Ok(cases.iter().enumerate().map(result).collect())
}

/// The capacity of the driver mode in this case: the floor's latency is wanted at the same rates.
fn reference(seats: &[Seat], case: usize) -> Option<f64> {
    let driver = seats.iter().find(|seat| seat.rig.subject().role == Role::Driver && seat.failed.is_none());
    driver?.records[case].capacity
}

/// Has a subject do something that rests before and after it.
fn awake<T>(seat: &mut Seat, f: impl FnOnce(&mut Seat) -> Result<T>) -> Result<T> {
    seat.rig.wake()?;
    let done = f(seat)?;
    seat.rig.rest()?;
    Ok(done)
}

/// A subject's turn.
fn turn(
    case: &Case,
    options: &Options,
    round: u32,
    reference: Option<f64>,
    seat: &mut Seat,
    number: usize,
) -> Result<Vec<Sample>> {
    let Seat { rig, records, .. } = seat;
    let record = &mut records[number];
    let searched = case.measure == Measure::Capacity || (case.measure == Measure::Latency && round == 0);
    if searched {
        let (found, samples) = capacity(case, &options.pace, rig.as_mut(), record.capacity)?;
        record.capacity = found.or(record.capacity);
        return Ok(samples);
    }
    match case.measure {
        Measure::Bursts => return bursts(case, rig.as_mut()),
        Measure::Window => return window(case, &options.pace, rig.as_mut()),
        Measure::Capacity | Measure::Latency => {}
    }
    let of = match rig.subject().role {
        Role::Floor => reference.or(record.capacity),
        _ => record.capacity,
    };
    latency(case, &options.pace, rig.as_mut(), of)
}

impl Seat {
    fn fail(&mut self, error: &anyhow::Error) {
        let subject = self.rig.subject().name.clone();
        self.failed = Some(Absent { subject, why: format!("{error:#}") });
        // It has no more turns, and may still be there and busy. Why it can't be stopped would be its second failure.
        let _ = self.rig.rest();
    }
}

impl Record {
    /// Adds what a round came to. A load that was not reached in a round has nothing for it.
    fn add(&mut self, round: u32, rounds: u32, samples: Vec<Sample>) {
        for Sample { label, outcome, at_least } in samples {
            let known = self.points.iter().position(|(known, ..)| *known == label);
            let at = known.unwrap_or_else(|| {
                self.points.push((label, false, vec![None; rounds as usize]));
                self.points.len() - 1
            });
            let (_, any_at_least, outcomes) = &mut self.points[at];
            *any_at_least |= at_least;
            outcomes[round as usize - 1] = Some(outcome);
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
