//! The data path of a running server: started once, stopped once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use relay_common::tables::{Controls, Count, Settings};

use super::attachments::{Attachments, Board, Loaded};
use super::counters::{Counters, Totals};
use super::flow_table::{FlowTable, Occupancy, TableSize};
use super::flow_writer::FlowWriter;
use super::interfaces::{Network, Wanted};
use super::ladder::{load_reason, rungs};
use super::monitor::Monitor;
use super::netlink::{Kernel, Netlink};
use super::next_hop::{NextHopStatus, NextHops};
use super::program::{Plan, Program};
use super::shared_map::{SharedWords, to_words};
use super::tick_clock::TickClock;
use super::watcher::Watcher;
use super::{FastPath, InterfaceStatus, Mode, NoFastPath, Request, object};
use crate::meter_bank::MeterBank;
use crate::turn::RelayAddress;

/// Bindings, a channel or a permission each, that the tables hold unless told otherwise: 32 MiB of records and 8 MiB of
/// index.
pub const DEFAULT_BINDINGS: u32 = 131_072;

/// What to run the data path with.
#[derive(Clone, Debug)]
pub struct DatapathConfig {
    /// What the operator asked for.
    pub request: Request,
    /// The interfaces to run on; `None` for those that carry the listen and relay addresses.
    pub interfaces: Option<Vec<String>>,
    /// The UDP listeners, none of them with a port in `relay_ports`.
    pub listeners: Vec<SocketAddr>,
    /// The addresses that allocations relay from.
    pub relay: Vec<RelayAddress>,
    /// The ports of relayed transport addresses.
    pub relay_ports: RangeInclusive<u16>,
    /// The most bindings on the fast path, over all shards; the shards share them out evenly.
    pub max_bindings: u32,
    /// How many [writers](Datapath::writer) there will be.
    pub shards: usize,
    /// What may change later.
    pub controls: Controls,
}

/// Why there is no data path of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// An interface that does not exist was named.
    #[error("--interface {0}: there is no such interface; `ip link` lists those that there are")]
    NoSuchInterface(String),
    /// XDP was insisted on and some interface cannot.
    #[error("--datapath {request}: {}; --datapath auto would use what there is", reasons.join("; "))]
    CannotInsist {
        /// What was asked for.
        request: &'static str,
        /// Why not, by interface.
        reasons: Vec<String>,
    },
    /// Nobody could watch interfaces come and go.
    #[error("no descriptor to stop watching interfaces by: {0}")]
    Watch(std::io::Error),
}

/// The running data path. Dropping it is stopping it.
pub struct Datapath {
    interfaces: Board,
    // Dropped in this order: no packet sees next hops that nobody follows.
    _watcher: Watcher,
    xdp: Option<RunningXdp>,
}

struct RunningXdp {
    _monitor: Monitor,
    counters: Arc<Counters>,
    flows: Arc<FlowTable>,
    next_hops: Arc<NextHops>,
    meters: Arc<MeterBank>,
    controls: SharedWords,
    /// Taken by the shards.
    writers: Vec<Option<FlowWriter>>,
}

impl Datapath {
    /// Attaches to each interface on the highest rung of the ladder that holds, and goes on doing so with those that come
    /// later. With `auto` nothing is an error, and with `userspace` only a named interface that does not exist; all else
    /// ends in userspace, with the reason.
    pub fn start(config: &DatapathConfig) -> Result<Self, DatapathError> {
        let network = Network::read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the kernel did not list its interfaces");
            Network::default()
        });
        let wanted = Wanted {
            names: config.interfaces.as_ref().map(|names| names.iter().cloned().collect()),
            listeners: config.listeners.clone(),
            relay: config.relay.clone(),
        };
        let missing = wanted.missing(&network).into_iter().next();
        if let Some(name) = missing.filter(|_| config.request != Request::Auto) {
            return Err(DatapathError::NoSuchInterface(name));
        }
        let (xdp, loaded) = match RunningXdp::start(config, &wanted, &network) {
            Ok((xdp, loaded)) => (Some(xdp), Ok(loaded)),
            Err(reason) => (None, Err(reason)),
        };
        let mut attachments = Attachments::new(config.request, wanted, loaded);
        let interfaces = attachments.board();
        attachments.follow(&network);
        insist(config.request, &interfaces.read())?;
        let watcher = Watcher::start(attachments).map_err(|e| DatapathError::Watch(e.into()))?;
        Ok(Self { interfaces, _watcher: watcher, xdp })
    }

    /// Detaches the program, removes the tables and ends the threads that follow interfaces and next hops.
    pub fn stop(self) {
        drop(self);
    }

    /// How each interface relays now, and why not better.
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.interfaces.read()
    }

    /// What became of the packets that XDP saw, by reason; zeros without XDP.
    pub fn counters(&self) -> Totals {
        self.xdp.as_ref().map_or([Count::default(); _], |xdp| xdp.counters.read())
    }

    /// The same for one interface, by its index, since the program was attached to it; `None` where that is not attached, or
    /// runs on more interfaces than have counters of their own.
    pub fn counters_of(&self, ifindex: u32) -> Option<Totals> {
        self.xdp.as_ref()?.counters.of(ifindex)
    }

    /// Has the program go by other limits from now on.
    pub fn control(&self, controls: &Controls) {
        if let Some(xdp) = &self.xdp {
            set_controls(&xdp.controls, controls);
        }
    }

    /// How full the binding table is; zeros without XDP.
    pub fn occupancy(&self) -> Occupancy {
        self.xdp.as_ref().map(|xdp| xdp.flows.occupancy()).unwrap_or_default()
    }

    /// Every next hop in use.
    pub fn next_hops(&self) -> Vec<NextHopStatus> {
        self.xdp.as_ref().map(|xdp| xdp.next_hops.status()).unwrap_or_default()
    }

    /// The meters that XDP counts by; those of nobody else without XDP.
    pub fn meters(&self) -> Arc<MeterBank> {
        self.xdp.as_ref().map_or_else(Arc::default, |xdp| xdp.meters.clone())
    }

    /// The fast path of a shard, numbered from 0.
    ///
    /// # Panics
    ///
    /// When there is no such shard, or its writer was given out before: two would use the same records.
    pub fn writer(&mut self, shard: usize) -> Box<dyn FastPath> {
        match &mut self.xdp {
            Some(xdp) => Box::new(xdp.writers[shard].take().expect("a shard takes its writer once")),
            None => Box::new(NoFastPath),
        }
    }
}

impl RunningXdp {
    /// The program, loaded with its tables filled in but attached nowhere; or why not.
    fn start(config: &DatapathConfig, wanted: &Wanted, network: &Network) -> Result<(Self, Loaded), String> {
        let links = wanted.links(network);
        let only_loopback = !links.is_empty() && links.iter().all(|link| link.loopback);
        if rungs(config.request).is_empty() || (only_loopback && wanted.missing(network).is_empty()) {
            return Err("no interface can run XDP".into());
        }
        let object =
            object().ok_or("this binary was built without the eBPF object: run `cargo xtask build-ebpf`")?;
        let size = TableSize::for_bindings(config.max_bindings);
        let (mut seed, mut strangers) = ([0; _], [0; _]);
        for coefficient in seed.iter_mut().chain(&mut strangers) {
            *coefficient = getrandom::u64().map_err(|e| format!("the kernel gave no random numbers: {e}"))?;
        }
        let settings = TickClock::find(object).set(Settings {
            seed,
            records: size.usable(),
            bucket_mask: size.buckets - 1,
            first_port: *config.relay_ports.start(),
            last_port: *config.relay_ports.end(),
            ..Settings::default()
        });
        let locals = wanted.locals(network);
        let (program, tables) = Program::load(
            object,
            &Plan { size, meters: MeterBank::rows_for(config.max_bindings), settings, strangers, locals },
        )
        .map_err(|e| load_reason(&e))?;

        set_controls(&tables.controls, &config.controls);
        let no_netlink = |e: std::io::Error| format!("next hops cannot be followed over netlink: {e}");
        let flows = Arc::new(tables.flows);
        let kernel = || Netlink::open().map(Box::new).map_err(no_netlink);
        let next_hops = NextHops::new(kernel()?, tables.next_hops, flows.clone(), BTreeMap::new())
            .map_err(|e| no_netlink(e.into()))?;
        let lookups = (0..config.shards).map(|_| kernel().map(|kernel| kernel as Box<dyn Kernel>));
        let next_hops = Arc::new(next_hops.with_lookups(lookups.collect::<Result<_, _>>()?));
        let monitor = Monitor::start(next_hops.clone(), tables.ways_back).map_err(no_netlink)?;
        let each = (flows.len() - 1) / config.shards.max(1) as u32;
        let relay: Arc<[RelayAddress]> = config.relay.clone().into();
        let writer = || Some(FlowWriter::new(flows.clone(), next_hops.clone(), each, relay.clone()));
        let writers = std::iter::repeat_with(writer).take(config.shards).collect();
        let loaded = Loaded { program, next_hops: next_hops.clone() };
        let (counters, meters, controls) = (tables.counters, tables.meters, tables.controls);
        Ok((Self { _monitor: monitor, counters, flows, next_hops, meters, controls, writers }, loaded))
    }
}

fn set_controls(words: &SharedWords, controls: &Controls) {
    let values: [u64; size_of::<Controls>() / 8] = to_words(controls);
    for (word, value) in words.iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Refuses to run otherwise than the operator insists.
fn insist(request: Request, interfaces: &[InterfaceStatus]) -> Result<(), DatapathError> {
    let (wanted, request) = match request {
        Request::Auto | Request::Userspace => return Ok(()),
        Request::Xdp => (Mode::Xdp, "xdp"),
        Request::XdpGeneric => (Mode::XdpGeneric, "xdp-generic"),
    };
    let mut reasons: Vec<_> = interfaces
        .iter()
        .filter(|i| i.mode != wanted)
        .map(|i| format!("{}: {}", i.name, i.reasons.join(", ")))
        .collect();
    if interfaces.is_empty() {
        reasons.push("no interface carries the listen and relay addresses: name one with --interface".into());
    }
    if reasons.is_empty() { Ok(()) } else { Err(DatapathError::CannotInsist { request, reasons }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(index: u32, mode: Mode) -> InterfaceStatus {
        InterfaceStatus { name: format!("eth{index}"), index, mode, reasons: vec!["because".into()] }
    }

    #[test]
    fn insisting_fails_with_every_interfaces_reason_and_auto_never_does() {
        let interfaces = [status(1, Mode::Xdp), status(2, Mode::XdpGeneric), status(3, Mode::Userspace)];
        assert!(insist(Request::Auto, &interfaces).is_ok());
        assert!(insist(Request::Xdp, &interfaces[..1]).is_ok());
        let text = insist(Request::Xdp, &interfaces).unwrap_err().to_string();
        assert!(
            text.contains("eth2: because") && text.contains("eth3: because") && !text.contains("eth1"),
            "{text}"
        );
        assert!(insist(Request::XdpGeneric, &[]).unwrap_err().to_string().contains("--interface"));
    }

    #[test]
    fn the_loopback_relays_in_userspace_and_says_so() {
        let mut datapath = Datapath::start(&DatapathConfig {
            request: Request::Auto,
            interfaces: Some(vec!["lo".into()]),
            listeners: vec!["127.0.0.1:3478".parse().unwrap()],
            relay: Vec::new(),
            relay_ports: 49152..=65535,
            max_bindings: 16,
            shards: 1,
            controls: Controls::default(),
        })
        .unwrap();
        let interfaces = datapath.interfaces();
        let [lo] = &interfaces[..] else { panic!("{interfaces:?}") };
        assert_eq!((lo.mode, lo.reasons.len()), (Mode::Userspace, 1));
        assert_eq!(datapath.counters(), [Count::default(); _]);
        assert_eq!(datapath.occupancy(), Occupancy::default());
        assert_eq!(datapath.writer(0).forwarded(crate::turn::BindingId(1)), None);
        datapath.stop();
    }

    #[test]
    fn a_named_interface_that_does_not_exist_stops_the_start() {
        let config = DatapathConfig {
            request: Request::Userspace,
            interfaces: Some(vec!["nosuch0".into()]),
            listeners: Vec::new(),
            relay: Vec::new(),
            relay_ports: 49152..=65535,
            max_bindings: 16,
            shards: 1,
            controls: Controls::default(),
        };
        let Err(error) = Datapath::start(&config) else { panic!("started") };
        assert!(error.to_string().contains("nosuch0"), "{error}");
    }
}
