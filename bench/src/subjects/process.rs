//! A server's process: on the relay's CPU, with as many files as it wants, and stopped while others have their turn.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use turnpike_tests::lab::{Namespace, Process};

use crate::lab::{RELAY_CPU, process_seconds};

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(30);

/// How long a process may take until it has stopped, or has done what it missed.
const STOP: Duration = Duration::from_secs(3);

/// From one look at a process to the next, and the share of that time below which it is said to do nothing.
const LOOK: Duration = Duration::from_millis(10);
const IDLE: f64 = 0.1;

/// Files that a server may have open: a socket for each of as many allocations as a bench makes.
const FILES: u64 = 1 << 20;

/// A command for the relay's machine, on the relay's CPU.
pub(super) fn command(relay: &Namespace, program: &Path) -> Result<Command> {
    let mut command = relay.command(program);
    let mut cpus = CpuSet::new();
    cpus.set(RELAY_CPU).context("a CPU number")?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    // SAFETY: between fork and exec only system calls are made, which allocate nothing.
    unsafe {
        command.pre_exec(move || {
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            // Raising what is allowed takes CAP_SYS_RESOURCE, which not every root has.
            if setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).is_err() {
                setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            }
            Ok(())
        })
    };
    Ok(command)
}

/// Waits until a server serves. An error with all that it printed when it ends before, or takes too long.
pub(super) fn wait_until(
    process: &mut Process,
    name: &str,
    mut serves: impl FnMut(&Process) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + START;
    loop {
        if let Some(status) = process.exited() {
            let (_, output) = process.wait(Duration::ZERO);
            bail!("{name} ended with {status}:\n{output}");
        }
        if serves(process) {
            return is_one_process(process.pid(), name);
        }
        if Instant::now() > deadline {
            bail!("{name} does not serve after {START:?}:\n{}", process.output());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A script that starts the server as its child would be measured and stopped in its place.
fn is_one_process(pid: Pid, name: &str) -> Result<()> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = children.split_whitespace().filter_map(|child| child.parse().ok()).collect();
    for &child in &children {
        // Its parent's end would not be its own.
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
    ensure!(
        children.is_empty(),
        "{name} runs as a child of what was started: a script has to end in `exec`, so that the process is the server's"
    );
    Ok(())
}

/// Stops all threads of a process, until it is woken. It is killed like any other with its lab, and with this process.
pub(super) fn rest(pid: Pid) -> Result<()> {
    kill(pid, Signal::SIGSTOP).with_context(|| format!("cannot stop process {pid}"))?;
    let deadline = Instant::now() + STOP;
    while !is_stopped(pid) {
        ensure!(Instant::now() < deadline, "process {pid} does not stop");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Lets it go on, and waits until it has done what it missed: timers, and what had arrived before it was stopped.
pub(super) fn wake(process: &mut Process, name: &str) -> Result<()> {
    let pid = process.pid();
    kill(pid, Signal::SIGCONT).with_context(|| format!("cannot wake process {pid}"))?;
    let deadline = Instant::now() + STOP;
    loop {
        let before = (Instant::now(), process_seconds(pid));
        thread::sleep(LOOK);
        if let Some(status) = process.exited() {
            let (_, output) = process.wait(Duration::ZERO);
            bail!("{name} ended with {status}:\n{output}");
        }
        let busy = (process_seconds(pid) - before.1) / before.0.elapsed().as_secs_f64();
        if busy < IDLE || Instant::now() > deadline {
            return Ok(());
        }
    }
}

/// Whether no thread of it runs.
fn is_stopped(pid: Pid) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    // The state is behind the name, which is in parentheses.
    let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    let mut stats = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats.all(|stat| matches!(state(stat), Some('T' | 't' | 'Z' | 'X')))
}

/// What a program prints on both streams, whatever it says of its success.
pub(super) fn output_of(program: &Path, argument: impl AsRef<OsStr>) -> Result<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.with_context(|| format!("{} does not start", program.display()))?;
    let both = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&both).into_owned())
}
