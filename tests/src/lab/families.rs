//! A network on which every machine has an address of each family.

use std::net::Ipv6Addr;

use super::host::Host;
use super::net::Net;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// One machine, by either of its addresses.
#[derive(Debug)]
pub struct Machine {
    v4: Host,
    v6: Host,
}

impl Machine {
    fn new(net: &Net, last_byte: u8) -> Self {
        let v4 = net.host(last_byte);
        let v6 = v4.with_ipv6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last_byte.into()));
        Self { v4, v6 }
    }

    /// The machine, known by its address of this family.
    pub fn by(&self, family: Family) -> &Host {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// Client, server and peer on one Ethernet; the server has one network card.
#[derive(Debug)]
pub struct Dual {
    /// 10.77.0.1 and fd77::1
    pub server: Machine,
    /// 10.77.0.2 and fd77::2
    pub client: Machine,
    /// 10.77.0.3 and fd77::3
    pub peer: Machine,
    _net: Net,
}

impl Dual {
    /// Plugs them together.
    pub fn new() -> Self {
        let net = Net::new([10, 77, 0]);
        let [server, client, peer] = [1, 2, 3].map(|last| Machine::new(&net, last));
        Self { server, client, peer, _net: net }
    }
}

impl Default for Dual {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// Gives `eth0` an IPv6 address too: the same machine, known by that.
    fn with_ipv6(&self, address: Ipv6Addr) -> Host {
        self.enter(|| {
            for interface in ["eth0", "lo"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "0")
                    .expect("a setting of the namespace");
            }
        });
        // Nobody else can have it, and to find that out would take a second.
        self.ip(&format!("addr add {address}/64 dev eth0 nodad"));
        Host::new((**self).clone(), address)
    }
}
