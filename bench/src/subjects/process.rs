//! A server's process: on the relay's CPU, with as many files as it wants.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use turnpike_tests::lab::{Namespace, Process};

use crate::lab::RELAY_CPU;

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(30);

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
pub(super) fn wait_until(process: &mut Process, name: &str, mut serves: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + START;
    loop {
        if let Some(status) = process.exited() {
            let (_, output) = process.wait(Duration::ZERO);
            bail!("{name} ended with {status}:\n{output}");
        }
        if serves() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{name} does not serve after {START:?}:\n{}", process.output());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a program prints on both streams, whatever it says of its success.
pub(super) fn output_of(program: &Path, argument: impl AsRef<OsStr>) -> Result<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.with_context(|| format!("{} does not start", program.display()))?;
    let both = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&both).into_owned())
}
