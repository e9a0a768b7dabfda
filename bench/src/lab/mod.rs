//! The lab: the relay on one side, all of its clients and peers on the other.
//!
//! In namespaces it is made of veth pairs ([`Lab::one_nic`], [`Lab::two_nics`]): the generator's ends, `gen0` and `gen1`, are
//! polled by threads of the kernel on [`GENERATOR_CPU`], the relay's, `nic0` and `nic1`, on [`RELAY_CPU`]. The namespaces have no
//! name: they are gone with the lab, or with this process however it ends, and with them the interfaces and the threads.
//!
//! Over real interfaces ([`Lab::real`]) nothing is made and nothing changed; the relay is another machine.

mod addresses;
mod pollers;
mod real;
mod wires;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Pid, geteuid};
use turnpike_tests::lab::Namespace;

pub use addresses::{ALLOWED, Addresses, Family, LISTENER_PORT};
pub use pollers::{
    GENERATOR_CPU, RELAY_CPU, pin, pin_process, poll_by_thread, process_seconds, thread_seconds,
};
pub use real::RealInterfaces;

use addresses::Hosts;
use wires::{BEYOND, Cable, INSIDE, ONLY, OUTSIDE, OUTSIDE_V6, RELAY, RELAY_V6};

/// A lab. What it made is removed when it is dropped.
#[derive(Debug)]
pub struct Lab {
    generator: Place,
    relay: Option<Namespace>,
    clients: Port,
    peers: Port,
    relay_interfaces: Vec<&'static str>,
    addresses: Addresses,
    generator_pollers: Vec<Pid>,
    relay_pollers: Vec<Pid>,
}

/// Where the generator and the sink work.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a namespace of the lab.
    Namespace(Namespace),
    /// Where this program was started.
    Here,
}

/// An interface of the generator, and the relay at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its name.
    pub interface: String,
    /// Its own address.
    pub own_mac: [u8; 6],
    /// Where frames for the relay are sent: the relay's interface, or a router on the way to it.
    pub relay_mac: [u8; 6],
}

impl Place {
    /// Runs a closure there. In a namespace it has a thread of its own; what it opens stays in the namespace.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Namespace(namespace) => namespace.enter(f),
            Self::Here => f(),
        }
    }
}

impl Lab {
    /// A relay with one card, by which it reaches clients and peers.
    pub fn one_nic() -> Result<Self> {
        Self::of_cables(&[ONLY], [RELAY, RELAY_V6])
    }

    /// A relay with two: clients are behind `nic0`, peers behind `nic1`, from whose addresses it relays.
    pub fn two_nics() -> Result<Self> {
        Self::of_cables(&[INSIDE, BEYOND], [OUTSIDE, OUTSIDE_V6])
    }

    /// Clients and peers on interfaces of this machine, the relay on another one.
    pub fn real(interfaces: RealInterfaces) -> Result<Self> {
        let [clients, peers] = interfaces.ports()?;
        Ok(Self {
            generator: Place::Here,
            relay: None,
            clients,
            peers,
            relay_interfaces: Vec::new(),
            addresses: interfaces.addresses(),
            generator_pollers: Vec::new(),
            relay_pollers: Vec::new(),
        })
    }

    fn of_cables(cables: &[Cable], relayed: [&str; 2]) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "the lab is made of network namespaces, which needs root: run this with sudo, or give real interfaces"
        );
        // Not those that this thread may use, which may be the generator's CPU alone.
        let second = format!("/sys/devices/system/cpu/cpu{RELAY_CPU}");
        ensure!(
            Path::new(&second).exists(),
            "two CPUs are needed, one for the generator and one for the relay: there is no {second}"
        );
        let (generator, relay) = (Namespace::new(), Namespace::new());
        let ports: Vec<Port> = cables.iter().map(|cable| cable.lay(&generator, &relay)).collect();
        let (mut generator_pollers, mut relay_pollers) = (Vec::new(), Vec::new());
        for cable in cables {
            generator_pollers.extend(generator.enter(|| pollers::poll_by_thread(cable.near, GENERATOR_CPU))?);
            relay_pollers.extend(relay.enter(|| pollers::poll_by_thread(cable.far, RELAY_CPU))?);
        }
        let parse = |address: &str| address.parse().expect("an address of the lab");
        let listeners = [RELAY, RELAY_V6].map(|address| SocketAddr::new(parse(address), LISTENER_PORT));
        Ok(Self {
            generator: Place::Namespace(generator),
            relay: Some(relay),
            clients: ports[0].clone(),
            peers: ports[ports.len() - 1].clone(),
            relay_interfaces: cables.iter().map(|cable| cable.far).collect(),
            addresses: Addresses {
                listeners: listeners.into(),
                relayed: relayed.map(parse).into(),
                clients: Hosts::Networks([198, 51, 100], [0x2001, 0xdb8, 1]),
                peers: Hosts::Networks([203, 0, 113], [0x2001, 0xdb8, 2]),
            },
            generator_pollers,
            relay_pollers,
        })
    }

    /// Where clients and peers are.
    pub fn generator(&self) -> &Place {
        &self.generator
    }

    /// Has the kernel finish the checksums of what it sends by the generator's interfaces, as a card would. A veth hands them on
    /// unfinished, and a relay passes such packets up. Cards that real interfaces have do it themselves.
    pub fn finish_checksums(&self) {
        if let Place::Namespace(generator) = &self.generator {
            for port in [&self.clients, &self.peers] {
                generator.run("ethtool", &format!("-K {} tx off", port.interface));
            }
        }
    }

    /// Where the relay is. An error over real interfaces, where it is another machine.
    pub fn relay(&self) -> Result<&Namespace> {
        self.relay.as_ref().context(
            "over real interfaces the relay is a machine of its own: start it there, and measure it as an external server",
        )
    }

    /// The interface that clients are on.
    pub fn clients(&self) -> &Port {
        &self.clients
    }

    /// The interface that peers are on; the clients' where the relay has one card.
    pub fn peers(&self) -> &Port {
        &self.peers
    }

    /// Whether peers are on the same interface as clients.
    pub fn has_one_nic(&self) -> bool {
        self.clients == self.peers
    }

    /// The relay's interfaces; none over real ones.
    pub fn relay_interfaces(&self) -> &[&'static str] {
        &self.relay_interfaces
    }

    /// Who has which address.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The threads that poll the generator's interfaces; none over real ones.
    pub fn generator_pollers(&self) -> &[Pid] {
        &self.generator_pollers
    }

    /// Seconds that the threads have run which poll the relay's interfaces.
    pub fn polling_seconds(&self) -> f64 {
        self.relay_pollers.iter().map(|&poller| pollers::thread_seconds(poller)).sum()
    }
}
