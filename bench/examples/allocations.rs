//! How long it takes until a server under test has its flows: allocations and channels over the network, in a lab of its own.
//!
//! `cargo run --release -p turnpike-bench --example allocations [TURNSERVER]`, as root, after `cargo xtask build`. TURNSERVER is
//! the path of a coturn, by default Debian's.

use anyhow::Result;
use turnpike_bench::allocations::Plan;
use turnpike_bench::lab::{Family, GENERATOR_CPU, Lab, pin};
use turnpike_bench::subjects::{Coturn, DataPath, Server, Subject, Turnpike};

const ROUNDS: usize = 3;

/// Allocations and channels of each: 64, 4,096 and 65,536 flows.
const PLANS: [(u32, u32); 4] = [(64, 1), (4_096, 1), (256, 16), (4_096, 16)];

fn main() -> Result<()> {
    pin(nix::unistd::Pid::from_raw(0), GENERATOR_CPU)?;
    let turnpike = Turnpike::built()?;
    let coturn = match std::env::args_os().nth(1) {
        Some(path) => Coturn::at(path.into())?,
        None => Coturn::of_debian()?,
    };
    println!("seconds for all, medians of {ROUNDS}; CPU seconds of the server");
    for (allocations, bindings) in PLANS {
        let plan = Plan::channels(allocations, bindings, Family::V4);
        for path in [DataPath::Xdp, DataPath::Userspace] {
            measure(plan, || turnpike.start(Lab::one_nic()?, path, &[], &plan))?;
        }
        for options in coturn.option_sets() {
            measure(plan, || coturn.start(Lab::one_nic()?, &options, &plan))?;
        }
    }
    Ok(())
}

fn measure(plan: Plan, start: impl Fn() -> Result<Server>) -> Result<()> {
    let mut rounds = Vec::new();
    let mut name = String::new();
    for _ in 0..ROUNDS {
        let mut server = start()?;
        name = server.name().to_owned();
        rounds.push((server.allocations().took().as_secs_f64(), server.cpu_seconds()));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, cpu_seconds) = rounds[ROUNDS / 2];
    println!(
        "{:>6} flows of {:>5} allocations  {name:24} {seconds:8.3} s  {cpu_seconds:8.3} s",
        plan.flows(),
        plan.allocations
    );
    Ok(())
}
