//! What a shard writes to the log: events in allocations' lives, at a limited rate.

use std::io;

use crate::auth::printable;
use crate::datapath::Forwarded;
use crate::throttle::Throttle;
use crate::time::Timestamp;
use crate::turn::{AllocationId, Binding, EndCause, Event, FiveTuple, RelayAddr, Summary};

/// An [`Event::AllocationEnded`].
pub(super) struct Ended<'a> {
    pub(super) allocation: AllocationId,
    pub(super) username: &'a str,
    pub(super) cause: EndCause,
    pub(super) summary: &'a Summary,
}

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
                    let FiveTuple { client, listener, transport } = five_tuple;
                    tracing::info!(
                        shard, allocation = allocation.0, user = %printable(username), client = %client.0, %listener, %transport,
                        %relayed, suppressed, "allocation created"
                    );
                }
            }
            Event::AllocationMoved { allocation, five_tuple, username } => {
                if let Some(suppressed) = self.moved.pass(now) {
                    let FiveTuple { client, listener, transport } = five_tuple;
                    tracing::info!(
                        shard, allocation = allocation.0, user = %printable(username), client = %client.0, %listener, %transport,
                        suppressed, "allocation moved"
                    );
                }
            }
            Event::AllocationEnded { .. }
            | Event::Refused { .. }
            | Event::Answered { .. }
            | Event::Tcp(_)
            | Event::TcpCarried { .. } => {}
        }
    }

    /// What an allocation came to at its end, with what the fast path carried for it: who used the relay, from where, for
    /// how long and for how much.
    pub(super) fn ended(&mut self, now: Timestamp, ended: &Ended<'_>, fast: Forwarded) {
        let Some(suppressed) = self.ended.pass(now) else { return };
        let Ended { allocation, username, cause, summary } = ended;
        let Summary { realm, five_tuple: FiveTuple { client, transport, .. }, relayed, age, usage } = summary;
        let cause = match cause {
            EndCause::Expired => "expired",
            EndCause::Deleted => "deleted",
            EndCause::Operator => "ended by the operator",
            EndCause::Disconnected => "connection closed",
            EndCause::Stuck => "the client did not read",
        };
        let (mut to_peer, mut to_client) = (usage.to_peer.relayed, usage.to_client.relayed);
        to_peer += fast.to_peer;
        to_client += fast.to_client;
        tracing::info!(
            shard = self.shard, allocation = allocation.0, user = %printable(username), realm = %printable(&**realm),
            client = %client.0, %transport, %relayed, cause, seconds = age.as_secs(),
            to_peer_packets = to_peer.packets, to_peer_bytes = to_peer.bytes,
            to_client_packets = to_client.packets, to_client_bytes = to_client.bytes,
            fast_packets = fast.to_peer.packets + fast.to_client.packets,
            dropped = usage.to_peer.dropped + usage.to_client.dropped, suppressed,
            "allocation ended"
        );
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
