//! Who does the work of an interface: threaded NAPI, on a CPU of our choice, with its CPU time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The CPU of the generator, the sink and the interfaces that they are on.
pub const GENERATOR_CPU: usize = 0;

/// The CPU of the relay: its process, and the threads that poll its interfaces.
pub const RELAY_CPU: usize = 1;

/// Has threads of the kernel poll an interface (5.12), one a queue, on one CPU. Called in the interface's namespace.
///
/// The interface must be up and must poll: a veth does that while GRO is on or a program attached.
pub fn poll_by_thread(interface: &str, cpu: usize) -> Result<Vec<Pid>> {
    // The threads are told apart from those of other labs, whose interfaces have the same names, by being new. So only one lab
    // at a time may make some; `/proc` is what all of this machine have in common, and a lock on it leaves nothing behind.
    let turn = File::open("/proc").context("/proc")?;
    turn.lock().context("lock /proc")?;
    let before = threads_of(interface)?;
    write(interface, "threaded", "1").context("threaded NAPI needs Linux 5.12")?;
    let deadline = Instant::now() + Duration::from_secs(2);
    let new = loop {
        let new: Vec<Pid> = threads_of(interface)?.into_iter().filter(|pid| !before.contains(pid)).collect();
        if !new.is_empty() {
            break new;
        }
        if Instant::now() > deadline {
            bail!(
                "no thread of the kernel polls {interface}: is it up, with `ethtool -K {interface} gro on`?"
            );
        }
        thread::sleep(Duration::from_millis(5));
    };
    for &poller in &new {
        pin(poller, cpu)?;
    }
    Ok(new)
}

fn write(interface: &str, setting: &str, value: &str) -> Result<()> {
    let path = format!("/sys/class/net/{interface}/{setting}");
    fs::write(&path, value).with_context(|| format!("{value} to {path}"))
}

/// Keeps a thread on one CPU; 0 is the calling one.
pub fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).with_context(|| format!("CPU {cpu}"))?;
    sched_setaffinity(thread, &cpus).with_context(|| format!("CPU {cpu} for thread {thread}"))
}

/// Keeps all threads of a process on one CPU, and those that they will start.
pub fn pin_process(pid: Pid, cpu: usize) -> Result<()> {
    let path = format!("/proc/{pid}/task");
    for task in fs::read_dir(&path).context(path)?.flatten() {
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
        pin(Pid::from_raw(thread.context("a thread without a number")?), cpu)?;
    }
    Ok(())
}

/// Seconds for which a thread has run; nothing when it has ended.
pub fn thread_seconds(pid: Pid) -> f64 {
    seconds(Path::new(&format!("/proc/{pid}/schedstat")))
}

/// Seconds for which the living threads of a process have run.
pub fn process_seconds(pid: Pid) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    tasks.flatten().map(|task| seconds(&task.path().join("schedstat"))).sum()
}

fn seconds(schedstat: &Path) -> f64 {
    let nanoseconds = fs::read_to_string(schedstat).ok();
    let nanoseconds = nanoseconds.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    nanoseconds.unwrap_or(0) as f64 / 1e9
}

/// The kernel threads that poll interfaces of this name, in any namespace.
fn threads_of(interface: &str) -> Result<Vec<Pid>> {
    let named = |path: &PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|c| c.starts_with(&format!("napi/{interface}-")))
    };
    let pid = |path: PathBuf| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw);
    let processes = fs::read_dir("/proc").context("/proc")?;
    Ok(processes.flatten().map(|entry| entry.path()).filter(named).filter_map(pid).collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_kept_on_a_cpu() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid = Pid::from_raw(child.id() as i32);
        pin_process(pid, GENERATOR_CPU).expect("it is there");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(status.contains(&format!("Cpus_allowed_list:\t{GENERATOR_CPU}\n")), "{status}");
        assert!(pin_process(pid, GENERATOR_CPU).is_err(), "it is gone");
    }
}
