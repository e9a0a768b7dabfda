//! What a shard writes to the log: events in allocations' lives, at a limited rate.

use std::io;

use crate::auth::printable;
use crate::throttle::Throttle;
use crate::time::Timestamp;
use crate::turn::{Binding, EndCause, Event, FiveTuple, RelayAddr};

/// The log of one shard, with a limit for each kind of message: a stranger, or a fleet's busy hour, must not fill a
/// disk.
pub(super) struct Log {
    shard: usize,
    created: Throttle,
    ended: Throttle,
    moved: Throttle,
    no_relay: Throttle,
    full: Throttle,
}

impl Log {
    pub(super) fn new(shard: usize) -> Self {
        Self {
            shard,
            created: Throttle::new(100),
            ended: Throttle::new(100),
            moved: Throttle::new(100),
            no_relay: Throttle::new(2),
            full: Throttle::new(2),
        }
    }

    /// An allocation's beginning, move or end. Responses are counted, not logged.
    pub(super) fn event(&mut self, now: Timestamp, event: &Event) {
        let shard = self.shard;
        match event {
            Event::AllocationCreated { allocation, five_tuple, relayed, username } => {
                if let Some(suppressed) = self.created.pass(now) {
                    let FiveTuple { client, listener, .. } = five_tuple;
                    tracing::info!(
                        shard, allocation = allocation.0, user = %printable(username), client = %client.0, %listener,
                        %relayed, suppressed, "allocation created"
                    );
                }
            }
            Event::AllocationMoved { allocation, five_tuple, username } => {
                if let Some(suppressed) = self.moved.pass(now) {
                    let FiveTuple { client, listener, .. } = five_tuple;
                    tracing::info!(
                        shard, allocation = allocation.0, user = %printable(username), client = %client.0, %listener,
                        suppressed, "allocation moved"
                    );
                }
            }
            Event::AllocationEnded { allocation, username, cause } => {
                if let Some(suppressed) = self.ended.pass(now) {
                    let cause = match cause {
                        EndCause::Expired => "expired",
                        EndCause::Deleted => "deleted",
                    };
                    tracing::info!(
                        shard, allocation = allocation.0, user = %printable(username), cause, suppressed,
                        "allocation ended"
                    );
                }
            }
            Event::Refused { .. } | Event::Answered { .. } => {}
        }
    }

    /// A relayed transport address could not be opened, for a reason other than that its port is in use.
    pub(super) fn no_relay(&mut self, now: Timestamp, relayed: RelayAddr, error: &io::Error) {
        let advice = match error.raw_os_error() {
            Some(libc::EMFILE) => "raise the limit on open files (LimitNOFILE= in systemd, ulimit -n)",
            Some(libc::ENFILE) => "raise fs.file-max",
            Some(libc::ENOBUFS | libc::ENOMEM) => "the host is short of memory for sockets",
            Some(libc::ENOSPC) => "raise fs.epoll.max_user_watches",
            Some(libc::EADDRNOTAVAIL) => "the relay address is not an address of this host (any more)",
            Some(libc::EACCES) => "ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "see the error",
        };
        if let Some(suppressed) = self.no_relay.pass(now) {
            let shard = self.shard;
            tracing::warn!(shard, relayed = %relayed.0, %error, suppressed, "no relayed address: {advice}");
        }
    }

    /// The fast path had no room for a binding.
    pub(super) fn fast_path_full(&mut self, now: Timestamp, binding: &Binding) {
        if let Some(suppressed) = self.full.pass(now) {
            let (shard, client, peer) = (self.shard, binding.five_tuple.client.0, binding.peer.0);
            tracing::warn!(
                shard, %client, %peer, suppressed,
                "the fast path's table is full: this binding is relayed in userspace"
            );
        }
    }
}
