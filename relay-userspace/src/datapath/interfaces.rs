//! Which interfaces the data path runs on, and which addresses are ours.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use relay_common::addr::Be16;
use relay_common::tables::LocalKey;

use super::netlink::{Link, Netlink};
use crate::turn::RelayAddress;

/// Whether packets may reach this interface from a sender on the same machine, who left the checksum to a card that
/// there is not: one without a driver for hardware (veth, tap, bridge), or whose driver is that of a virtual machine.
pub(super) fn is_virtual(interface: &str) -> bool {
    driver(interface).is_none_or(|name| is_of_virtual_machines(&name))
}

/// By the name that sysfs has, which is not always the module's: that of `xen-netfront` is `vif`.
fn is_of_virtual_machines(driver: &str) -> bool {
    ["virtio_net", "vmxnet3", "hv_netvsc", "vif"].contains(&driver)
}

/// The name of the driver of an interface's hardware; `None` where there is no hardware.
pub(super) fn driver(interface: &str) -> Option<String> {
    let path = std::fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The addresses and ports that packets to us are known by, port 0 for relayed addresses.
pub(super) type Locals = BTreeSet<(IpAddr, u16)>;

/// Whether the kernel takes an IPv4 packet that came in by this interface only if its sender is reached by it (RFC 3704,
/// strict): the larger of the interface's setting and that of all counts. IPv6 has no such setting.
pub(super) fn has_strict_rp_filter(interface: &str) -> bool {
    let setting = |scope: &str| -> u8 {
        let path = format!("/proc/sys/net/ipv4/conf/{scope}/rp_filter");
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    setting("all").max(setting(interface)) == 1
}

/// What decides which interfaces the data path runs on, and which packets are ours.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The operator's choice; `None` for those that carry the addresses.
    pub(super) names: Option<BTreeSet<String>>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) relay: Vec<RelayAddress>,
}

impl Wanted {
    /// The interfaces that are there.
    pub(super) fn links(&self, network: &Network) -> Vec<Link> {
        match &self.names {
            Some(names) => network.links.iter().filter(|l| names.contains(&l.name)).cloned().collect(),
            None => network.carrying(&self.listeners, &self.relay),
        }
    }

    /// The named interfaces that are not there.
    pub(super) fn missing(&self, network: &Network) -> BTreeSet<String> {
        let is_there = |name: &String| network.links.iter().any(|link| link.name == *name);
        self.names.iter().flatten().filter(|name| !is_there(name)).cloned().collect()
    }

    /// The listen and relay addresses that no interface carries.
    pub(super) fn nowhere(&self, network: &Network) -> BTreeSet<IpAddr> {
        let carried = |ip: &IpAddr| ip.is_unspecified() || network.addresses.iter().any(|(_, own)| own == ip);
        let ours = self.listeners.iter().map(SocketAddr::ip).chain(self.relay.iter().map(|r| r.local));
        ours.filter(|ip| !carried(ip)).collect()
    }

    /// What the LOCALS table is to hold.
    pub(super) fn locals(&self, network: &Network) -> Locals {
        network.locals(&self.listeners, &self.relay)
    }
}

/// The interfaces and addresses of this host.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub(super) links: Vec<Link>,
    /// Each with the index of its interface.
    pub(super) addresses: Vec<(u32, IpAddr)>,
}

impl Network {
    /// As they are now: on a host of containers that may take more than one look.
    pub(super) fn read() -> io::Result<Self> {
        const MORE_LOOKS: usize = 9;
        let mut netlink = Netlink::open()?;
        let mut look =
            || -> io::Result<Self> { Ok(Self { links: netlink.links()?, addresses: netlink.addresses()? }) };
        let mut more = 0..MORE_LOOKS;
        loop {
            match look() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted && more.next().is_some() => {}
                seen => return seen,
            }
        }
    }

    /// The addresses of an interface.
    pub(super) fn addresses_of(&self, ifindex: u32) -> BTreeSet<IpAddr> {
        self.addresses.iter().filter(|(index, _)| *index == ifindex).map(|&(_, ip)| ip).collect()
    }

    /// Whether VLANs stand on an interface.
    pub(super) fn carries_vlans(&self, ifindex: u32) -> bool {
        self.links.iter().any(|link| link.vlan.is_some_and(|vlan| vlan.lower == ifindex))
    }

    /// The members of a bond; none of what is no bond.
    pub(super) fn members(&self, bond: &Link) -> Vec<u32> {
        let is_bond = bond.kind.as_deref() == Some("bond");
        let members = self.links.iter().filter(|link| is_bond && link.master == Some(bond.index));
        members.map(|link| link.index).collect()
    }

    /// The interfaces that carry the listen and relay addresses. An unspecified address stands for all addresses of
    /// its family but the loopback's.
    pub(super) fn carrying(&self, listeners: &[SocketAddr], relay: &[RelayAddress]) -> Vec<Link> {
        let ours: BTreeSet<IpAddr> =
            listeners.iter().map(SocketAddr::ip).chain(relay.iter().map(|r| r.local)).collect();
        let carries = |link: &Link| {
            self.addresses.iter().any(|&(index, ip)| {
                let any = |o: &IpAddr| o.is_unspecified() && covers(*o, ip) && !ip.is_loopback();
                index == link.index && (ours.contains(&ip) || ours.iter().any(any))
            })
        };
        self.links.iter().filter(|link| carries(link)).cloned().collect()
    }

    /// What the LOCALS table holds: every listener's address and port, and every relayed address.
    pub(super) fn locals(&self, listeners: &[SocketAddr], relay: &[RelayAddress]) -> Locals {
        let mut locals: Locals = relay.iter().map(|r| (r.local, 0)).collect();
        for listener in listeners {
            if listener.ip().is_unspecified() {
                let here = self.addresses.iter().filter(|(_, ip)| covers(listener.ip(), *ip));
                locals.extend(here.map(|&(_, ip)| (ip, listener.port())));
            } else {
                locals.insert((listener.ip(), listener.port()));
            }
        }
        locals
    }
}

/// The key of LOCALS for an address and port; port 0 is for relayed addresses.
pub(super) fn local_key((ip, port): (IpAddr, u16)) -> LocalKey {
    LocalKey { ip: ip.into(), port: Be16::new(port), zero: 0 }
}

/// Whether a socket bound to an unspecified address receives what is sent to another. `::` is dual-stack unless
/// told otherwise.
fn covers(unspecified: IpAddr, ip: IpAddr) -> bool {
    unspecified.is_ipv6() || ip.is_ipv4()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub(in crate::datapath) fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.into(),
            kind: None,
            mac: None,
            mtu: 1500,
            up: true,
            connected: true,
            loopback: name == "lo",
            master: None,
            vlan: None,
            far_end: None,
            programs: BTreeSet::new(),
            in_driver_mode: false,
        }
    }

    /// A host with three cards.
    pub(in crate::datapath) fn network() -> Network {
        let at = |index, ip: &str| (index, ip.parse().unwrap());
        Network {
            links: vec![link(1, "lo"), link(2, "eth0"), link(3, "eth1"), link(4, "eth2")],
            addresses: vec![
                at(1, "127.0.0.1"),
                at(2, "10.0.0.2"),
                at(2, "2001:db8::2"),
                at(3, "203.0.113.3"),
                at(4, "2001:db8:1::4"),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::network;
    use super::*;

    fn names(listeners: &[&str], relay: &[&str]) -> Vec<String> {
        let (listeners, relay) = parse(listeners, relay);
        network().carrying(&listeners, &relay).into_iter().map(|l| l.name).collect()
    }

    fn parse(listeners: &[&str], relay: &[&str]) -> (Vec<SocketAddr>, Vec<RelayAddress>) {
        let relay = relay
            .iter()
            .map(|r| RelayAddress { public: "198.51.100.1".parse().unwrap(), local: r.parse().unwrap() });
        (listeners.iter().map(|l| l.parse().unwrap()).collect(), relay.collect())
    }

    #[test]
    fn the_cards_of_virtual_machines_are_known_by_the_names_in_sysfs() {
        assert!(["virtio_net", "vmxnet3", "hv_netvsc", "vif"].into_iter().all(is_of_virtual_machines));
        assert!(!["mlx5_core", "ena", "ixgbevf"].into_iter().any(is_of_virtual_machines));
    }

    #[test]
    fn the_interfaces_are_those_that_carry_the_listen_and_relay_addresses() {
        assert_eq!(names(&["10.0.0.2:3478"], &["10.0.0.2"]), ["eth0"]);
        assert_eq!(names(&["10.0.0.2:3478"], &["203.0.113.3"]), ["eth0", "eth1"]);
        assert_eq!(names(&["127.0.0.1:3478"], &["127.0.0.1"]), ["lo"]);
        assert_eq!(names(&["0.0.0.0:3478"], &["10.0.0.2"]), ["eth0", "eth1"]);
        assert_eq!(names(&["[::]:3478"], &["10.0.0.2"]), ["eth0", "eth1", "eth2"]);
        assert_eq!(names(&["192.0.2.99:3478"], &["192.0.2.99"]), [""; 0]);
    }

    #[test]
    fn a_relay_of_one_family_alone_has_its_addresses_in_the_table() {
        let (listeners, relay) = parse(&["10.0.0.2:3478"], &["203.0.113.3"]);
        let locals: Vec<_> = network().locals(&listeners, &relay).into_iter().collect();
        assert_eq!(locals, [("10.0.0.2".parse().unwrap(), 3478), ("203.0.113.3".parse().unwrap(), 0)]);
        let key = local_key(locals[0]);
        assert_eq!(key.port.0.to_ne_bytes(), 3478_u16.to_be_bytes());
    }

    #[test]
    fn a_listener_on_every_address_is_each_of_them_in_the_table() {
        let (listeners, _) = parse(&["0.0.0.0:3478"], &[]);
        let locals = network().locals(&listeners, &[]);
        assert!(locals.contains(&("203.0.113.3".parse().unwrap(), 3478)));
        assert_eq!(locals.len(), 3, "the three IPv4 addresses, loopback included");
    }

    #[test]
    fn named_interfaces_are_those_that_are_there_and_those_that_are_missing() {
        let names = Some(["eth1", "eth9"].map(String::from).into());
        let wanted = Wanted { names, listeners: Vec::new(), relay: Vec::new() };
        let found: Vec<_> = wanted.links(&network()).into_iter().map(|l| l.name).collect();
        assert_eq!(found, ["eth1"]);
        assert_eq!(wanted.missing(&network()), BTreeSet::from(["eth9".into()]));
    }

    #[test]
    fn addresses_that_no_interface_carries_are_told() {
        let (listeners, relay) = parse(&["0.0.0.0:3478", "10.0.0.2:3478"], &["203.0.113.99"]);
        let wanted = Wanted { names: None, listeners, relay };
        assert_eq!(wanted.nowhere(&network()), BTreeSet::from(["203.0.113.99".parse().unwrap()]));
    }
}
