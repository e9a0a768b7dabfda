//! The data path of a running server: started once, stopped once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aya::programs::XdpMode;
use relay_common::tables::{Count, Settings};

use super::counters::{Counters, Totals};
use super::flow_table::{FlowTable, Occupancy, TableSize};
use super::flow_writer::FlowWriter;
use super::hop_table::Attached;
use super::interfaces::{Network, is_virtual, local_key};
use super::ladder::{Climbed, attach_reason, climb, load_reason, rungs};
use super::monitor::Monitor;
use super::netlink::{Link, Netlink};
use super::next_hop::{NextHopStatus, NextHops};
use super::program::{Plan, Program, Tables};
use super::{FastPath, InterfaceStatus, Mode, NoFastPath, Request, object};
use crate::turn::RelayAddress;

/// Bindings that the tables hold unless told otherwise: 16 MiB of records and 4 MiB of index.
pub const DEFAULT_BINDINGS: u32 = 65_536;

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
}

/// The running data path. Dropping it is stopping it.
pub struct Datapath {
    interfaces: Vec<InterfaceStatus>,
    xdp: Option<RunningXdp>,
}

struct RunningXdp {
    // Dropped in this order: no packet sees next hops that nobody follows.
    _program: Program,
    _monitor: Monitor,
    counters: Counters,
    flows: Arc<FlowTable>,
    next_hops: Arc<NextHops>,
    /// Taken by the shards.
    writers: Vec<Option<FlowWriter>>,
}

impl Datapath {
    /// Attaches to each interface on the highest rung of the ladder that holds. With `auto` and `userspace` only a
    /// named interface that does not exist is an error; all else ends in userspace, with the reason.
    pub fn start(config: &DatapathConfig) -> Result<Self, DatapathError> {
        let network = Network::read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the kernel did not list its interfaces");
            Network::default()
        });
        let links = match &config.interfaces {
            Some(names) => network.named(names).map_err(DatapathError::NoSuchInterface)?,
            None => network.carrying(&config.listeners, &config.relay),
        };
        let mut loaded = Self::load(config, &network, &links);
        let interfaces: Vec<_> = links.iter().map(|link| raise(config.request, link, &mut loaded)).collect();
        insist(config.request, &interfaces)?;

        let attached = attached(&interfaces);
        let Some((program, tables)) = loaded.ok().filter(|_| !attached.is_empty()) else {
            return Ok(Self { interfaces, xdp: None });
        };
        match RunningXdp::start(program, tables, attached, config.shards) {
            Ok(xdp) => Ok(Self { interfaces, xdp: Some(xdp) }),
            Err(reason) => {
                let interfaces = interfaces.into_iter().map(|i| step_down(i, &reason)).collect::<Vec<_>>();
                insist(config.request, &interfaces)?;
                Ok(Self { interfaces, xdp: None })
            }
        }
    }

    /// Detaches the program, removes the tables and ends the thread that follows next hops.
    pub fn stop(self) {
        drop(self);
    }

    /// How each interface relays, and why not better.
    pub fn interfaces(&self) -> &[InterfaceStatus] {
        &self.interfaces
    }

    /// What became of the packets that XDP saw, by reason; zeros without XDP.
    pub fn counters(&self) -> Totals {
        self.xdp.as_ref().map_or([Count::default(); _], |xdp| xdp.counters.read())
    }

    /// How full the binding table is; zeros without XDP.
    pub fn occupancy(&self) -> Occupancy {
        self.xdp.as_ref().map(|xdp| xdp.flows.occupancy()).unwrap_or_default()
    }

    /// Every next hop in use.
    pub fn next_hops(&self) -> Vec<NextHopStatus> {
        self.xdp.as_ref().map(|xdp| xdp.next_hops.status()).unwrap_or_default()
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

    /// The program, loaded with its tables filled in but attached nowhere; or why not.
    fn load(config: &DatapathConfig, network: &Network, links: &[Link]) -> Result<(Program, Tables), String> {
        if rungs(config.request).is_empty() || links.iter().all(|l| l.loopback) {
            return Err("no interface can run XDP".into());
        }
        let object =
            object().ok_or("this binary was built without the eBPF object: run `cargo xtask build-ebpf`")?;
        let size = TableSize::for_bindings(config.max_bindings);
        let mut seed = [0; _];
        for coefficient in &mut seed {
            *coefficient = getrandom::u64().map_err(|e| format!("the kernel gave no random numbers: {e}"))?;
        }
        let settings = Settings {
            seed,
            bucket_mask: size.buckets - 1,
            first_port: *config.relay_ports.start(),
            last_port: *config.relay_ports.end(),
            virtual_cards: links.iter().any(|link| is_virtual(&link.name)).into(),
            fill: 0,
        };
        let locals = network.locals(&config.listeners, &config.relay).into_iter().map(local_key).collect();
        Program::load(object, &Plan { size, settings, locals }).map_err(|e| load_reason(&e))
    }
}

impl RunningXdp {
    fn start(
        mut program: Program,
        tables: Tables,
        attached: BTreeMap<u32, Attached>,
        shards: usize,
    ) -> Result<Self, String> {
        for &ifindex in attached.keys() {
            program.add_device(ifindex).map_err(|e| format!("the device table cannot be filled: {e}"))?;
        }
        let no_netlink = |e: std::io::Error| format!("next hops cannot be followed over netlink: {e}");
        let flows = Arc::new(tables.flows);
        let kernel = Box::new(Netlink::open().map_err(no_netlink)?);
        let next_hops = NextHops::new(kernel, tables.next_hops, flows.clone(), attached)
            .map_err(|e| no_netlink(e.into()))?;
        let next_hops = Arc::new(next_hops);
        let monitor = Monitor::start(next_hops.clone()).map_err(no_netlink)?;
        let each = (flows.len() - 1) / shards.max(1) as u32;
        let writers = (0..shards as u32).map(|shard| {
            let first = 1 + shard * each;
            Some(FlowWriter::new(flows.clone(), next_hops.clone(), first..first + each))
        });
        let writers = writers.collect();
        Ok(Self {
            _program: program,
            _monitor: monitor,
            counters: tables.counters,
            flows,
            next_hops,
            writers,
        })
    }
}

/// Attaches to one interface on the highest rung that holds.
fn raise(request: Request, link: &Link, loaded: &mut Result<(Program, Tables), String>) -> InterfaceStatus {
    let deaf = is_deaf(link);
    let Climbed { mode, mut reasons } = climb(request, |mode| {
        if link.loopback {
            return Err("what is sent over the loopback never comes to a network card".into());
        }
        let (program, _) = loaded.as_mut().map_err(|reason| reason.clone())?;
        if request == Request::Auto && mode == Mode::Xdp && deaf {
            return Err(deaf_reason(link) + ", or insist with --datapath xdp");
        }
        let xdp_mode = if mode == Mode::Xdp { XdpMode::Driver } else { XdpMode::Skb };
        program.attach(link.index, xdp_mode).map_err(|e| attach_reason(mode, link, &e))
    });
    if mode == Mode::Xdp && deaf {
        reasons.push(deaf_reason(link));
    }
    InterfaceStatus { name: link.name.clone(), index: link.index, mode, reasons }
}

fn deaf_reason(link: &Link) -> String {
    format!(
        "the other end of {} runs no XDP program that can be seen, and a veth then delivers what XDP sends to it late \
         or never: attach one there",
        link.name
    )
}

/// Whether frames that XDP sends would get stuck: the kernel's veth driver tells the receiving end of them only when
/// that has a program itself (`veth_xdp_flush`). The usual container is attached like this.
fn is_deaf(link: &Link) -> bool {
    link.far_end
        .is_some_and(|far_end| !Netlink::open().is_ok_and(|mut netlink| netlink.far_end_has_xdp(far_end)))
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

/// The interfaces with the program. Generic mode beside driver mode cannot take redirected packets: see
/// [`NextHop::redirect`](relay_common::next_hop::NextHop::redirect).
fn attached(interfaces: &[InterfaceStatus]) -> BTreeMap<u32, Attached> {
    let mixed = interfaces.iter().any(|i| i.mode == Mode::Xdp);
    let with_program = interfaces.iter().filter(|i| i.mode != Mode::Userspace);
    with_program.map(|i| (i.index, Attached { redirect: !mixed || i.mode == Mode::Xdp })).collect()
}

/// An interface whose program is taken off again.
fn step_down(interface: InterfaceStatus, reason: &str) -> InterfaceStatus {
    if interface.mode == Mode::Userspace {
        return interface;
    }
    let reasons = interface.reasons.into_iter().chain([reason.to_owned()]).collect();
    InterfaceStatus { mode: Mode::Userspace, reasons, ..interface }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(index: u32, mode: Mode) -> InterfaceStatus {
        InterfaceStatus { name: format!("eth{index}"), index, mode, reasons: vec!["because".into()] }
    }

    #[test]
    fn redirects_go_between_equals_and_from_generic_to_driver_mode_only() {
        let redirect = |modes: &[Mode]| -> Vec<bool> {
            let interfaces: Vec<_> = modes.iter().zip(1..).map(|(&mode, i)| status(i, mode)).collect();
            attached(&interfaces).into_values().map(|a| a.redirect).collect()
        };
        assert_eq!(redirect(&[Mode::Xdp, Mode::Xdp]), [true, true]);
        assert_eq!(redirect(&[Mode::XdpGeneric, Mode::XdpGeneric]), [true, true]);
        assert_eq!(redirect(&[Mode::Xdp, Mode::XdpGeneric, Mode::Userspace]), [true, false]);
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
        })
        .unwrap();
        let [lo] = datapath.interfaces() else { panic!("{:?}", datapath.interfaces()) };
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
        };
        let Err(error) = Datapath::start(&config) else { panic!("started") };
        assert!(error.to_string().contains("nosuch0"), "{error}");
    }
}
