//! What a connection carried: counted by whoever carries it, taken by the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use relay_common::tables::Count;

use super::super::metering::Direction;

/// What a joined connection carried since the core asked last. Both sides hold it, so that the core has the last of it also
/// where it is the core that ends the connection.
#[derive(Clone, Default, Debug)]
pub struct Carried(Arc<Both>);

#[derive(Default, Debug)]
struct Both {
    to_peer: Way,
    to_client: Way,
    over: AtomicBool,
}

#[derive(Default, Debug)]
struct Way {
    pieces: AtomicU64,
    bytes: AtomicU64,
}

impl Carried {
    /// Counts a piece that went on.
    pub fn add(&self, direction: Direction, bytes: usize) {
        let way = match direction {
            Direction::ToPeer => &self.0.to_peer,
            Direction::ToClient => &self.0.to_client,
        };
        way.pieces.fetch_add(1, Relaxed);
        way.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Whether there is something that the core has not counted.
    pub fn any(&self) -> bool {
        [&self.0.to_peer, &self.0.to_client].iter().any(|way| way.bytes.load(Relaxed) > 0)
    }

    /// Whether the core has ended the connection: what goes on after the piece in hand would be counted nowhere.
    pub fn is_over(&self) -> bool {
        self.0.over.load(Relaxed)
    }

    pub(super) fn end(&self) {
        self.0.over.store(true, Relaxed);
    }

    /// To the peer, and to the client.
    pub(super) fn take(&self) -> (Count, Count) {
        (self.0.to_peer.take(), self.0.to_client.take())
    }
}

impl Way {
    fn take(&self) -> Count {
        Count { packets: self.pieces.swap(0, Relaxed), bytes: self.bytes.swap(0, Relaxed) }
    }
}

/// The same counters.
impl PartialEq for Carried {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Carried {}
