//! Where media runs: the XDP programs and their tables, or this process.

mod object;
mod status;

use crate::time::Timestamp;
use crate::turn::{Binding, BindingId};

pub use object::object;
pub use status::{InterfaceStatus, Mode, Request};

/// Takes a shard's bindings into the tables that the data path reads. One per shard, so nothing is locked.
pub trait FastPath: Send {
    /// Installs both directions. On refusal the session stays on the slow path; the refusal is counted.
    fn bind(&mut self, binding: &Binding) -> Result<(), NotInstalled>;
    /// Moves the deadline of a binding; one that is not installed is left alone.
    fn extend(&mut self, binding: BindingId, deadline: Timestamp);
    /// Removes a binding; one that is not installed is left alone.
    fn unbind(&mut self, binding: BindingId);
}

/// Why a binding stays on the slow path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotInstalled {
    /// The tables hold as many bindings as they were made for.
    #[error("the binding table is full")]
    Full,
    /// No interface runs the program.
    #[error("no interface has a fast path")]
    NoFastPath,
}

/// The fast path of a server that has none.
#[derive(Debug, Default)]
pub struct NoFastPath;

impl FastPath for NoFastPath {
    fn bind(&mut self, _: &Binding) -> Result<(), NotInstalled> {
        Err(NotInstalled::NoFastPath)
    }

    fn extend(&mut self, _: BindingId, _: Timestamp) {}

    fn unbind(&mut self, _: BindingId) {}
}
