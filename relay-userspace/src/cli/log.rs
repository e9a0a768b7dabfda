//! Logging: events to stderr, never packets.

use std::io::{self, IsTerminal};

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

/// Starts logging at the level of `RUST_LOG`, info if it says nothing.
pub(super) fn start(format: Format) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // A line that cannot be written is lost. To complain of that on stderr, as is the default, would panic there too: a full
    // disk or a log collector that died must not stop the relay.
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    match format {
        Format::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        Format::Json => log.json().init(),
    }
}
