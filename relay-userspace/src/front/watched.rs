//! The files of a certificate: what was found at the last looks at them, and whether they answer at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::certificate::Certificate;
use super::watch::Stamp;

/// How long files may take to be looked at before that is told.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

const NO_ANSWER: &str = "the file system of the certificate or its key does not answer: it is not known whether they have changed";

/// What is known of the files of a certificate.
#[derive(Debug)]
pub(super) struct Watched {
    /// Read, or tried to be.
    pub(super) tried: [Option<Stamp>; 2],
    /// At the last look.
    pub(super) seen: [Option<Stamp>; 2],
    pub(super) problem: Option<String>,
    /// A look at them has not ended yet.
    pub(super) under_way: bool,
    /// Since when they are to be looked at and were not.
    due: Option<Instant>,
    /// That took so long that it was told.
    is_silent: bool,
}

impl Watched {
    pub(super) fn new(certificate: &Arc<Certificate>) -> Self {
        let stamps = certificate.stamps();
        Self { tried: stamps, seen: stamps, problem: None, under_way: false, due: None, is_silent: false }
    }

    /// The files are to be looked at; tells when they should have been long ago.
    pub(super) fn wait(&mut self, certificate: &Certificate, now: Instant) {
        let due = *self.due.get_or_insert(now);
        if !self.is_silent && now.duration_since(due) >= SILENCE {
            self.is_silent = true;
            let file = certificate.files().cert.display();
            tracing::error!(%file, "{NO_ANSWER}; the certificate that was read is still served");
        }
    }

    /// A look at the files has ended.
    pub(super) fn answered(&mut self, certificate: &Certificate) {
        (self.under_way, self.due) = (false, None);
        if std::mem::take(&mut self.is_silent) {
            tracing::info!(file = %certificate.files().cert.display(), "the file system answers again");
        }
    }

    pub(super) fn problem(&self, certificate: &Certificate) -> Option<String> {
        let silent = || format!("{}: {NO_ANSWER}", certificate.files().cert.display());
        if self.is_silent { Some(silent()) } else { self.problem.clone() }
    }
}
