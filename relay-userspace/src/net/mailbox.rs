//! What other threads have to say to a shard. Nobody waits for anybody: a letter is left, and the bell wakes the shard.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::turn::CoreConfig;

/// One thing to tell a shard.
#[derive(Debug)]
pub(super) enum Letter {
    /// Other settings of the protocol hold from now on. What comes along is dropped once they do.
    Configure(Arc<CoreConfig>, Sender<()>),
    /// The server stops.
    Stop,
}

/// The mailbox of one shard.
#[derive(Debug)]
pub(super) struct Mailbox {
    letters: Mutex<VecDeque<Letter>>,
    /// Readable while there may be letters.
    bell: EventFd,
}

impl Mailbox {
    /// Fails when the process has no descriptor left.
    pub(super) fn new() -> Result<Self, Errno> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { letters: Mutex::default(), bell })
    }

    /// Leaves a letter.
    pub(super) fn post(&self, letter: Letter) {
        self.letters().push_back(letter);
        // Fails only when the bell has been rung 2^64 - 2 times unheard, and then it rings.
        let _ = self.bell.write(1);
    }

    /// Takes all letters, in the order in which they were left.
    pub(super) fn collect(&self) -> VecDeque<Letter> {
        // The bell first: a letter left in between rings it again.
        let _ = self.bell.read();
        std::mem::take(&mut *self.letters())
    }

    fn letters(&self) -> MutexGuard<'_, VecDeque<Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
