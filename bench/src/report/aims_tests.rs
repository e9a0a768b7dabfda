//! Aims of made-up runs.

use super::*;
use crate::report::sample::runs;
use crate::runs::fake::{FakeBench, Relay};

fn find<'a>(aims: &'a [Aim], what: &str, case: &str) -> &'a Aim {
    aims.iter().find(|aim| aim.what == what && aim.case == case).expect("there is such an aim")
}

fn near(aim: &Aim, expected: f64) {
    let value = aim.value.expect("a value").median;
    assert!((value / expected - 1.0).abs() < 0.08, "{}, {}: {value}, not {expected}", aim.what, aim.case);
}

#[test]
fn ratios_of_the_capacity_run_are_those_of_the_subjects() {
    let aims = of(&runs(&["capacity"], &mut FakeBench::of_all_roles()));
    let case = "64 flows, to the peer";
    near(find(&aims, FLOOR, case), 340.0 / 510.0);
    assert_eq!(find(&aims, FLOOR, case).reached, Some(false));
    assert_eq!(find(&aims, FLOOR, case).bound, Some(Bound::AtLeast(0.90)));
    assert_eq!(find(&aims, FLOOR, "65,536 flows, to the client").bound, Some(Bound::AtLeast(0.75)));
    let coturn = find(&aims, COTURN, case);
    near(coturn, 1.9e6 / 9e4);
    assert_eq!((coturn.reached, &coturn.note[..]), (Some(true), "coturn 4.17.1"));
    near(find(&aims, COTURN_BY_CPU, case), 10_500.0 / 510.0);
    near(find(&aims, USERSPACE, case), 10_500.0 / 4_300.0);
    assert_eq!(find(&aims, USERSPACE, "4,096 flows, to the peer").bound, Some(Bound::AtLeast(3.0)));
    near(find(&aims, USERSPACE_RATE, case), 2.2e5 / 9e4);
}

#[test]
fn trains_have_a_figure_and_no_aim() {
    let merging = Relay { capacity: 2e5, cost: 4_000.0, merged: 0.5, ..Relay::default() };
    let mut bench = FakeBench::default()
        .with("xdp", Role::Driver, Relay::default())
        .with("userspace", Role::Userspace, merging)
        .with("coturn", Role::Coturn, Relay { cost: 8_000.0, ..Relay::default() });
    let aims = of(&runs(&["capacity"], &mut bench));
    for flows in ["64", "4,096"] {
        near(find(&aims, USERSPACE, &format!("{flows} flows, to the peer")), 2.0);
        let trains = find(&aims, USERSPACE, &format!("{flows} flows, to the peer, trains of 8"));
        near(trains, 4.0);
        assert_eq!((trains.bound, trains.reached), (None, None));
    }
    assert_eq!(aims.iter().filter(|aim| aim.case.ends_with("trains of 8")).count(), 4, "nothing else");
}

#[test]
fn what_the_floor_costs_is_taken_off() {
    let relay = |capacity| Relay { capacity, ..Relay::default() };
    let mut bench = FakeBench::default()
        .with("floor", Role::Floor, relay(3e6))
        .with("xdp", Role::Driver, relay(1.5e6))
        .with("coturn", Role::Coturn, relay(1e5));
    let aims = of(&runs(&["capacity"], &mut bench));
    let aim = find(&aims, COTURN_BY_FLOOR, "64 flows, to the peer");
    let value = aim.value.expect("a value").median;
    // (10 - 1/3) us / (2/3 - 1/3) us; the search's grain counts three times.
    assert!((22.0..36.0).contains(&value), "{value}");
}

#[test]
fn nothing_is_told_where_the_floor_is_no_faster() {
    let relay = |capacity| Relay { capacity, made: 2e6, ..Relay::default() };
    let mut bench = FakeBench::default()
        .with("floor", Role::Floor, relay(9e6))
        .with("xdp", Role::Driver, relay(8e6))
        .with("coturn", Role::Coturn, relay(1e5));
    let aims = of(&runs(&["capacity"], &mut bench));
    let aim = find(&aims, COTURN_BY_FLOOR, "64 flows, to the peer");
    assert_eq!((aim.value, aim.reached), (None, None));
    assert!(aim.note.contains("as fast as the floor"));
    assert!(find(&aims, COTURN, "64 flows, to the peer").note.contains("at least this"));
}

#[test]
fn latency_is_what_is_added_to_the_floors() {
    let aims = of(&runs(&["latency"], &mut FakeBench::of_all_roles()));
    let aim = find(&aims, LATENCY, "64 flows, to the peer");
    let value = aim.value.expect("a value").median;
    // At half its capacity the fake takes 18 us, and the floor, at a third of its own, 14.
    assert!((2.0..6.0).contains(&value), "{value}");
    assert_eq!(aim.reached, Some(true));
}

#[test]
fn bursts_have_a_bound_for_each_path() {
    let mut bench = FakeBench::default()
        .with("xdp", Role::Driver, Relay { room: 299, ..Relay::default() })
        .with("userspace", Role::Userspace, Relay::default());
    let aims = of(&runs(&["bursts"], &mut bench));
    assert_eq!(find(&aims, BURST_DRIVER, "100 flows, to the peer").reached, Some(false));
    assert_eq!(find(&aims, BURST_USERSPACE, "100 flows, to the client").reached, Some(true));
}

#[test]
fn figures_of_scale_are_held_against_theirs() {
    let aims = of(&runs(&["scale"], &mut FakeBench::of_all_roles()));
    assert_eq!(aims.len(), 1);
    assert_eq!(aims[0].what, "Allocate and ChannelBind, a second a core");
    assert_eq!((aims[0].reached, aims[0].bound), (Some(true), Some(Bound::AtLeast(20_000.0))));
}
