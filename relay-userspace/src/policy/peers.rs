//! The verdict on a peer address.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::cidr::Cidr;
use super::embedded::faces;
use super::special;

/// Which peers clients may reach.
///
/// An address is judged as the packet will meet it: IPv4-mapped as IPv4, and where an IPv4 address is embedded
/// (IPv4-compatible, NAT64, 6to4, Teredo) both must be permitted. For each:
///
/// 1. A `deny` rule always refuses, however wide an `allow` rule or how narrow.
/// 2. Otherwise the longest prefix that holds the address decides, and permission wins a tie. Permitting are the `allow`
///    rules and our relayed addresses; refusing are the special-purpose prefixes of IANA's registries, cloud metadata
///    services and the server's own addresses.
/// 3. An address that no prefix holds is permitted.
///
/// So `--allow-peer 10.0.0.0/8` opens that network, and `--allow-peer 0.0.0.0/0` opens nothing that is refused by
/// default: whoever wants loopback or private peers must name them. An own address, which is a prefix of one, is
/// opened by naming it alone (`--allow-peer 10.0.0.2`), and so is a metadata service.
///
/// Our relayed addresses are permitted although they may be private, because two clients of one server talk through
/// them, but only at the ports that are relayed: see [`permits_port`](Self::permits_port).
#[derive(Clone, Debug)]
pub struct PeerRules {
    deny: Vec<Cidr>,
    permitting: Vec<Cidr>,
    refusing: Vec<Cidr>,
    /// Relayed addresses whose other ports are this host's own.
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
    /// From the operator's rules and the server's addresses.
    pub fn new(allow: Vec<Cidr>, deny: Vec<Cidr>, host: HostAddresses) -> Self {
        let canonical = |ips: Vec<IpAddr>| ips.into_iter().map(|ip| ip.to_canonical());
        let own = canonical(host.own).map(Cidr::host);
        let mut relay: Vec<IpAddr> = canonical(host.relay).collect();

        let mut permitting: Vec<Cidr> = table(special::PERMITTED).collect();
        permitting.extend(relay.iter().copied().map(Cidr::host));
        permitting.extend(&allow);
        // Named alone, the address is open at every port.
        relay.retain(|&ip| !allow.contains(&Cidr::host(ip)));
        Self {
            deny,
            permitting,
            refusing: table(special::DENIED).chain(own).collect(),
            relay,
            relay_ports: host.relay_ports,
        }
    }

    /// Whether clients may have a permission for this address.
    pub fn permits(&self, peer: IpAddr) -> bool {
        faces(peer).all(|ip| {
            let denied = self.deny.iter().any(|cidr| cidr.contains(ip));
            !denied && longest(&self.permitting, ip) >= longest(&self.refusing, ip)
        })
    }

    /// Whether the port of a peer whose address is permitted may be reached: at our own relayed addresses only those
    /// where another allocation may be, or this host's DNS, metrics and the TURN server itself would be within reach.
    /// To be asked wherever a peer's port comes in, ChannelBind and Send; cheap enough for each packet.
    pub fn permits_port(&self, peer: SocketAddr) -> bool {
        self.relay_ports.contains(&peer.port()) || !faces(peer.ip()).any(|ip| self.relay.contains(&ip))
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
