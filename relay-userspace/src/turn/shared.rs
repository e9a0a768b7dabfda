//! What the protocol cores of a server share.

use std::sync::Arc;

use super::accounts::Accounts;
use super::config::CoreConfig;
use super::ports::Ports;
use super::reservations::Reservations;
use super::tcp::Connections;
use crate::auth::{Nonces, Tickets};
use crate::meter_bank::{BankOccupancy, MeterBank};
use crate::policy::Strangers;

/// The state that several cores (one for each shard of clients) have in common: relayed ports, accounts, reservations,
/// the keys of nonces and tickets, meters and what strangers were answered. Nothing here is locked on the packet path.
#[derive(Debug)]
pub struct Shared {
    pub(super) ports: Ports,
    pub(super) accounts: Accounts,
    pub(super) reservations: Reservations,
    pub(super) connections: Connections,
    pub(super) nonces: Nonces,
    pub(super) tickets: Tickets,
    pub(super) strangers: Strangers,
    pub(super) meters: Arc<MeterBank>,
}

impl Shared {
    /// The state of a server that has no allocation yet. `seed` must be secret and random: nonces and tickets depend on it.
    pub fn new(config: &CoreConfig, seed: [u8; 32]) -> Self {
        Self {
            ports: Ports::new(&config.relay_addresses, &config.relay_ports),
            accounts: Accounts::default(),
            reservations: Reservations::default(),
            connections: Connections::default(),
            nonces: Nonces::new(seed),
            tickets: Tickets::new(seed),
            strangers: Strangers::default(),
            meters: Arc::default(),
        }
    }

    /// The same with the meters of a data path, which counts by them too.
    pub fn metered_by(self, meters: Arc<MeterBank>) -> Self {
        Self { meters, ..self }
    }

    /// Meters of allocations and users.
    pub fn meters(&self) -> BankOccupancy {
        self.meters.occupancy()
    }

    /// Relayed ports that nobody holds, over all relay addresses.
    pub fn free_ports(&self) -> usize {
        self.ports.free()
    }

    /// Places taken in the quotas: allocations and reserved ports.
    pub fn quota_used(&self) -> u32 {
        self.accounts.total()
    }

    /// Users that hold an allocation or a reserved port.
    pub fn users(&self) -> usize {
        self.accounts.users()
    }

    /// Connections of TCP allocations with peers (RFC 6062), those included that are being made or wait for the client.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Reserved ports that wait for their Allocate request.
    pub fn reservations(&self) -> usize {
        self.reservations.len()
    }
}
