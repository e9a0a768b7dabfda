//! The figures of the control plane, as the runs want them.

use std::time::Duration;

use anyhow::Result;
use turnpike_bench::runs::subject::{Absent, Figure, Role, Subject};
use turnpike_bench::scale::{Mode, Users, bindings, churn, memory, rate};

/// Measures them; figures are medians of their own rounds.
pub(super) fn scale(rounds: u32, quick: bool) -> Result<(Vec<Figure>, Vec<Absent>)> {
    let standing = if quick { 20_000 } else { 200_000 };
    let mut figures = Vec::new();
    for (mode, name, role) in
        [(Mode::Xdp, "turnpike xdp", Role::Driver), (Mode::Userspace, "turnpike userspace", Role::Userspace)]
    {
        let subject = Subject { name: name.into(), role, version: env!("CARGO_PKG_VERSION").into() };
        let mut figure = |id, what: &str, unit, value| {
            let subject = subject.clone();
            figures.push(Figure { id, what: what.into(), unit, subject, values: vec![value] });
        };
        let clients = if quick { 2_000 } else { 10_000 };
        let made = rate(mode, Users::TimeLimited, clients, rounds as usize)?;
        let a_second = "a second of the shard's CPU time";
        figure(
            Figure::ALLOCATIONS_A_SECOND,
            "authenticated Allocate with ChannelBind",
            a_second,
            made.pairs_per_cpu_second,
        );
        for memory in memory(mode, &[standing], 1)? {
            figure(
                Figure::MEMORY_AN_ALLOCATION,
                "memory of an allocation with one channel",
                "bytes",
                memory.bytes,
            );
            figure(Figure::ALLOCATIONS, "allocations held at once", "allocations", memory.allocations.into());
        }
        let seconds = Duration::from_secs(if quick { 3 } else { 20 });
        let churned = churn(mode, standing, 2_000.0, seconds)?;
        figure("churn-rate", "requests answered while allocations come and go", "a second", churned.rate);
        figure("churn-p99", "of those answers, 99 of a hundred took less than", "microseconds", churned.p99);
    }
    let subject = Subject { name: "turnpike's tables".into(), role: Role::Driver, version: String::new() };
    let [without, with] = bindings(standing)?;
    let held = f64::from(with.bindings) - with.refused as f64;
    for (id, what, unit, value) in [
        (Figure::BINDINGS, "bindings held at once", "bindings", held),
        (
            "binding-memory",
            "memory of a binding in the tables",
            "bytes",
            with.tables as f64 / f64::from(with.bindings),
        ),
        ("binding-install", "installing a binding and its next hop", "nanoseconds", with.install),
        ("binding-install-alone", "installing a binding", "nanoseconds", without.install),
    ] {
        figures.push(Figure { id, what: what.into(), unit, subject: subject.clone(), values: vec![value] });
    }
    Ok((figures, Vec::new()))
}
