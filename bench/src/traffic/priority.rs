//! Who comes first on a CPU: the thread that polls an interface, and who comes last.

use anyhow::{Context, Result};
use nix::libc;
use nix::unistd::Pid;

/// A thread that runs whenever it can (SCHED_FIFO); as it was before when dropped.
///
/// The generator leaves its CPU after each batch if somebody else is in line. By the rules for equals that is somebody who
/// has waited for milliseconds, in which the sink's queue runs over.
#[derive(Debug)]
pub struct FirstInLine(Pid);

impl FirstInLine {
    /// Puts it first.
    pub fn put(thread: Pid) -> Result<Self> {
        schedule(thread, libc::SCHED_FIFO, 1)?;
        Ok(Self(thread))
    }
}

impl Drop for FirstInLine {
    fn drop(&mut self) {
        // The thread ends with its interface, which may have gone first.
        let _ = schedule(self.0, libc::SCHED_OTHER, 0);
    }
}

/// Has the calling thread run only when nobody else wants its CPU (SCHED_IDLE).
pub fn last_in_line() -> Result<()> {
    schedule(Pid::from_raw(0), libc::SCHED_IDLE, 0)
}

fn schedule(thread: Pid, policy: libc::c_int, priority: libc::c_int) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters outlive the call.
    let result = unsafe { libc::sched_setscheduler(thread.as_raw(), policy, &parameters) };
    nix::errno::Errno::result(result)
        .map(drop)
        .with_context(|| format!("thread {thread} cannot be given another priority (CAP_SYS_NICE)"))
}
