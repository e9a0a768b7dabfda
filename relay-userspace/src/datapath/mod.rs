//! Where media runs: the XDP programs and their tables, or this process.

mod attachments;
mod carried;
mod claims;
mod counters;
pub mod doctor;
mod flow_table;
mod flow_writer;
mod headroom;
mod hop_table;
mod interface_log;
mod interface_table;
mod interfaces;
mod ladder;
mod monitor;
mod netlink;
mod next_hop;
mod object;
mod program;
mod shared_map;
mod start;
mod status;
mod tick_clock;
mod watcher;
mod ways_back;

use std::ops::AddAssign;

use relay_common::tables::Count;

use crate::turn::{AllocationId, Binding, BindingId};

pub use counters::Totals;
pub use flow_table::{FlowTable, MOST_BINDINGS, Occupancy, TableSize};
pub use flow_writer::{FlowWriter, NextHopSource};
pub use next_hop::{NEXT_HOPS, NextHopStatus, NextHops};
pub(crate) use object::lookup_object;
pub use object::object;
pub use shared_map::SharedWords;
pub use start::{DEFAULT_BINDINGS, Datapath, DatapathConfig, DatapathError};
pub use status::{InterfaceStatus, InterfaceTraffic, Mode, Request};
pub use tick_clock::TickClock;

/// Takes a shard's bindings into the tables that the data path reads. One per shard, so nothing is locked.
pub trait FastPath: Send {
    /// Installs both directions. On refusal the session stays on the slow path; the refusal is counted.
    fn bind(&mut self, binding: &Binding) -> Result<(), NotInstalled>;
    /// Moves the deadline of a binding to the one that it has now; one that is not installed is tried again.
    fn extend(&mut self, binding: &Binding);
    /// Removes a binding; one that is not installed is left alone.
    fn unbind(&mut self, binding: BindingId);
    /// What the fast path has carried for a binding; `None` when it is not installed.
    fn forwarded(&self, binding: BindingId) -> Option<Forwarded>;
    /// What it has carried for an allocation by bindings that were removed; with [`forwarded`](FastPath::forwarded) of those
    /// that are installed, that is all.
    fn forwarded_before(&mut self, _: AllocationId) -> Forwarded {
        Forwarded::default()
    }
    /// The same for an allocation that has ended, with all of its bindings; it is forgotten.
    fn close(&mut self, _: AllocationId) -> Forwarded {
        Forwarded::default()
    }
}

/// What the fast path has carried: packets, and bytes of data without the headers of TURN, UDP and IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forwarded {
    /// From the client to the peer.
    pub to_peer: Count,
    /// From the peer to the client.
    pub to_client: Count,
}

impl AddAssign for Forwarded {
    fn add_assign(&mut self, more: Self) {
        self.to_peer += more.to_peer;
        self.to_client += more.to_client;
    }
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

    fn extend(&mut self, _: &Binding) {}

    fn unbind(&mut self, _: BindingId) {}

    fn forwarded(&self, _: BindingId) -> Option<Forwarded> {
        None
    }
}
