//! A server without sockets: one protocol core, a clock that the test sets, a model of the data path that checks each
//! effect as it is carried out, and clients that build real messages.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its own part of this")]

mod client;
mod datapath;
pub mod heap;
mod tcp;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use relay_common::reason::Reason;
use turnpike::auth::{Credentials, Realm, Realms};
use turnpike::config::StrangerRate;
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::stun::Icmp;
use turnpike::time::Timestamp;
use turnpike::turn::{
    Core, CoreConfig, Event, FiveTuple, Input, MOST_PEERS, Output, Outputs, PeerAddr, RelayAddr,
    RelayAddress, RelayRefused, Shared,
};

pub use client::{Client, Reply, channel_data};
pub use datapath::{Datapath, Joined, channel_of};
pub use tcp::*;

pub const REALM: &str = "example.org";
pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland";
pub const SECRET: &str = "shared secret";
/// The time of day when the simulated clock starts.
pub const UNIX_START: u64 = 1_700_000_000;

/// An effect with the bytes it refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    ToClient(FiveTuple, Vec<u8>),
    ToPeer(RelayAddr, PeerAddr, Vec<u8>),
    Dropped(Reason),
    Event(Event),
    /// OpenRelay, CloseRelay, Bind, Extend, Unbind, Forward, Steer.
    Other(Output),
}

/// One shard of a server, its clock and its data path.
pub struct Sim {
    pub core: Core,
    pub shared: Arc<Shared>,
    pub config: Arc<CoreConfig>,
    pub now: Timestamp,
    pub datapath: Datapath,
    /// Ports that other programs hold.
    pub foreign: HashSet<u16>,
    pub out_of_sockets: bool,
    /// Whether the last datagram to a peer was not to be fragmented.
    pub dont_fragment: bool,
    out: Outputs,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn peer(text: &str) -> PeerAddr {
    PeerAddr(addr(text))
}

/// A server at 192.0.2.1 with 64 relayed ports, one user and one shared secret.
pub fn config() -> CoreConfig {
    let relay = ip("198.51.100.7");
    let host = HostAddresses { own: vec![relay], relay: vec![relay], relay_ports: 50_000..=50_063 };
    // The documentation networks stand for the public Internet here.
    let allow = ["203.0.113.0/24", "198.51.100.0/24"].map(|cidr| cidr.parse().unwrap());
    CoreConfig {
        realms: Realms::new(Realm::new(REALM, credentials()).unwrap(), []).unwrap(),
        peer_rules: PeerRules::new(allow.into(), vec![], host).into(),
        relay_addresses: vec![RelayAddress { public: relay, local: relay }],
        relay_ports: 50_000..=50_063,
        max_lifetime: Duration::from_secs(3600),
        discovery: None,
        alternate: None,
        lifetimes: Default::default(),
        mobility: false,
        user_quota: None,
        smaller_quotas: Default::default(),
        total_quota: None,
        rates: Default::default(),
        allocation_peers: MOST_PEERS,
        strangers: StrangerRate::default().rate(),
        peer_overrides: Default::default(),
        tcp_relay: None,
        software: None,
        draining: false,
    }
}

/// The same with an IPv6 relay address next to the IPv4 one.
pub fn dual_stack() -> CoreConfig {
    relaying_from(&[("198.51.100.7", "198.51.100.7"), ("2001:db8:1::7", "2001:db8:1::7")])
}

/// The same with these relay addresses, public and local.
pub fn relaying_from(addresses: &[(&str, &str)]) -> CoreConfig {
    let relay_addresses: Vec<_> = addresses
        .iter()
        .map(|(public, local)| RelayAddress { public: ip(public), local: ip(local) })
        .collect();
    let relay: Vec<_> = relay_addresses.iter().flat_map(|a| [a.public, a.local]).collect();
    let host = HostAddresses { own: relay.clone(), relay, relay_ports: 50_000..=50_063 };
    let allow = ["203.0.113.0/24", "198.51.100.0/24", "2001:db8::/32"].map(|cidr| cidr.parse().unwrap());
    CoreConfig { relay_addresses, peer_rules: PeerRules::new(allow.into(), vec![], host).into(), ..config() }
}

/// Two users with passwords and one shared secret.
pub fn credentials() -> Credentials {
    let users = [(USER.into(), PASSWORD.into()), ("bob".into(), "builder".into())];
    Credentials::new(users, [SECRET.into()]).unwrap()
}

pub fn sim() -> Sim {
    Sim::new(config(), [7; 32])
}

impl Sim {
    pub fn new(config: CoreConfig, seed: [u8; 32]) -> Self {
        let shared = Arc::new(Shared::new(&config, seed));
        Self::sharing(Arc::new(config), shared, seed)
    }

    /// Another shard of the same server.
    pub fn sharing(config: Arc<CoreConfig>, shared: Arc<Shared>, seed: [u8; 32]) -> Self {
        let now = Timestamp(1_000_000_000_000);
        let mut core = Core::new(config.clone(), shared.clone(), seed);
        core.set_unix_time(now, UNIX_START);
        let (datapath, out) = (Datapath::default(), Outputs::default());
        Self {
            core,
            shared,
            config,
            now,
            datapath,
            foreign: HashSet::new(),
            out_of_sockets: false,
            dont_fragment: false,
            out,
        }
    }

    /// The same as the shard of this number.
    pub fn numbered(self, shard: u16) -> Self {
        Self { core: self.core.numbered(shard), ..self }
    }

    /// Carries one input through, opening relays as asked, and returns what was seen on the way.
    pub fn input(&mut self, input: Input<'_>) -> Vec<Seen> {
        let datagram = match input {
            Input::FromClient { datagram, .. }
            | Input::Forwarded { datagram, .. }
            | Input::FromPeer { datagram, .. } => datagram,
            _ => &[],
        };
        self.core.handle(self.now, input, &mut self.out);
        let mut seen = Vec::new();
        let mut asked = Vec::new();
        for output in std::mem::take(&mut self.out.items) {
            self.datapath.carry_out(self.now, &output);
            seen.push(match output {
                Output::ToClient { five_tuple, head, body } => {
                    Seen::ToClient(five_tuple, [&self.out.bytes[head], &datagram[body]].concat())
                }
                Output::ToPeer { relayed, peer, payload, dont_fragment } => {
                    self.dont_fragment = dont_fragment;
                    Seen::ToPeer(relayed, peer, datagram[payload].to_vec())
                }
                Output::Dropped(reason) => Seen::Dropped(reason),
                Output::Event(event) => Seen::Event(event),
                Output::OpenRelay { allocation, relayed } => {
                    asked.push((allocation, relayed, false));
                    Seen::Other(output)
                }
                Output::OpenTcpRelay { allocation, relayed } => {
                    asked.push((allocation, relayed, true));
                    Seen::Other(output)
                }
                other => Seen::Other(other),
            });
        }
        for (allocation, relayed, tcp) in asked {
            let outcome = if self.foreign.contains(&relayed.0.port()) {
                Err(RelayRefused::InUse)
            } else if self.out_of_sockets {
                Err(RelayRefused::NoResources)
            } else {
                if tcp {
                    self.datapath.listens(relayed);
                } else {
                    self.datapath.opened(relayed);
                }
                Ok(())
            };
            seen.extend(self.input(Input::RelayOpened { allocation, outcome }));
        }
        seen
    }

    pub fn client_sends(&mut self, five_tuple: FiveTuple, datagram: &[u8]) -> Vec<Seen> {
        self.input(Input::FromClient { five_tuple, datagram })
    }

    pub fn peer_sends(&mut self, relayed: SocketAddr, peer: PeerAddr, datagram: &[u8]) -> Vec<Seen> {
        self.input(Input::FromPeer { relayed: RelayAddr(relayed), peer, datagram })
    }

    /// An ICMP error about what was sent from `relayed` to `peer`.
    pub fn icmp_error(&mut self, relayed: SocketAddr, peer: PeerAddr, icmp: Icmp) -> Vec<Seen> {
        self.input(Input::IcmpError { relayed: RelayAddr(relayed), peer, icmp })
    }

    /// Lets time pass, waking the core exactly when it asks for it.
    pub fn wait(&mut self, seconds: f64) -> Vec<Seen> {
        let until = self.now + Duration::from_secs_f64(seconds);
        let mut seen = Vec::new();
        let mut in_a_row = 0;
        while let Some(at) = self.core.next_wakeup().filter(|&at| at <= until) {
            in_a_row = if at > self.now { 0 } else { in_a_row + 1 };
            assert!(in_a_row < 3, "wake-ups that change nothing");
            self.now = self.now.max(at);
            seen.extend(self.input(Input::Wakeup));
        }
        self.now = until;
        seen
    }

    /// Lets time pass without a wake-up, as when the process was stopped.
    pub fn sleep(&mut self, seconds: f64) {
        self.now = self.now + Duration::from_secs_f64(seconds);
    }

    /// Nothing is left of anything: for after everything expired.
    pub fn assert_empty(&mut self) {
        self.input(Input::Wakeup);
        assert_eq!(self.core.occupancy(), Default::default());
        assert_eq!(self.core.next_wakeup(), None);
        assert_eq!(self.datapath, Datapath { ids: self.datapath.ids.clone(), ..Datapath::default() });
        let ports = usize::from(self.config.relay_ports.end() - self.config.relay_ports.start()) + 1;
        assert_eq!(self.shared.free_ports(), ports * self.config.relay_addresses.len());
        // Users are forgotten when the next allocation comes or goes.
        let meters = self.shared.meters();
        assert!(meters.held <= 3, "{meters:?}: more than there are users");
        assert_eq!(self.shared.connections(), 0);
        assert_eq!((self.shared.quota_used(), self.shared.users(), self.shared.reservations()), (0, 0, 0));
    }
}

/// The only client that a datagram went to among the effects.
pub fn client_of(seen: &[Seen]) -> Option<FiveTuple> {
    to_client(seen)?;
    seen.iter().find_map(|s| match s {
        Seen::ToClient(five_tuple, _) => Some(*five_tuple),
        _ => None,
    })
}

/// The only datagram to a peer among the effects.
pub fn to_peer(seen: &[Seen]) -> Option<(PeerAddr, &[u8])> {
    let mut found = seen.iter().filter_map(|s| match s {
        Seen::ToPeer(_, peer, bytes) => Some((*peer, &bytes[..])),
        _ => None,
    });
    let first = found.next();
    assert!(found.next().is_none(), "more than one datagram to a peer: {seen:?}");
    first
}

/// The only datagram to a client among the effects.
pub fn to_client(seen: &[Seen]) -> Option<&[u8]> {
    let mut found = seen.iter().filter_map(|s| match s {
        Seen::ToClient(_, bytes) => Some(&bytes[..]),
        _ => None,
    });
    let first = found.next();
    assert!(found.next().is_none(), "more than one datagram to a client: {seen:?}");
    first
}

/// The reason a datagram was dropped for, when that is all that happened but for bindings that had expired.
pub fn dropped(seen: &[Seen]) -> Option<Reason> {
    let mut seen = seen.iter().filter(|s| !matches!(s, Seen::Other(Output::Unbind { .. })));
    match (seen.next(), seen.next()) {
        (Some(Seen::Dropped(reason)), None) => Some(*reason),
        _ => None,
    }
}
