//! The log of interfaces that come, go and change.

use std::fmt;

use super::Mode;
use super::ladder::Climbed;
use crate::auth::printable;
use crate::throttle::Throttle;
use crate::time::Timestamp;

/// What becomes of interfaces, at a limited rate: on a host of containers they may come and go all day.
pub(super) struct Log {
    throttle: Throttle,
    silent: bool,
}

impl Log {
    /// One that says nothing yet.
    pub(super) fn silent() -> Self {
        Self { throttle: Throttle::new(50), silent: true }
    }

    /// From now on it does.
    pub(super) fn speak(&mut self) {
        self.silent = false;
    }

    /// What an interface does, and where on the ladder it ended up, if it was climbed.
    pub(super) fn write(&mut self, name: &str, what: &str, climbed: Option<&Climbed>) {
        if self.silent {
            return;
        }
        let Some(suppressed) = self.throttle.pass(Timestamp::now()) else { return };
        let outcome = climbed.map(Outcome).map(|outcome| outcome.to_string()).unwrap_or_default();
        tracing::info!(suppressed, "interface {} {what}{outcome}", printable(name));
    }

    /// Also while it is silent otherwise.
    pub(super) fn warn(&mut self, text: fmt::Arguments<'_>) {
        if let Some(suppressed) = self.throttle.pass(Timestamp::now()) {
            tracing::warn!(suppressed, "{text}");
        }
    }
}

/// `: xdp (driver)`, `: userspace, because ...`
struct Outcome<'a>(&'a Climbed);

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Climbed { mode, reasons } = self.0;
        write!(f, ": {mode}{}", if *mode == Mode::Xdp { " (driver)" } else { "" })?;
        if reasons.is_empty() { Ok(()) } else { write!(f, ", because {}", reasons.join("; ")) }
    }
}
