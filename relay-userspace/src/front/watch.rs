//! Files of certificates that change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::desk::Desk;

/// How often the files are looked at. A change counts once it has lasted from one look to the next: the certificate and
/// its key are two files, written one after the other.
const INTERVAL: Duration = Duration::from_secs(2);

/// What a file is known to have changed by. That of the file which a link leads to: robots exchange the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl Stamp {
    /// Of a file, if there is one.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
        })
    }
}

/// Most looks that are under way at a time. Each holds a thread as long as a file system does not answer.
const MOST_LOOKS: usize = 64;

/// Looks at the files until the desk closes.
pub(super) async fn follow(desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(MOST_LOOKS));
    loop {
        tokio::time::sleep(INTERVAL).await;
        for look in desk.certificates.looks(Instant::now(), places.available_permits()) {
            // Only here are places taken, so there is one.
            let place = places.clone().try_acquire_owned();
            let desk = desk.clone();
            // Files may lie on a server that does not answer.
            tokio::task::spawn_blocking(move || {
                let is_new = desk.certificates.take(look);
                drop(place);
                if is_new {
                    (desk.certificate_read)();
                }
            });
        }
    }
}
