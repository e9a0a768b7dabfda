//! The scale measures by themselves; `--quick` for fewer rounds and clients.
//!
//! `cargo run --release -p turnpike-bench --example scale [core-rate | core-memory | rate | memory | million | bindings | churn]...`
//! All but the first two need root, and `cargo xtask build` before.

use std::time::Duration;

use anyhow::{Result, bail};
use turnpike_bench::scale::{Mode, Users, bindings, churn, core_memory, core_rate, memory, rate};

const MODES: [Mode; 2] = [Mode::Userspace, Mode::Xdp];
const ALL: [&str; 7] = ["core-rate", "core-memory", "rate", "memory", "million", "bindings", "churn"];

fn main() -> Result<()> {
    let (flags, named): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let quick = flags.iter().any(|flag| flag == "--quick");
    let wanted = if named.is_empty() { ALL.map(String::from).to_vec() } else { named };
    let steps: &[u32] = if quick { &[10_000] } else { &[10_000, 100_000, 200_000] };
    let rounds = if quick { 3 } else { 9 };
    for what in wanted {
        match what.as_str() {
            "core-rate" => {
                for users in [Users::OneStatic, Users::TimeLimited] {
                    for standing in [0, if quick { 0 } else { 100_000 }] {
                        println!("{:#?}", core_rate(users, standing, rounds)?);
                    }
                }
            }
            "core-memory" => println!("{:#?}", core_memory(Users::TimeLimited, steps)?),
            "rate" => {
                for mode in MODES {
                    println!("{:#?}", rate(mode, Users::TimeLimited, 10_000, rounds)?);
                }
            }
            "memory" => {
                for mode in MODES {
                    println!("{:#?}", memory(mode, steps, 1)?);
                }
            }
            "million" => println!("{:#?}", memory(Mode::Xdp, &steps[steps.len() - 1..], 3)?),
            "bindings" => println!("{:#?}", bindings(if quick { 20_000 } else { 200_000 })?),
            "churn" => {
                let (standing, seconds) = if quick { (10_000, 3) } else { (100_000, 20) };
                for mode in MODES {
                    println!("{:#?}", churn(mode, standing, 2_000.0, Duration::from_secs(seconds))?);
                }
            }
            _ => bail!("{what:?} is none of {ALL:?}"),
        }
    }
    Ok(())
}
