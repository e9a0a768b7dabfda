//! The threads that copy.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime of its own, so that copying files delays neither media nor the handshakes of others. Dropping it ends what runs
/// there, without waiting.
pub(in super::super) struct Carriers(Option<Runtime>);

impl Carriers {
    /// Starts as many threads as the copying may keep busy.
    pub(in super::super) fn start(threads: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("tcp-relay")
            .enable_all()
            .build()
            .context("cannot start the threads of TCP allocations")?;
        Ok(Self(Some(runtime)))
    }

    /// What to start tasks by.
    pub(in super::super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
