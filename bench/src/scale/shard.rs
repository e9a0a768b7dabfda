//! The protocol core of one shard without sockets: what it asks to open is open at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use turnpike::auth::Credentials;
use turnpike::time::Timestamp;
use turnpike::turn::{AllocationId, ClientAddr, Core, FiveTuple, Input, Output, Outputs, Shared, Transport};

use super::clients::{self, Answer, Ask, PASSWORD, REALM, SECRET, USER, User};
use crate::core_config::core_config;

const PORTS: RangeInclusive<u16> = 10_000..=65_535;

/// A core with its clock.
pub(super) struct Shard {
    core: Core,
    out: Outputs,
    now: Timestamp,
    listener: SocketAddr,
}

impl Shard {
    /// One that has room for so many allocations.
    pub(super) fn new(allocations: u32) -> Result<Self> {
        // A tenth more than are wanted, so that free ports are found as they are in practice.
        let addresses = (allocations + allocations / 10) / PORTS.len() as u32 + 1;
        let relay: Vec<IpAddr> =
            (1..=addresses).map(|n| IpAddr::from(Ipv4Addr::from_bits((192 << 24 | 51 << 16) + n))).collect();
        let credentials = Credentials::new([(USER.into(), PASSWORD.into())], [SECRET.into()])?;
        let config = core_config(REALM, credentials, &relay, PORTS)?;
        let shared = Arc::new(Shared::new(&config, [7; 32]));
        let mut core = Core::new(Arc::new(config), shared, [7; 32]);
        let now = Timestamp::now();
        core.set_unix_time(now, SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        Ok(Self { core, out: Outputs::default(), now, listener: SocketAddr::new(relay[0], 3478) })
    }

    /// Tells the time, as a shard does once for each batch.
    pub(super) fn tick(&mut self) {
        self.now = Timestamp::now();
    }

    /// Takes a datagram of the `n`th client; the bytes that were sent last.
    pub(super) fn handle(&mut self, n: u32, datagram: &[u8]) -> &[u8] {
        let client = ClientAddr(clients::client(n));
        let five_tuple = FiveTuple { client, listener: self.listener, transport: Transport::Udp };
        self.core.handle(self.now, Input::FromClient { five_tuple, datagram }, &mut self.out);
        while let Some(allocation) = self.take_opening() {
            let opened = Input::RelayOpened { allocation, outcome: Ok(()) };
            self.core.handle(self.now, opened, &mut self.out);
        }
        &self.out.bytes
    }

    /// The allocation that asks for a relayed address; as a driver does, takes all outputs.
    fn take_opening(&mut self) -> Option<AllocationId> {
        let mut asks = None;
        for output in self.out.items.drain(..) {
            if let Output::OpenRelay { allocation, .. } = output {
                asks = Some(allocation);
            }
        }
        asks
    }

    /// Has the `n`th client make an allocation with so many channels, from the challenge on.
    pub(super) fn admit(&mut self, n: u32, user: &User, channels: u32, datagram: &mut Vec<u8>) -> Result<()> {
        Ask::Allocate.write(n, 0, None, datagram);
        let nonce = Answer::read(self.handle(n, datagram)).and_then(|a| a.nonce().map(<[u8]>::to_vec));
        let nonce = nonce.context("an Allocate without credentials is not challenged")?;
        let asks = std::iter::once(Ask::Allocate).chain((0..channels).map(Ask::Bind));
        for (serial, ask) in (1..).zip(asks) {
            ask.write(n, serial, Some((user, &nonce)), datagram);
            let granted = Answer::read(self.handle(n, datagram)).is_some_and(|a| a.is_success());
            ensure!(granted, "{ask:?} of client {n} is refused");
        }
        Ok(())
    }

    /// Live allocations.
    pub(super) fn allocations(&self) -> usize {
        self.core.allocation_count()
    }
}
