//! What `/proc` says of a process: its memory and its CPU time.

use std::fs;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Memory of a process in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Resident {
    /// Its own pages: heap and stacks.
    pub anonymous: u64,
    /// Pages that it shares with the kernel, the tables of the data path among them.
    pub shared: u64,
}

/// Of a process by its id, or `self`.
pub fn resident(process: &str) -> Result<Resident> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line is missing")?;
        let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    };
    Ok(Resident { anonymous: field("RssAnon")?, shared: field("RssShmem")? + field("RssFile")? })
}

/// CPU time in seconds that a process's threads of these names (by their beginning) have had.
pub(super) fn cpu_seconds(process: &str, threads: &str) -> Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        // A thread may end meanwhile.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        if name.starts_with(threads) {
            let statistics = fs::read_to_string(task.join("schedstat"))?;
            let ran = statistics.split(' ').next().context("scheduler statistics are off")?;
            nanoseconds += ran.parse::<u64>()?;
        }
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// CPU time in seconds that this thread has had.
pub(super) fn own_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every kernel has this clock");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// The value in the middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
