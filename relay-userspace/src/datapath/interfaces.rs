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
    const OF_VIRTUAL_MACHINES: [&str; 4] = ["virtio_net", "vmxnet3", "hv_netvsc", "xen-netfront"];
    driver(interface).is_none_or(|name| OF_VIRTUAL_MACHINES.contains(&name.as_str()))
}

/// The name of the driver of an interface's hardware; `None` where there is no hardware.
pub(super) fn driver(interface: &str) -> Option<String> {
    let path = std::fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The interfaces and addresses of this host.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub(super) links: Vec<Link>,
    /// Each with the index of its interface.
    pub(super) addresses: Vec<(u32, IpAddr)>,
}

impl Network {
    /// As they are now.
    pub(super) fn read() -> io::Result<Self> {
        let mut netlink = Netlink::open()?;
        Ok(Self { links: netlink.links()?, addresses: netlink.addresses()? })
    }

    /// The named interfaces; the first name that does not exist is the error.
    pub(super) fn named(&self, names: &[String]) -> Result<Vec<Link>, String> {
        let find = |name: &String| self.links.iter().find(|l| l.name == *name).cloned().ok_or(name.clone());
        names.iter().collect::<BTreeSet<_>>().into_iter().map(find).collect()
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
    pub(super) fn locals(&self, listeners: &[SocketAddr], relay: &[RelayAddress]) -> BTreeSet<(IpAddr, u16)> {
        let mut locals: BTreeSet<_> = relay.iter().map(|r| (r.local, 0)).collect();
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
mod tests {
    use super::*;

    fn network() -> Network {
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            kind: None,
            mac: None,
            mtu: 1500,
            up: true,
            loopback: name == "lo",
            vlan: None,
            far_end: None,
        };
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
    fn a_named_interface_that_does_not_exist_is_an_error_that_names_it() {
        assert_eq!(network().named(&["eth1".into(), "eth9".into()]), Err("eth9".into()));
        let found = network().named(&["eth1".into(), "eth1".into()]).unwrap();
        assert_eq!(found.len(), 1);
    }
}
