//! The verdict on a peer address.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::cidr::Cidr;
use super::embedded::faces;
use super::special;

/// Which peers clients may reach.
///
/// An address is judged as the packet will meet it: IPv4-mapped as IPv4, and where an IPv4 address is embedded
/// (IPv4-compatible, NAT64, 6to4, Teredo) both must be permitted. For each, the operator's rules are asked level by level
/// (what is said for a user comes before what is said for everybody, see [`PeerOverrides`](super::PeerOverrides)); at each level:
///
/// 1. A `deny` rule always refuses, however wide an `allow` rule or how narrow.
/// 2. An `allow` rule permits, unless a longer refusing prefix holds the address: the special-purpose prefixes of IANA's
///    registries, cloud metadata services and the server's own addresses.
///
/// Where no level decides, the longest of the refusing prefixes and of those that are permitted by default (our relayed
/// addresses among them) does, and permission wins a tie. An address that no prefix holds is permitted.
///
/// So `--allow-peer 10.0.0.0/8` opens that network, and `--allow-peer 0.0.0.0/0` opens nothing that is refused by
/// default: whoever wants loopback or private peers must name them. An own address, which is a prefix of one, is
/// opened by naming it alone (`--allow-peer 10.0.0.2`), and so is a metadata service.
///
/// Our relayed addresses are permitted although they may be private, because two clients of one server talk through
/// them, but only at the ports that are relayed: see [`permits_port`](Self::permits_port).
#[derive(Clone, Debug)]
pub struct PeerRules {
    /// The first decides first.
    levels: Vec<Arc<Level>>,
    host: Arc<Host>,
}

/// What an operator says in one place.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Level {
    pub(super) allow: Vec<Cidr>,
    pub(super) deny: Vec<Cidr>,
}

/// What holds for all clients, whatever the operator says.
#[derive(Debug)]
struct Host {
    permitting: Vec<Cidr>,
    refusing: Vec<Cidr>,
    /// Relayed addresses: their other ports are this host's own.
    relay: Vec<IpAddr>,
    relay_ports: RangeInclusive<u16>,
}

/// What the rules must know about this server.
#[derive(Clone, Debug)]
pub struct HostAddresses {
    /// Every address of this host and every public address that leads to it.
    pub own: Vec<IpAddr>,
    /// The addresses that allocations relay from, the local and the public ones; may be among `own`.
    pub relay: Vec<IpAddr>,
    /// The ports of relayed transport addresses.
    pub relay_ports: RangeInclusive<u16>,
}

impl PeerRules {
    /// From the operator's rules for everybody and the server's addresses.
    pub fn new(allow: Vec<Cidr>, deny: Vec<Cidr>, host: HostAddresses) -> Self {
        let canonical = |ips: Vec<IpAddr>| ips.into_iter().map(|ip| ip.to_canonical());
        let own = canonical(host.own).map(Cidr::host);
        let relay: Vec<IpAddr> = canonical(host.relay).collect();
        let host = Host {
            permitting: table(special::PERMITTED).chain(relay.iter().copied().map(Cidr::host)).collect(),
            refusing: table(special::DENIED).chain(own).collect(),
            relay,
            relay_ports: host.relay_ports,
        };
        Self { levels: vec![Arc::new(Level { allow, deny })], host: Arc::new(host) }
    }

    /// These rules, and before them those of other levels, the first of which decides first.
    pub(super) fn under(&self, levels: impl Iterator<Item = Arc<Level>>) -> Self {
        Self { levels: levels.chain(self.levels.iter().cloned()).collect(), host: Arc::clone(&self.host) }
    }

    /// Whether clients may have a permission for this address.
    pub fn permits(&self, peer: IpAddr) -> bool {
        faces(peer).all(|ip| {
            let refusing = longest(&self.host.refusing, ip);
            let verdict = self.levels.iter().find_map(|level| level.verdict(ip, refusing));
            verdict.unwrap_or_else(|| longest(&self.host.permitting, ip) >= refusing)
        })
    }

    /// Whether the port of a peer whose address is permitted may be reached: at our own relayed addresses only those
    /// where another allocation may be, or this host's DNS, metrics and the TURN server itself would be within reach.
    /// A relayed address that an `allow` rule names alone is open at every port.
    /// To be asked wherever a peer's port comes in, ChannelBind and Send; cheap enough for each packet.
    pub fn permits_port(&self, peer: SocketAddr) -> bool {
        self.host.relay_ports.contains(&peer.port()) || !self.closes_ports_of(peer.ip())
    }

    /// Whether data may go to a permitted address without [`permits_port`](Self::permits_port) being asked for each
    /// datagram: by XDP, which sends to no port of our relayed addresses that is not relayed, but does not know the
    /// addresses that lead to them through a translator or tunnel.
    pub fn permits_ports_unseen(&self, peer: IpAddr) -> bool {
        self.host.relay.contains(&peer) || !self.closes_ports_of(peer)
    }

    fn closes_ports_of(&self, peer: IpAddr) -> bool {
        faces(peer).any(|ip| self.host.relay.contains(&ip) && !self.levels.iter().any(|l| l.names(ip)))
    }
}

impl Level {
    /// What these rules say about an address that a prefix of `refusing` bits refuses by default; `None` leaves it to the
    /// next level.
    fn verdict(&self, ip: IpAddr, refusing: Option<u8>) -> Option<bool> {
        if self.deny.iter().any(|cidr| cidr.contains(ip)) {
            return Some(false);
        }
        let allowing = longest(&self.allow, ip);
        (allowing.is_some() && allowing >= refusing).then_some(true)
    }

    /// Whether an `allow` rule is for this address alone.
    fn names(&self, ip: IpAddr) -> bool {
        self.allow.contains(&Cidr::host(ip))
    }
}

impl Default for PeerRules {
    /// No rule of an operator, and no address of our own.
    fn default() -> Self {
        let host = HostAddresses { own: Vec::new(), relay: Vec::new(), relay_ports: 49152..=65535 };
        Self::new(Vec::new(), Vec::new(), host)
    }
}

fn table(prefixes: &[&str]) -> impl Iterator<Item = Cidr> {
    prefixes.iter().map(|text| text.parse().expect("the tables hold prefixes"))
}

/// The length of the longest prefix that holds the address. None is less than a prefix of no bits.
fn longest(cidrs: &[Cidr], ip: IpAddr) -> Option<u8> {
    cidrs.iter().filter(|cidr| cidr.contains(ip)).map(Cidr::prefix_len).max()
}
