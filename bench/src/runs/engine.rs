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
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::figures::Direction;
    use crate::runs::fake::{FakeBench, Relay};
    use crate::runs::plan::named;
    use crate::runs::setup::Setup;

    /// Remembers whose turn it was.
    #[derive(Default)]
    struct Turns(RefCell<Vec<String>>);

    impl Progress for Turns {
        fn begin(&self, _: &str, _: u64) {}

        fn now(&self, what: &str) {
            if what.contains(" round ") {
                self.0.borrow_mut().push(what.rsplit(": ").next().unwrap_or_default().into());
            }
        }

        fn over(&self) {}
    }

    fn options(rounds: u32) -> Options {
        Options { rounds, quick: false, pace: Pace::thorough() }
    }

    fn run_named(name: &str, bench: &mut FakeBench, rounds: u32) -> (Result<RunResult>, Vec<String>) {
        let turns = Turns::default();
        let named = named(&[name.into()]).expect("it is there");
        let result = run(&named[0], bench, &options(rounds), &turns);
        (result, turns.0.into_inner())
    }

    fn three() -> FakeBench {
        FakeBench::default()
            .with("a", Role::Floor, Relay { capacity: 3e6, ..Relay::default() })
            .with("b", Role::Driver, Relay { capacity: 2e6, ..Relay::default() })
            .with("c", Role::Coturn, Relay { capacity: 1e5, ..Relay::default() })
    }

    #[test]
    fn subjects_take_turns_within_a_round_and_another_is_first_in_each() {
        let (result, turns) = run_named("nics", &mut three(), 2);
        result.expect("a result");
        // Two directions to a round; one round of warming up and two that count.
        let first: Vec<&str> = turns[..18].iter().map(String::as_str).collect();
        assert_eq!(
            first,
            ["a", "b", "c", "a", "b", "c", "b", "c", "a", "b", "c", "a", "c", "a", "b", "c", "a", "b"]
        );
    }

    #[test]
    fn the_first_round_does_not_count() {
        let (result, _) = run_named("nics", &mut three(), 3);
        let result = result.expect("a result");
        for case in &result.cases {
            for subject in &case.results {
                assert!(subject.points.iter().all(|point| point.rounds.len() == 3));
                assert!(subject.points.iter().all(|point| point.rounds.iter().all(Option::is_some)));
            }
        }
    }

    #[test]
    fn each_setup_has_one_lineup() {
        let mut bench = three();
        run_named("nics", &mut bench, 1).0.expect("a result");
        assert_eq!(bench.setups, [Setup::channels(64), Setup { nics: 2, ..Setup::channels(64) }]);
    }

    #[test]
    fn capacities_are_those_of_the_subjects() {
        let (result, _) = run_named("capacity", &mut three(), 1);
        let result = result.expect("a result");
        assert_eq!(result.cases.len(), 10, "three numbers of flows in turns, two in trains, both ways");
        let slower = 1.0 + 64f64.log2() / 30.0;
        for (name, capacity) in [("b", 2e6 / slower), ("c", 1e5 / slower)] {
            let found = result.cases[0].results.iter().find(|result| result.subject.name == name);
            let point = found.and_then(|found| found.point(Label::Lossless)).expect("a rate that passes");
            let rate = point.rate.expect("a round").median;
            assert!((capacity * 0.95..=capacity).contains(&rate), "{name}: {rate} of {capacity}");
            assert!(!point.at_least);
        }
    }

    #[test]
    fn a_subject_that_fails_is_absent_and_the_others_go_on() {
        let (result, _) = run_named("nics", &mut three().failing("c", 10), 2);
        let case = &result.expect("a result").cases[0];
        let names: Vec<&str> = case.results.iter().map(|result| result.subject.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(case.absent, [Absent { subject: "c".into(), why: "c is gone".into() }]);
    }

    #[test]
    fn flows_are_kept_alive_while_others_have_their_turn() {
        let mut bench = three().expiring("c");
        let case = &run_named("nics", &mut bench, 1).0.expect("a result").cases[0];
        let why: Vec<&str> = case.absent.iter().map(|absent| &absent.why[..]).collect();
        assert_eq!(why, ["the flows of c expired"]);
    }

    #[test]
    fn where_nobody_can_begin_the_reasons_are_the_result() {
        let mut bench = FakeBench::default();
        assert!(run_named("nics", &mut bench, 1).0.is_err(), "nobody and no reason");
        bench.absent.push(Absent { subject: "a".into(), why: "it has one card".into() });
        let case = &run_named("nics", &mut bench, 1).0.expect("a result").cases[0];
        assert_eq!((case.results.len(), &case.absent), (0, &bench.absent));
    }

    #[test]
    fn where_no_subject_gets_through_it_says_why() {
        let (result, _) = run_named("nics", &mut three().failing("a", 0).failing("b", 0).failing("c", 0), 1);
        let error = format!("{:#}", result.expect_err("nobody is left"));
        assert!(error.contains("a: a is gone; b: b is gone"), "{error}");
    }

    #[test]
    fn latency_is_measured_at_shares_of_the_own_capacity_and_the_floors_at_the_drivers() {
        let (result, _) = run_named("latency", &mut three(), 2);
        let result = result.expect("a result");
        let case = &result.cases[0];
        let half = |name: &str| {
            let found = case.results.iter().find(|result| result.subject.name == name).expect("it is there");
            found.point(Label::Share(50)).and_then(|point| point.rate).expect("a rate").median
        };
        assert!((half("a") / half("b") - 1.0).abs() < 0.01, "{} {}", half("a"), half("b"));
        assert!(half("c") < 1e5);
        assert!(case.results[0].points.iter().all(|point| point.p99.is_some()));
    }

    #[test]
    fn a_subject_that_never_keeps_everything_has_no_latency() {
        let bench = three().with("leaky", Role::Generic, Relay { away: Some((1, 0.1)), ..Relay::default() });
        let mut bench = bench;
        let result = run_named("latency", &mut bench, 1).0.expect("a result");
        let absent = &result.cases[0].absent[0];
        assert_eq!(absent.subject, "leaky");
        assert!(absent.why.contains("no rate was found"), "{}", absent.why);
    }

    #[test]
    fn bursts_that_a_queue_has_no_room_for_are_lost() {
        let mut bench = three().with("small", Role::Userspace, Relay { room: 150, ..Relay::default() });
        let result = run_named("bursts", &mut bench, 1).0.expect("a result");
        let case = &result.cases[0];
        assert_eq!((case.case.direction, case.case.frame), (Direction::ToPeer, 1_200));
        let loss = |name: &str| {
            let found = case.results.iter().find(|result| result.subject.name == name).expect("it is there");
            let point = found.point(Label::Every(10_000)).expect("a point");
            assert_eq!(point.rounds[0].map(|outcome| outcome.sent), Some(30_000), "a key frame of each flow");
            point.loss.expect("a round").median
        };
        assert_eq!((loss("b"), loss("small")), (0.0, 0.5));
    }

    #[test]
    fn frames_have_room_for_what_the_generator_writes() {
        let result = run_named("sizes", &mut three(), 1).0.expect("a result");
        let frames: Vec<u16> = result.cases.iter().map(|case| case.case.frame).collect();
        assert_eq!(frames, [66, 128, 256, 512, 1_024, 1_400]);
    }
}
