//! The limit on open files: each allocation takes one.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most descriptors that are kept from allocations and clients: the admin API needs one a connection, and a server whose health check
/// gets no answer is killed with all its calls.
const RESERVED: u64 = 64;

/// Refuses, as the kernel would, a descriptor for an allocation, or for a client's connection, when only the reserve is left. The kernel hands out the
/// lowest free number, so all below it are taken.
pub(crate) fn leave_reserve(fd: &impl AsFd) -> io::Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let ours = limit - RESERVED.min(limit / 4);
    let number = u64::try_from(fd.as_fd().as_raw_fd()).unwrap_or(0);
    if number < ours { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EMFILE)) }
}

/// Raises the soft limit on open files to the hard one.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "limit on open files, one for each allocation"),
        Err(error) => tracing::warn!(%error, "the limit on open files (RLIMIT_NOFILE) cannot be raised"),
    }
}
