//! Who has which address.
//!
//! Clients are in 198.51.100.0/24 and 2001:db8:1::/64, peers in 203.0.113.0/24 and 2001:db8:2::/64: ranges for documentation,
//! which no relay lets peers have unless it is told to ([`ALLOWED`]). The relay finds them all behind one router, as it does in a
//! data centre; the router is the generator's end of the cable.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use turnpike::stun::AddressFamily;

/// The port of the relay's listeners.
pub const LISTENER_PORT: u16 = 3478;

/// The first of the ports that clients have.
const FIRST_CLIENT_PORT: u16 = 10_000;

/// The first of the ports that peers have.
const FIRST_PEER_PORT: u16 = 2_000;

/// How many hosts a network of the lab has: what a /24 has room for.
const HOSTS: u32 = 254;

/// The networks that a relay has to allow as peers, first and last address of each: those of the peers, and its own addresses
/// for what goes from one client to another.
pub const ALLOWED: [(IpAddr, IpAddr, u8); 4] = [
    (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 0)), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 255)), 24),
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255)), 24),
    (IpAddr::V4(Ipv4Addr::new(198, 18, 1, 0)), IpAddr::V4(Ipv4Addr::new(198, 18, 1, 255)), 24),
    (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff)),
        32,
    ),
];

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The addresses of a lab.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) relayed: Vec<IpAddr>,
    pub(super) clients: Hosts,
    pub(super) peers: Hosts,
}

/// Hosts of one kind.
#[derive(Clone, Debug)]
pub(super) enum Hosts {
    /// The lab's own networks, by the beginnings of their addresses.
    Networks([u8; 3], [u16; 3]),
    /// Addresses that an operator gave.
    Given(Vec<IpAddr>),
}

impl Addresses {
    /// Where clients of this family find the relay.
    pub fn listener(&self, family: Family) -> Result<SocketAddr> {
        let found = self.listeners.iter().copied().find(|l| Family::of(l.ip()) == family);
        found.with_context(|| format!("the relay has no {family} listener in this lab"))
    }

    /// All listeners.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// The addresses that the relay relays from.
    pub fn relayed(&self) -> &[IpAddr] {
        &self.relayed
    }

    /// The relay's address of this family for relayed transport addresses.
    pub fn relayed_of(&self, family: Family) -> Result<IpAddr> {
        let found = self.relayed.iter().copied().find(|ip| Family::of(*ip) == family);
        found.with_context(|| format!("the relay has no {family} address to relay from"))
    }

    /// The `index`th client.
    pub fn client(&self, family: Family, index: u32) -> Result<SocketAddr> {
        self.clients.get(family, index, FIRST_CLIENT_PORT, "client")
    }

    /// The `index`th peer; no two have both the address and the port in common.
    pub fn peer(&self, family: Family, index: u32) -> Result<SocketAddr> {
        self.peers.get(family, index, FIRST_PEER_PORT, "peer")
    }
}

impl Hosts {
    fn get(&self, family: Family, index: u32, first_port: u16, kind: &str) -> Result<SocketAddr> {
        let of_family = |given: &[IpAddr]| -> Vec<IpAddr> {
            given.iter().copied().filter(|ip| Family::of(*ip) == family).collect()
        };
        let (hosts, ip): (u32, IpAddr) = match (self, family) {
            (Self::Networks([a, b, c], _), Family::V4) => {
                (HOSTS, Ipv4Addr::new(*a, *b, *c, 1 + (index % HOSTS) as u8).into())
            }
            (Self::Networks(_, [a, b, c]), Family::V6) => {
                (HOSTS, Ipv6Addr::new(*a, *b, *c, 0, 0, 0, 0, 1 + (index % HOSTS) as u16).into())
            }
            (Self::Given(given), _) => {
                let given = of_family(given);
                ensure!(!given.is_empty(), "no {kind} has an {family} address: give one");
                (given.len() as u32, given[index as usize % given.len()])
            }
        };
        let port = u32::from(first_port) + index / hosts;
        let port = u16::try_from(port).ok().filter(|port| *port < u16::MAX);
        let port =
            port.with_context(|| format!("{hosts} {family} addresses are not enough for {kind} {index}"))?;
        Ok(SocketAddr::new(ip, port))
    }
}
