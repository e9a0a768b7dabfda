//! The cables of a lab in namespaces: veth pairs with addresses, routes and neighbours that never change.

use std::fs;

use turnpike_tests::lab::{Namespace, veth};

use super::Port;

/// One cable: its two ends, their addresses, and what the generator's end stands for.
pub(super) struct Cable {
    /// The generator's end.
    pub(super) near: &'static str,
    /// The relay's end.
    pub(super) far: &'static str,
    /// The networks that the cable itself has, IPv4 and IPv6: the relay is the first host of each, the router the second.
    pub(super) links: [(&'static str, u8); 2],
    /// The networks behind the router whose hosts the generator is.
    pub(super) hosts: &'static [&'static str],
    /// What the relay reaches by the router.
    pub(super) routes: &'static [&'static str],
}

/// IPv4 address of the relay on the first cable, which has its listeners.
pub(super) const RELAY: &str = "192.0.2.1";
/// Its IPv6 address there.
pub(super) const RELAY_V6: &str = "2001:db8::1";
/// IPv4 address of the relay on the second cable.
pub(super) const OUTSIDE: &str = "198.18.1.1";
/// Its IPv6 address there.
pub(super) const OUTSIDE_V6: &str = "2001:db8:f::1";

const CLIENTS: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/64"];
const PEERS: [&str; 2] = ["203.0.113.0/24", "2001:db8:2::/64"];
const ALL: [&str; 4] = [CLIENTS[0], CLIENTS[1], PEERS[0], PEERS[1]];
const LINKS: [(&str, u8); 2] = [("192.0.2.", 24), ("2001:db8::", 64)];

/// The only cable of a lab with one card.
pub(super) const ONLY: Cable =
    Cable { near: "gen0", far: "nic0", links: LINKS, hosts: &ALL, routes: &["default", "-6 default"] };

/// The clients' cable of a lab with two.
pub(super) const INSIDE: Cable =
    Cable { near: "gen0", far: "nic0", links: LINKS, hosts: &CLIENTS, routes: &["default", "-6 default"] };

/// The peers' cable of a lab with two.
pub(super) const BEYOND: Cable = Cable {
    near: "gen1",
    far: "nic1",
    links: [("198.18.1.", 24), ("2001:db8:f::", 64)],
    hosts: &PEERS,
    routes: &PEERS,
};

impl Cable {
    /// Lays it.
    pub(super) fn lay(&self, generator: &Namespace, relay: &Namespace) -> Port {
        veth(generator, self.near, relay, self.far);
        // A veth takes frames from XDP if the other end polls, and looks at that when it comes up or when the other end's
        // switch is thrown: not when the other end, switched on before, comes up after it.
        for (machine, device) in [(generator, self.near), (relay, self.far)] {
            for state in ["off", "on"] {
                machine.run("ethtool", &format!("-K {device} gro {state}"));
            }
        }
        let (near, far) = (generator.mac(self.near), relay.mac(self.far));
        for (machine, device, host, other, mac) in
            [(relay, self.far, 1, 2, near), (generator, self.near, 2, 1, far)]
        {
            machine.enter(|| {
                // The loopback carries what a machine sends to itself.
                for name in ["lo", device] {
                    fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0")
                        .expect("a setting of the namespace");
                }
            });
            for setting in ["all", device] {
                // What comes in by one cable may leave by the same: nobody is to be told of a shorter way.
                machine.set(&format!("ipv4/conf/{setting}/send_redirects"), "0");
                machine.set(&format!("ipv4/conf/{setting}/rp_filter"), "0");
            }
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            for (link, length) in self.links {
                machine.ip(&format!("addr add {link}{host}/{length} dev {device}{}", no_dad(link)));
                machine.ip(&format!("neigh replace {link}{other} lladdr {mac} dev {device} nud permanent"));
            }
        }
        for network in self.hosts {
            // Every address of it is the generator's own (AnyIP): sockets can be bound to it, and nobody has to list them.
            generator.ip(&format!("{}route add local {network} dev lo", family_flag(network)));
        }
        generator.set("ipv6/ip_nonlocal_bind", "1");
        for route in self.routes {
            let (flag, network) = match route.split_once(' ') {
                Some((_, network)) => ("-6 ", network),
                None => (family_flag(route), *route),
            };
            let link = self.links[usize::from(!flag.is_empty())].0;
            relay.ip(&format!("{flag}route add {network} via {link}2 dev {}", self.far));
        }
        Port { interface: self.near.to_owned(), own_mac: near, relay_mac: far }
    }
}

fn family_flag(network: &str) -> &'static str {
    if network.contains(':') { "-6 " } else { "" }
}

/// Duplicate addresses are not looked for: the address would be unusable until that is done.
fn no_dad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}
