//! The kernel's pktgen stands for peers. Few kernels at hand have it; Debian's do: `cargo xtask vm -- pktgen`.

use std::env::temp_dir;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use turnpike_bench::allocations::{Carriage, Plan, To};
use turnpike_bench::figures::{Direction, Load};
use turnpike_bench::lab::{Family, GENERATOR_CPU, Lab};
use turnpike_bench::subjects::{DataPath, Floor, Subject};
use turnpike_bench::traffic::{Generator, Pktgen, Traffic};

use crate::common::{relayed_by, turnpike};

/// So slow that nothing is lost on an emulated processor.
const LOAD: Load = Load {
    direction: Direction::ToClient,
    frame: 200,
    rate: Some(200.0),
    burst: 1,
    spacing: Duration::ZERO,
    duration: Duration::from_secs(2),
};

/// Has it send, and looks at what comes of it.
fn generate(subject: &dyn Subject) -> u64 {
    let (lab, port) = (subject.lab(), subject.lab().clients());
    lab.finish_checksums();
    let run = || {
        let flows = subject.flows();
        let mut traffic = Traffic::new(&port.interface, port.own_mac, port.relay_mac, flows, subject.wire())?;
        traffic.check_every(1);
        traffic.generate_by(Generator::Pktgen(Pktgen::on(GENERATOR_CPU)?));
        traffic.offer(&LOAD, &|| 0.0)
    };
    let outcome = lab.generator().enter(run).unwrap_or_else(|e| panic!("{}: {e:#}", subject.name()));
    assert!(outcome.sent > 100, "{}: {outcome:?}", subject.name());
    assert_eq!((outcome.arrived, outcome.corrupt), (outcome.sent, 0), "{}: {outcome:?}", subject.name());
    outcome.arrived
}

#[test]
#[ignore = "needs the kernel's pktgen: cargo xtask vm -- pktgen"]
fn what_the_kernels_pktgen_makes_is_sent_back_by_the_floor() {
    for family in Family::ALL {
        let floor = Floor::start(Lab::one_nic().expect("a lab"), &Plan::channels(4, 2, family));
        generate(&floor.expect("the floor"));
    }
}

#[test]
#[ignore = "needs the kernel's pktgen: cargo xtask vm -- pktgen"]
fn what_the_kernels_pktgen_makes_is_relayed_by_xdp_and_by_the_process() {
    for (peers, path) in
        [(Family::V4, DataPath::Xdp), (Family::V6, DataPath::Xdp), (Family::V4, DataPath::Userspace)]
    {
        let plan = Plan {
            allocations: 4,
            bindings: 2,
            carriage: Carriage::Channels,
            clients: Family::V4,
            peers,
            to: To::Hosts,
        };
        let server = turnpike(Lab::one_nic().expect("a lab"), path, plan);
        let relayed = generate(&server);
        let [by_xdp, by_process] = relayed_by(&server);
        let (most, astray) = if path == DataPath::Xdp { (by_xdp, by_process) } else { (by_process, by_xdp) };
        assert_eq!(most + astray, relayed, "{path:?}");
        // One packet in 65,536 has by chance the checksum that an unfinished one would have.
        assert!(astray < 10, "{path:?}: {astray}");
    }
}

#[test]
#[ignore = "needs the kernel's pktgen: cargo xtask vm -- pktgen"]
fn a_run_of_the_bench_leaves_out_what_the_kernels_pktgen_cannot_make() {
    let json = temp_dir().join("pktgen.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_turnpike-bench"));
    bench.args(["run", "capacity", "--quick", "--rounds", "1", "--generator", "pktgen"]);
    bench.args(["--subject", "floor", "--subject", "turnpike xdp", "--json"]).arg(&json);
    let output = bench.output().expect("the bench starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let run = &report["runs"][0];
    let cases = run["cases"].as_array().expect("cases");
    assert!(cases.iter().all(|case| case["direction"] == "to-client" && case["train"] == 1), "{run}");
    let floor = &cases[0]["results"][0];
    assert_eq!(floor["subject"]["role"], "floor", "{run}");
    let flood = floor["points"].as_array().and_then(|points| points.last()).expect("a point");
    assert!(flood["rounds"][0]["arrived"].as_u64().is_some_and(|packets| packets > 100), "{flood}");
    assert_eq!(flood["corrupt"], 0, "{flood}");
    // By name it was asked for.
    let absent = cases[0]["absent"].as_array().expect("subjects that are absent");
    assert!(absent.iter().any(|subject| subject["subject"] == "turnpike xdp-generic"), "{absent:?}");
    let left_out = run["absent"].as_array().expect("cases that were left out");
    assert!(left_out.iter().any(|case| case["why"].as_str().is_some_and(|why| why.contains("ChannelData"))));
}
