//! The limit on open files: each allocation takes one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "limit on open files, one for each allocation"),
        Err(error) => tracing::warn!(%error, "the limit on open files (RLIMIT_NOFILE) cannot be raised"),
    }
}
