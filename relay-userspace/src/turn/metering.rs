//! Bandwidth and packet rates, of an allocation and of its user.

use crate::policy::{Bucket, Rate};
use crate::time::Timestamp;

/// How much may be relayed in each direction. Data counts as the user sent it, without the headers of TURN, UDP and IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throughput {
    /// Bytes.
    pub bytes: Option<Rate>,
    /// Datagrams.
    pub packets: Option<Rate>,
}

/// Limits on what is relayed and on how fast permissions are made; none unless the operator sets some.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// Of each allocation.
    pub allocation: Throughput,
    /// Of all allocations of a user together, over all cores.
    pub user: Throughput,
    /// New permissions of a user, over all its allocations.
    pub new_peers: Option<Rate>,
}

impl Rates {
    /// Whether relayed data must be counted. XDP does not do that yet, so that such data must go through userspace.
    pub fn limit_data(&self) -> bool {
        self.allocation != Throughput::default() || self.user != Throughput::default()
    }
}

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    ToPeer,
    ToClient,
}

/// The buckets of one throughput, a pair for each direction.
#[derive(Default, Debug)]
pub(super) struct Meters {
    to_peer: Meter,
    to_client: Meter,
}

#[derive(Default, Debug)]
struct Meter {
    bytes: Bucket,
    packets: Bucket,
}

/// What an allocation whose data is limited has of its own. The limits are those that held when it was made.
#[derive(Debug)]
pub(super) struct Metered {
    rates: Rates,
    meters: Meters,
}

impl Metered {
    /// `None` when nothing is limited: then nothing is done for a packet either.
    pub(super) fn new(rates: Rates) -> Option<Box<Self>> {
        rates.limit_data().then(|| Box::new(Self { rates, meters: Meters::default() }))
    }

    /// Whether one more datagram of `bytes` may pass: by the allocation's limits and by its user's. Only what passes
    /// both is counted.
    pub(super) fn pass(&self, user: &Meters, direction: Direction, now: Timestamp, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let own = self.meters.of(direction);
        if !own.take(&self.rates.allocation, now, bytes) {
            return false;
        }
        let passed = user.of(direction).take(&self.rates.user, now, bytes);
        if !passed {
            own.give_back(&self.rates.allocation, bytes);
        }
        passed
    }
}

impl Meters {
    /// When all buckets are full.
    pub(super) fn full_at(&self) -> Timestamp {
        let Self { to_peer, to_client } = self;
        let buckets = [&to_peer.bytes, &to_peer.packets, &to_client.bytes, &to_client.packets];
        buckets.map(Bucket::full_at).into_iter().max().unwrap_or_default()
    }

    fn of(&self, direction: Direction) -> &Meter {
        match direction {
            Direction::ToPeer => &self.to_peer,
            Direction::ToClient => &self.to_client,
        }
    }
}

impl Meter {
    fn take(&self, limit: &Throughput, now: Timestamp, bytes: u64) -> bool {
        if limit.packets.is_some_and(|rate| !self.packets.take(&rate, now, 1)) {
            return false;
        }
        let passed = limit.bytes.is_none_or(|rate| self.bytes.take(&rate, now, bytes));
        if let (false, Some(rate)) = (passed, limit.packets) {
            self.packets.give_back(&rate, 1);
        }
        passed
    }

    fn give_back(&self, limit: &Throughput, bytes: u64) {
        if let Some(rate) = limit.packets {
            self.packets.give_back(&rate, 1);
        }
        if let Some(rate) = limit.bytes {
            self.bytes.give_back(&rate, bytes);
        }
    }
}
