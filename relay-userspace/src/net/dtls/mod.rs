//! Clients that speak TURN over DTLS.
//!
//! An association belongs to the shard that the kernel hashes its client's 5-tuple to, as UDP clients do, and everything about it
//! is done there: cookies and handshakes ([`hello`]), what the client says and is told ([`serve`]), and its end ([`end`]). No
//! thread waits for another. A handshake takes some 0.4 ms of CPU time (docs/performance.md), so few begin in one turn of a shard.

mod end;
mod event;
mod hello;
#[cfg(any(test, fuzzing))]
mod rig;
mod serve;
mod table;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub(super) use event::DtlsCounters;
pub use event::DtlsEvent;
#[cfg(any(test, fuzzing))]
pub use rig::DtlsRig;
pub(super) use table::Associations;

use super::streams::Place;
use crate::dtls::{CookieKeys, Identity, Rules};
use crate::policy::{Rate, Strangers};
use crate::time::Timestamp;

/// How long a handshake may take: dimpl repeats what gets no answer after 1, 3 and 7 seconds.
const HANDSHAKE: Duration = seconds(15);

/// Handshakes that begin for the addresses of one network: as many at once as callers behind one NAT that come back together,
/// and the computing that they may cause for ever. Tests have no time for more than five.
const OF_NETWORK: Rate = if cfg!(test) {
    Rate::new(1, Duration::from_secs(3600), 5)
} else {
    Rate::new(100, Duration::from_secs(1), 300)
};

/// Who may begin a handshake, and with what it is served.
pub trait DtlsDoor: Send + Sync {
    /// A place for a client, whose address is proved; `None` if there are too many, of it or in all.
    fn admit(&self, client: IpAddr) -> Option<Place>;

    /// The certificate for a name of SNI; `None` if there is none with a key that DTLS can use.
    fn identity(&self, name: Option<&str>) -> Option<Arc<Identity>>;
}

/// What DTLS is served with.
#[derive(Clone)]
pub struct DtlsConfig {
    /// Addresses to listen on, as those of UDP listeners.
    pub listeners: Vec<SocketAddr>,
    /// Asked at each handshake.
    pub door: Arc<dyn DtlsDoor>,
}

impl fmt::Debug for DtlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsConfig").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// What all shards share.
pub(super) struct Common {
    door: Arc<dyn DtlsDoor>,
    cookies: CookieKeys,
    rules: Rules,
    handshakes: Strangers,
    /// The same moment by two clocks: dimpl has that of the standard library.
    moment: (Timestamp, Instant),
}

impl Common {
    pub(super) fn new(door: Arc<dyn DtlsDoor>) -> Result<Arc<Self>> {
        Self::by(rules()?, door)
    }

    fn by(rules: Rules, door: Arc<dyn DtlsDoor>) -> Result<Arc<Self>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("the kernel gave no random numbers")?;
        Ok(Arc::new(Self {
            door,
            cookies: CookieKeys::new(seed),
            rules,
            handshakes: Strangers::default(),
            moment: (Timestamp::now(), Instant::now()),
        }))
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.moment.1 + at.since(self.moment.0)
    }

    fn timestamp(&self, at: Instant) -> Timestamp {
        self.moment.0 + at.saturating_duration_since(self.moment.1)
    }
}

/// dimpl tries what it is to compute with, which takes milliseconds.
fn rules() -> Result<Rules> {
    Rules::new(HANDSHAKE).context("DTLS cannot be computed on this machine")
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Common")
    }
}

/// How long somebody is waited for. Tests wait for a twentieth of it.
const fn seconds(seconds: u64) -> Duration {
    Duration::from_millis(if cfg!(test) { seconds * 50 } else { seconds * 1000 })
}

#[cfg(test)]
mod patience_tests;
