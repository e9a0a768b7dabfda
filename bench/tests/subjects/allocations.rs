//! Many allocations are made at once, and refusals say what to do.

use std::collections::HashSet;

use turnpike_bench::allocations::{Allocations, Carriage, Plan, To, User};
use turnpike_bench::lab::{Family, Lab};
use turnpike_bench::subjects::{DataPath, Server, Subject, Turnpike};

use crate::common::{coturn, skipped, status_of, there_and_back, turnpike};

/// More than are asked for at once, some of whose ends work, also after they were refreshed.
fn makes_many(start: impl Fn(Lab, Plan) -> Option<Server>) {
    if skipped() {
        return;
    }
    let plan = Plan::channels(300, 3, Family::V4);
    let Some(mut server) = start(Lab::one_nic().expect("a lab"), plan) else { return };
    let flows = server.flows().to_vec();
    assert_eq!(flows.len(), 900);
    let distinct = |count: usize, of: HashSet<String>| assert_eq!(of.len(), count);
    distinct(300, flows.iter().map(|flow| flow.client.to_string()).collect());
    distinct(300, flows.iter().map(|flow| flow.relayed.to_string()).collect());
    distinct(900, flows.iter().map(|flow| flow.peer.to_string()).collect());
    there_and_back(&mut server, 899);
    server.allocations().refresh().expect("refreshed");
    there_and_back(&mut server, 0);
}

#[test]
fn turnpike_makes_many() {
    makes_many(|lab, plan| Some(turnpike(lab, DataPath::Userspace, plan)));
}

#[test]
fn coturn_makes_many() {
    makes_many(coturn);
}

#[test]
fn all_flows_of_the_largest_run_are_on_turnpikes_fast_path() {
    if skipped() {
        return;
    }
    let plan = Plan::of_flows(65_536, Family::V6).expect("possible");
    let server = turnpike(Lab::one_nic().expect("a lab"), DataPath::Xdp, plan);
    let bindings = &status_of(&server)["bindings"];
    assert!(bindings["active"].as_u64().is_some_and(|active| active >= 65_536), "{bindings}");
    assert_eq!(bindings["refused_full"], 0, "{bindings}");
}

/// The error of starting Turnpike with these flags.
fn refused(flags: &[&str], plan: Plan) -> String {
    let turnpike = Turnpike::built().expect("`cargo xtask build` made it");
    let lab = Lab::one_nic().expect("a lab");
    let refused = turnpike.start(lab, DataPath::Userspace, flags, &plan);
    refused.map(|_| ()).expect_err("it can't serve that").to_string()
}

#[test]
fn refusals_say_what_to_do() {
    if skipped() {
        return;
    }
    let plan = Plan::channels(4, 1, Family::V4);
    let error = refused(&["--deny-peer", "203.0.113.0/24"], plan);
    assert!(error.contains("refused ChannelBind with 403") && error.contains("--allow-peer"), "{error}");
    let error = refused(&["--user-quota", "3"], plan);
    assert!(error.contains("refused Allocate with 486") && error.contains("quota"), "{error}");
    let error = refused(&["--frob"], plan);
    assert!(error.contains("turnpike userspace ended with") && error.contains("--frob"), "{error}");
}

#[test]
fn who_is_not_known_or_not_there_is_named() {
    if skipped() {
        return;
    }
    let plan = Plan::channels(200, 1, Family::V4);
    let server =
        turnpike(Lab::one_nic().expect("a lab"), DataPath::Userspace, Plan::channels(1, 1, Family::V6));
    let user = User { name: "bench".into(), password: "wrong".into() };
    let error = Allocations::make(server.lab(), &user, plan).expect_err("a wrong password").to_string();
    assert!(error.contains("with 401") && error.contains("password"), "{error}");

    let lab = Lab::one_nic().expect("a lab");
    let error = Allocations::make(&lab, &user, plan).expect_err("nobody there").to_string();
    assert!(error.contains("nobody listens at 192.0.2.1:3478"), "{error}");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    if skipped() {
        return;
    }
    let lab = Lab::one_nic().expect("a lab");
    let error = |plan: Plan| plan.without_a_server(&lab).expect_err("impossible").to_string();
    let plan = Plan::channels(1, 1, Family::V4);
    assert!(error(Plan { bindings: 4_097, ..plan }).contains("4096 channels"));
    assert!(error(Plan { allocations: 0, ..plan }).contains("at least one"));
    assert!(
        error(Plan { allocations: 6, bindings: 3, to: To::EachOther, ..plan }).contains("a multiple of 4")
    );
    assert!(error(Plan { allocations: 60_000, bindings: 4_000, ..plan }).contains("not enough"));
    assert!(
        Plan::of_flows(4_097, Family::V4).expect_err("one is left over").to_string().contains("shared out")
    );
    let many = Plan::of_flows(65_536, Family::V4).expect("possible");
    assert_eq!((many.allocations, many.bindings, many.flows()), (4_096, 16, 65_536));
    let indications = Plan { carriage: Carriage::Indications, ..plan };
    assert_eq!(indications.without_a_server(&lab).expect("possible")[0].channel, 0);
}
