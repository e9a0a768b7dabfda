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
fn a_case_that_cannot_be_offered_is_left_out_and_told() {
    let mut bench = three();
    bench.one_way = true;
    let result = run_named("nics", &mut bench, 1).0.expect("a result");
    let ways: Vec<Direction> = result.cases.iter().map(|case| case.case.direction).collect();
    assert_eq!(ways, [Direction::ToClient; 2]);
    let left_out: Vec<&str> = result.absent.iter().map(|absent| &absent.subject[..]).collect();
    assert_eq!(
        left_out,
        [
            "64 flows, channels, IPv4, one interface, to the peer, frames of 214 bytes",
            "64 flows, channels, IPv4, two interfaces, to the peer, frames of 214 bytes"
        ]
    );
    bench.setups.clear();
    let result = run_named("sizes", &mut bench, 1).0.expect("a result");
    assert_eq!((result.cases.len(), result.absent.len()), (0, 6));
    assert!(bench.setups.is_empty(), "no lab is made for nothing");
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
