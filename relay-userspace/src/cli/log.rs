//! Logging: events to stderr, never packets, and never at the cost of those who log.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for fleets; so is what `run` prints when it is ready.
    Json,
}

/// Most lines that wait to be written; those after them are lost, and counted.
const QUEUE: usize = 4096;

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log. Dropped at the end, it waits a moment for the lines that are not written yet.
pub(super) struct Log(SyncSender<Item>);

/// Starts logging at the level of `RUST_LOG`, info if it says nothing.
///
/// A thread of its own writes: shards must not wait for a log collector that stands still. A line that cannot be written is
/// lost; to complain of that on stderr, as is the default, would panic where stderr is what is broken.
pub(super) fn start(format: Format) -> io::Result<Log> {
    let (queue, items) = sync_channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = Lines { queue: queue.clone(), lost: lost.clone() };
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
        .log_internal_errors(false);
    match format {
        Format::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        Format::Json => log.json().init(),
    }
    thread::Builder::new().name("log".into()).spawn(move || write(&items, &lost))?;
    Ok(Log(queue))
}

enum Item {
    Line(Vec<u8>),
    /// Everything before it has been written when this is dropped.
    End(#[expect(dead_code, reason = "held to be dropped")] SyncSender<()>),
}

/// Takes the lines to the thread that writes.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    /// A whole line: the subscriber writes each with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(items: &Receiver<Item>, lost: &AtomicU64) {
    for item in items {
        if let Item::Line(line) = item {
            let _ = io::stderr().write_all(&line);
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "log lines were lost: they came faster than they could be written");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (end, ended) = sync_channel(0);
        if self.0.try_send(Item::End(end)).is_ok() {
            // Ends when the other side is dropped.
            let _ = ended.recv_timeout(LAST_LINES);
        }
    }
}
