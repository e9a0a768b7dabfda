//! Bandwidth and packet rates, of an allocation and of its user.

use std::sync::Arc;

use relay_common::meter::{Limit, Line, Row};

use super::accounts::Account;
use crate::meter_bank::{Meter, MeterBank};
use crate::policy::Rate;
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

impl Throughput {
    fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Has a meter keep to it in both directions. What it has counted stays.
    fn set(&self, row: &Row) {
        let limit = |rate: Option<Rate>| rate.map_or(Limit::default(), |rate| rate.limit());
        for line in row.lines() {
            line.bytes.set(limit(self.bytes));
            line.packets.set(limit(self.packets));
        }
    }
}

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client to a peer.
    ToPeer,
    /// From a peer to the client.
    ToClient,
}

impl Direction {
    fn of(self, row: &Row) -> &Line {
        match self {
            Direction::ToPeer => &row.to_peer,
            Direction::ToClient => &row.to_client,
        }
    }
}

/// How an allocation's data is limited, which is settled when it is made: by which meters. The limits in its own are those
/// of that time, its user's has those of the user's newest allocation.
#[derive(Debug)]
pub(super) struct Metered {
    own: Option<Meter>,
    /// Whether its user's meter counts too.
    by_user: bool,
    number: u32,
}

impl Metered {
    /// `None` when nothing is limited: then nothing is done for a packet either.
    pub(super) fn new(
        rates: &Rates,
        account: &Account,
        bank: &Arc<MeterBank>,
        now: Timestamp,
    ) -> Option<Arc<Self>> {
        let own = rates.allocation.is_limited().then(|| bank.take(now));
        let user = rates.user.is_limited().then(|| &**account.meter.get_or_init(|| bank.take(now).into()));
        if let Some(own) = &own {
            rates.allocation.set(own.row());
        }
        if let Some(user) = user {
            rates.user.set(user.row());
        }
        let number = match (&own, user) {
            (None, None) => return None,
            (None, Some(one)) | (Some(one), None) => one.number(),
            (Some(own), Some(user)) => {
                own.row().set_parent(user.number());
                if user.number() == 0 { 0 } else { own.number() }
            }
        };
        Some(Arc::new(Self { own, by_user: user.is_some(), number }))
    }

    /// The meter that XDP counts by; 0 if there was no row for one, and XDP must not forward for the allocation.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether one more datagram of `bytes` may pass: by the allocation's limits and by its user's. Only what passes
    /// both is counted.
    pub(super) fn pass(&self, account: &Account, direction: Direction, now: Timestamp, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let own = self.own.as_ref().map(|meter| direction.of(meter.row()));
        let user = account.meter.get().filter(|_| self.by_user).map(|meter| direction.of(meter.row()));
        if own.is_some_and(|own| !own.take(now.0, bytes)) {
            return false;
        }
        let passed = user.is_none_or(|user| user.take(now.0, bytes));
        if let (false, Some(own)) = (passed, own) {
            own.give_back(bytes);
        }
        passed
    }
}

/// When nothing is owed any more.
pub(super) fn full_at(meter: &Meter) -> Timestamp {
    let lines = meter.row().lines().map(|line| line.bytes.full_at().max(line.packets.full_at()));
    Timestamp(lines[0].max(lines[1]))
}
