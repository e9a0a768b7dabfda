//! What an operator is told: one line when a client comes, goes or cannot be carried, held to a rate.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::client::{Failed, Lost};
use crate::throttle::Throttle;
use crate::time::Timestamp;

/// Lines of one kind in ten seconds.
const MOST: u32 = 20;

/// The log of a tunnel.
pub(super) struct Journal {
    opened: Mutex<Throttle>,
    failed: Mutex<Throttle>,
    lost: Mutex<Throttle>,
    closed: Mutex<Throttle>,
    refused: Mutex<Throttle>,
}

impl Default for Journal {
    fn default() -> Self {
        let throttle = || Mutex::new(Throttle::new(MOST));
        Self {
            opened: throttle(),
            failed: throttle(),
            lost: throttle(),
            closed: throttle(),
            refused: throttle(),
        }
    }
}

/// What a client was carried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    pub(super) to_server: u64,
    pub(super) to_client: u64,
    pub(super) dropped: u64,
}

impl Journal {
    /// A client's connection is open.
    pub(super) fn opened(&self, client: &impl fmt::Display, took: Duration) {
        if let Some(suppressed) = pass(&self.opened) {
            let milliseconds = took.as_millis() as u64;
            tracing::info!(%client, milliseconds, suppressed, "connection to the server is open");
        }
    }

    /// A client's connection does not come about.
    pub(super) fn failed(&self, client: &impl fmt::Display, failed: &Failed, again: Option<Duration>) {
        if let Some(suppressed) = pass(&self.failed) {
            let (step, why) = (failed.step.name(), &failed.why);
            let retry = again.map(|wait| tracing::field::display(format!("{:.1} s", wait.as_secs_f64())));
            tracing::warn!(%client, step, retry, suppressed, "no connection to the server: {why}");
        }
    }

    /// A client's connection broke.
    pub(super) fn lost(&self, client: &impl fmt::Display, lost: &Lost) {
        if let Some(suppressed) = pass(&self.lost) {
            tracing::warn!(%client, suppressed, "connection to the server is lost, and its allocation with it: {lost}");
        }
    }

    /// A client is not carried any more.
    pub(super) fn closed(&self, client: &impl fmt::Display, cause: &str, carried: Carried) {
        if let Some(suppressed) = pass(&self.closed) {
            let Carried { to_server, to_client, dropped } = carried;
            tracing::info!(%client, cause, to_server, to_client, dropped, suppressed, "client has ended");
        }
    }

    /// There is no place for a client.
    pub(super) fn refused(&self, client: &impl fmt::Display, most: usize) {
        if let Some(suppressed) = pass(&self.refused) {
            tracing::warn!(%client, suppressed, "turned away: {most} clients are here (--max-clients)");
        }
    }
}

fn pass(throttle: &Mutex<Throttle>) -> Option<u64> {
    throttle.lock().expect("nobody panics with it").pass(Timestamp::now())
}
