//! `turnpike drain`: empties a running server without ending a call.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::http;
use super::screen::{print, thousands, uptime};
use crate::admin::{Drained, State, Status};
use crate::config::Span;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: http::ServerFlags,

    /// Return when the last allocation has ended
    #[arg(long)]
    wait: bool,

    /// Wait no longer than this: exit code 1, and the server still drains
    #[arg(long, value_name = "TIME", requires = "wait")]
    timeout: Option<Span>,

    /// Let the server make allocations again
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
}

/// Between two looks at the server.
const LOOK: Duration = Duration::from_millis(500);

/// Between two lines about how far it is.
const LINE: Duration = Duration::from_secs(10);

/// Looks in a row that may fail: a busy server may be slow to answer.
const FAILURES: u32 = 3;

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let authority = args.server.authority();
    let method = if args.undo { "DELETE" } else { "POST" };
    let text = http::change(authority, method, "/v1/drain").context(
        "nothing was changed: is `turnpike run` up on this host, and is this its --admin address?",
    )?;
    let drained: Drained = serde_json::from_str(&text).context("the answer is not one of this version")?;
    if args.undo {
        print("new allocations are made again")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(format_args!("draining: no new allocations, {}", left(drained.allocations)))?;
    if args.wait {
        wait(authority, drained.allocations, args.timeout)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Until no allocation is left.
fn wait(authority: &str, allocations: u64, limit: Option<Span>) -> Result<()> {
    let start = Instant::now();
    let mut progress = Progress { shown: allocations, at: start };
    let mut allocations = allocations;
    let mut failures = 0;
    while allocations > 0 {
        if let Some(Span(time)) = limit
            && start.elapsed() >= time
        {
            bail!(
                "{} after {}; the server still drains, `turnpike drain --undo` ends that",
                left(allocations),
                Span(time)
            );
        }
        thread::sleep(LOOK);
        match look(authority) {
            Ok(status) => {
                ensure!(
                    status.state == State::Draining,
                    "the server does not drain any more: somebody undid it, or started the server again"
                );
                (allocations, failures) = (status.allocations.active, 0);
            }
            Err(error) if failures + 1 == FAILURES => return Err(error.context("lost sight of the server")),
            Err(_) => failures += 1,
        }
        if let Some(line) = progress.line(allocations, Instant::now(), start) {
            print(line)?;
        }
    }
    print(format_args!("drained: no allocation is left after {}", uptime(start.elapsed())))
}

fn look(authority: &str) -> Result<Status> {
    serde_json::from_str(&http::get(authority, "/v1/status")?)
        .context("the answer is not a status of this version")
}

fn left(allocations: u64) -> String {
    match allocations {
        0 => "none is left".into(),
        1 => "1 is left".into(),
        n => format!("{} are left", thousands(n)),
    }
}

/// What was said last, and when.
struct Progress {
    shown: u64,
    at: Instant,
}

impl Progress {
    /// A line when there is news, not too often: the output may be a log.
    fn line(&mut self, allocations: u64, now: Instant, start: Instant) -> Option<String> {
        if allocations == self.shown || allocations == 0 || now.duration_since(self.at) < LINE {
            return None;
        }
        (self.shown, self.at) = (allocations, now);
        Some(format!("{} after {}", left(allocations), uptime(now.duration_since(start))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_when_there_is_some_and_not_too_often() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress { shown: 1300, at: start };
        assert_eq!(progress.line(1299, at(1), start), None);
        assert_eq!(progress.line(1200, at(10), start).unwrap(), "1,200 are left after 10s");
        assert_eq!(progress.line(1200, at(60), start), None);
        assert_eq!(progress.line(1, at(75), start).unwrap(), "1 is left after 1m 15s");
        assert_eq!(progress.line(0, at(100), start), None, "that is said at the end");
    }
}
