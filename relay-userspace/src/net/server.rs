//! Starting and stopping the shards.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::counters::{Counters, Stats};
use super::dtls::{Common, DtlsConfig};
use super::foreign::Watch;
use super::mailbox::{Letter, Mailbox};
use super::names::{self, Names, NotHeld};
use super::shard::{Parts, Shard};
use super::shared::{self, NotShared};
use super::streams::Streams;
use super::tcp_relay::{Carriers, TcpRelays};
use super::walk::{Found, Selection, SessionQuery, Walk};
use super::{limits, listeners};
use crate::datapath::FastPath;
use crate::turn::{Core, CoreConfig, Shared, Transport};

/// What a server needs to start.
pub struct ServerConfig {
    /// UDP addresses to listen on; concrete ones, so that answers leave from where the client asked. Port 0 takes any
    /// free port. May be empty where clients come by streams only.
    pub listeners: Vec<SocketAddr>,
    /// How many threads serve; best one for each CPU.
    pub shards: usize,
    /// The settings of the protocol.
    pub core: Arc<CoreConfig>,
    /// What the protocol cores share.
    pub shared: Arc<Shared>,
    /// What allocations receive and send by.
    pub relay_sockets: RelaySockets,
    /// Makes the table writer of a shard, given its number from zero.
    pub fast_path: Box<dyn FnMut(usize) -> Box<dyn FastPath>>,
}

/// What allocations receive from peers and send to them by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RelaySockets {
    /// One socket for all allocations of a shard where the socket lookup program can run, else one for each.
    #[default]
    Auto,
    /// A socket for each allocation.
    Each,
}

impl fmt::Display for RelaySockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RelaySockets::Auto => "auto",
            RelaySockets::Each => "each",
        })
    }
}

/// A running server. Dropping it stops it too.
pub struct Server {
    listeners: Vec<SocketAddr>,
    mailboxes: Arc<[Mailbox]>,
    threads: Vec<JoinHandle<()>>,
    counters: Vec<Arc<Counters>>,
    why_each: Option<String>,
    watch: Option<Watch>,
    // Stopped after the shards.
    _carriers: Option<Carriers>,
    // Given back last: until then the ports are in use.
    _names: Option<Names>,
}

impl Server {
    /// Opens the listeners and starts a thread for each shard. Fails when an address cannot be listened on, or is
    /// taken, or is a wildcard, or when another server has relay addresses and ports of this one.
    pub fn start(mut config: ServerConfig) -> Result<Server> {
        ensure!(config.shards > 0, "a server needs at least one shard");
        limits::raise_open_files();
        let by_shard = listeners::open(&config.listeners, Transport::Udp, config.shards)?;
        let mailboxes = (0..config.shards).map(|_| Mailbox::new());
        let mailboxes: Arc<[_]> =
            mailboxes.collect::<Result<_, _>>().context("no event descriptor to reach the shards by")?;
        let RelayedBy { mut shared, watch, names, why_each } = RelayedBy::open(&config)?;
        // One for two shards: what they carry is rare beside media.
        let carriers =
            config.core.tcp_relay.map(|_| Carriers::start(config.shards.div_ceil(2))).transpose()?;
        let runtime = carriers.as_ref().and_then(Carriers::handle);
        let mut server = Server {
            listeners: by_shard[0].iter().map(|listener| listener.address).collect(),
            mailboxes,
            threads: Vec::with_capacity(config.shards),
            counters: Vec::with_capacity(config.shards),
            why_each,
            watch,
            _carriers: carriers,
            _names: names,
        };
        for (number, listeners) in by_shard.into_iter().enumerate() {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).context("the kernel gave no random numbers")?;
            let counters = Arc::new(Counters::default());
            server.counters.push(Arc::clone(&counters));
            let core = Core::new(Arc::clone(&config.core), Arc::clone(&config.shared), seed);
            let shard = u16::try_from(number).context("more shards than can be numbered")?;
            let parts = Parts {
                number: shard,
                core: core.numbered(shard),
                listeners,
                shared: shared[number].take(),
                tcp_relays: TcpRelays::new(shard, Arc::clone(&server.mailboxes), runtime.clone()),
                fast_path: (config.fast_path)(number),
                counters,
                mailboxes: Arc::clone(&server.mailboxes),
            };
            let thread = thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(move || serve(parts))
                .context("cannot start a thread for a shard")?;
            server.threads.push(thread);
        }
        Ok(server)
    }

    /// The addresses that the server listens on, with the ports it was given.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Where the connections of clients are handed over.
    pub fn streams(&self) -> Streams {
        Streams::new(Arc::clone(&self.mailboxes))
    }

    /// Serves clients over DTLS from now on; returns where, with the ports that it was given. Fails when an address cannot be
    /// listened on. To be called once.
    pub fn serve_dtls(&self, config: &DtlsConfig) -> Result<Vec<SocketAddr>> {
        let common = Common::new(config.door.clone())?;
        let by_shard = listeners::open(&config.listeners, Transport::Dtls, self.mailboxes.len())?;
        let addresses = by_shard[0].iter().map(|listener| listener.address).collect();
        for (mailbox, listeners) in self.mailboxes.iter().zip(by_shard) {
            mailbox.post(Letter::Dtls(listeners, common.clone()));
        }
        Ok(addresses)
    }

    /// Has all shards go on with other settings: see [`Core::reconfigure`]. Each takes them between two datagrams.
    pub fn reconfigure(&self, core: &Arc<CoreConfig>) -> Reconfigured {
        let (taken, all_taken) = channel();
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Letter::Configure(Arc::clone(core), taken.clone()));
        }
        Reconfigured(all_taken)
    }

    /// Asks all shards for their allocations. Nobody waits until [`Asked::wait`].
    pub fn sessions(&self, query: &SessionQuery) -> Asked<Found> {
        self.ask(|reply| Walk::find(query.clone(), reply))
    }

    /// Has the allocations ended that `which` names. Each shard answers how many it ended.
    pub fn end_sessions(&self, which: &Selection) -> Asked<u64> {
        self.ask(|reply| Walk::end(which.clone(), reply))
    }

    fn ask<T>(&self, walk: impl Fn(Sender<T>) -> Walk) -> Asked<T> {
        let (reply, replies) = channel();
        self.mailboxes.iter().for_each(|mailbox| mailbox.post(Letter::Walk(walk(reply.clone()))));
        Asked { replies, shards: self.mailboxes.len() }
    }

    /// What all shards have counted so far.
    pub fn stats(&self) -> Stats {
        let mut sums = Stats::default();
        self.counters.iter().for_each(|counters| counters.add_to(&mut sums));
        sums.relay_drops += self.watch.as_ref().map_or(0, Watch::shed);
        sums
    }

    /// Why each allocation has a socket of its own; `None` when those of a shard share one.
    pub fn why_each_has_a_socket(&self) -> Option<&str> {
        self.why_each.as_deref()
    }

    /// Stops all shards: their sockets are closed when this returns. Entries of the fast path stay; they end by their
    /// deadlines or with the program.
    pub fn stop(self) {}
}

/// A question that all shards are to answer.
#[derive(Debug)]
pub struct Asked<T> {
    replies: Receiver<T>,
    shards: usize,
}

impl<T> Asked<T> {
    /// All answers, unless one is missing after `limit`.
    pub fn wait(self, limit: Duration) -> Option<Vec<T>> {
        let deadline = Instant::now() + limit;
        let next = || self.replies.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        (0..self.shards).map(|_| next()).collect()
    }
}

/// Settings on their way to the shards.
#[derive(Debug)]
pub struct Reconfigured(Receiver<()>);

impl Reconfigured {
    /// Whether all shards go by them within `limit`. Afterwards nothing happens by the settings before.
    pub fn wait(self, limit: Duration) -> bool {
        // Nobody sends: the channel ends with the last letter.
        self.0.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.post(Letter::Stop));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard's thread had panicked; its clients were not served since");
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// What allocations are relayed by.
struct RelayedBy {
    /// By shard.
    shared: Vec<Option<shared::Shared>>,
    watch: Option<Watch>,
    names: Option<Names>,
    /// Why there are no shared sockets.
    why_each: Option<String>,
}

impl RelayedBy {
    /// Opens the sockets that the allocations of each shard share, where that can be.
    fn open(config: &ServerConfig) -> Result<Self> {
        let core = &config.core;
        let mut ips = Vec::new();
        for address in &core.relay_addresses {
            if !ips.contains(&address.local) {
                ips.push(address.local);
            }
        }
        let why = match config.relay_sockets {
            RelaySockets::Each => "as configured".into(),
            RelaySockets::Auto => match Self::share(ips.clone(), config)? {
                Ok(shared) => return Ok(shared),
                Err(why) => {
                    tracing::info!("each allocation has a socket of its own: {why}");
                    why.to_string()
                }
            },
        };
        match names::look(&ips, &core.relay_ports) {
            Err(NotHeld::Another(another)) => return Err(another.into()),
            Err(NotHeld::System(error)) => {
                tracing::warn!(%error, "the kernel did not list its UNIX sockets: another Turnpike may have ports of this one");
            }
            Ok(()) => {}
        }
        let shared = (0..config.shards).map(|_| None).collect();
        Ok(Self { shared, watch: None, names: None, why_each: Some(why) })
    }

    fn share(ips: Vec<IpAddr>, config: &ServerConfig) -> Result<Result<Self, NotShared>> {
        let ports = &config.core.relay_ports;
        let (shared, watch) = match shared::open(ips.clone(), ports, config.shards) {
            Ok(opened) => opened,
            Err(why) => return Ok(Err(why)),
        };
        let names = match Names::hold(&ips, ports) {
            Ok(names) => names,
            Err(NotHeld::Another(another)) => return Err(another.into()),
            Err(NotHeld::System(error)) => return Ok(Err(NotShared::Name(error))),
        };
        let shared = shared.into_iter().map(Some).collect();
        Ok(Ok(Self { shared, watch: Some(watch), names: Some(names), why_each: None }))
    }
}

/// A shard without its epoll is a bug or a host out of memory, and clients hashed to it would wait for ever: better
/// that the process ends and its supervisor starts it again.
fn serve(parts: Parts) {
    let served = Shard::new(parts).and_then(Shard::run);
    served.expect("a shard can wait for its sockets");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_when_the_last_shard_has_taken_them() {
        let letters = || {
            let (taken, all_taken) = channel();
            ([taken.clone(), taken], Reconfigured(all_taken))
        };
        let ([one, two], posted) = letters();
        drop(one);
        assert!(!posted.wait(Duration::from_millis(20)));
        drop(two);
        let ([one, two], posted) = letters();
        drop((one, two));
        assert!(posted.wait(Duration::ZERO));
    }
}
