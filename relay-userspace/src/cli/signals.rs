//! The signals that mean something to `turnpike run`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, process, thread};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use super::running::Running;

/// Signals held back until somebody asks for them.
pub(super) struct Signals {
    stop: SigSet,
    reload: Option<SigSet>,
}

impl Signals {
    /// Those that the process was started to ignore are left alone (`nohup turnpike run`, `turnpike run &` in a script):
    /// a blocked signal waits for us even when it is ignored. To be called before there is any other thread, so that
    /// none but those that wait are ever interrupted.
    pub(super) fn claim() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let heeded = |signals: &[Signal]| {
            let set = signals.iter().copied().filter(|signal| !is_ignored(&status, *signal));
            SigSet::from_iter(set)
        };
        let stop = heeded(&[Signal::SIGTERM, Signal::SIGINT]);
        let reload = heeded(&[Signal::SIGHUP]);
        for set in [&stop, &reload] {
            set.thread_block().context("cannot hold signals back")?;
        }
        Ok(Self { stop, reload: Some(reload).filter(|set| set.contains(Signal::SIGHUP)) })
    }

    /// Reloads at each SIGHUP from now on, on a thread of its own: a file that cannot be read for minutes must not keep the
    /// server from being stopped. The kernel keeps one SIGHUP that comes meanwhile, so the last change of a file is
    /// always read.
    pub(super) fn reload_at_hangup(&self, running: &Arc<Running>) -> Result<()> {
        let Some(set) = self.reload else { return Ok(()) };
        let running = running.clone();
        let wait = move || {
            while set.wait().is_ok() {
                tracing::info!("SIGHUP: reading the settings again");
                // What comes of it is logged.
                let _ = running.reload();
            }
        };
        thread::Builder::new().name("reload".into()).spawn(wait).context("no thread for SIGHUP")?;
        Ok(())
    }

    /// Waits for one that ends the server.
    pub(super) fn wait(&self) -> Result<Signal> {
        self.stop.wait().context("cannot wait for signals")
    }

    /// From now on one more signal ends the process, whatever it waits for. The kernel takes back all that it had: programs are
    /// attached by links, which end with their descriptors, and nothing is pinned. (Without links, before Linux 5.9, the XDP
    /// program could not be loaded: it needs 5.11.)
    pub(super) fn force_on_next(&self) -> Stopping {
        let set = self.stop;
        let is_done = Arc::new(Mutex::new(false));
        let stopping = Stopping { is_done: is_done.clone() };
        thread::spawn(move || {
            if set.wait().is_ok() {
                // Held until the process has ended.
                let is_done = is_done.lock().unwrap_or_else(PoisonError::into_inner);
                if *is_done {
                    return;
                }
                // Whoever reads what is written there may not.
                let said = thread::Builder::new().spawn(|| eprintln!("turnpike: ended by force"));
                if said.is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
                process::exit(1);
            }
        });
        stopping
    }
}

/// A stop in order, which a second signal may cut short.
#[must_use]
pub(super) struct Stopping {
    is_done: Arc<Mutex<bool>>,
}

impl Stopping {
    /// Nothing is left to cut short but the log's last lines, which are waited for a second at the most. Where a second
    /// signal came before, this does not return: what was said of the end, and the exit code, are that one's.
    pub(super) fn done(self) {
        *self.is_done.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// From the text of `/proc/self/status`.
fn is_ignored(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as u32 - 1) & 1 == 1
}
