//! Wires, switches and the two networks that most tests need.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::host::Host;
use super::namespace::Namespace;
use super::pass::PassProgram;
use super::wait_for;

/// A switch, and what keeps its ports awake.
#[derive(Debug)]
pub struct Net {
    switch: Namespace,
    subnet: [u8; 3],
    ipv6: bool,
    ports: AtomicU32,
    programs: std::sync::Mutex<Vec<PassProgram>>,
}

impl Net {
    /// An Ethernet of addresses `subnet.1` to `subnet.254`.
    pub fn new(subnet: [u8; 3]) -> Self {
        Self::with(subnet, false)
    }

    /// The same, on which machines have an IPv6 address as well: see [`Self::address_v6`].
    pub fn dual_stack(subnet: [u8; 3]) -> Self {
        Self::with(subnet, true)
    }

    fn with(subnet: [u8; 3], ipv6: bool) -> Self {
        let switch = Namespace::new();
        switch.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        switch.ip("link set br0 up");
        Self { switch, subnet, ipv6, ports: AtomicU32::new(1), programs: Default::default() }
    }

    /// A new machine on it.
    pub fn host(&self, last_byte: u8) -> Host {
        let namespace = Namespace::new();
        self.plug(&namespace, "eth0", last_byte);
        Host::new(namespace, self.address(last_byte), self.address_v6(last_byte))
    }

    /// Gives a machine another interface, on this Ethernet.
    pub fn plug(&self, machine: &Namespace, interface: &str, last_byte: u8) {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        veth(&self.switch, &port, machine, interface);
        self.switch.ip(&format!("link set {port} master br0"));
        self.number(machine, interface, last_byte);
        self.programs.lock().expect("nobody panics with it").push(PassProgram::attach(&self.switch, &port));
    }

    /// Gives a machine's interface its addresses.
    fn number(&self, machine: &Namespace, interface: &str, last_byte: u8) {
        machine.ip(&format!("addr add {}/24 dev {interface}", self.address(last_byte)));
        if self.ipv6 {
            machine.enter(|| {
                // The loopback carries what a machine sends to itself.
                for name in ["lo", interface] {
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0")
                        .expect("a setting of the namespace");
                }
            });
            machine.ip(&format!("addr add {}/64 dev {interface} nodad", self.address_v6(last_byte)));
        }
    }

    /// Makes a network card of this computer a port of the switch, until the test ends.
    fn take_in(&self, card: &str) {
        take(card, &self.switch, card);
        self.switch.ip(&format!("link set {card} master br0 up"));
    }

    /// An address of it.
    pub fn address(&self, last_byte: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last_byte)
    }

    /// An IPv6 address of it: `fd00:10:77:0::1` next to 10.77.0.1.
    pub fn address_v6(&self, last_byte: u8) -> Ipv6Addr {
        // The digits of a byte, read as hexadecimal ones, look the same.
        let same_digits = |byte: u8| u16::from_str_radix(&byte.to_string(), 16).expect("digits");
        let [a, b, c] = self.subnet.map(same_digits);
        Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, same_digits(last_byte))
    }

    /// The switch itself.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }
}

/// Moves a network card of this computer into a machine. The kernel brings it back when the machine is gone, which takes
/// a moment: a test before this one may have had it.
fn take(card: &str, machine: &Namespace, name: &str) {
    wait_for(card, || {
        let arguments = ["link", "set", card, "netns", &machine.path(), "name", name];
        let output = Command::new("ip").args(arguments).output().expect("ip starts");
        output.status.success().then_some(())
    });
}

/// Joins two machines by a virtual cable, both ends up. XDP wants finished checksums, no super-packets and VLAN tags in
/// their place, and a veth takes frames from XDP on the far end only when it polls.
pub fn veth(a: &Namespace, a_name: &str, b: &Namespace, b_name: &str) {
    a.ip(&format!("link add {a_name} type veth peer name {b_name} netns {}", b.path()));
    for (namespace, device) in [(a, a_name), (b, b_name)] {
        namespace.run("ethtool", &format!("-K {device} tx off gro on txvlan off tx-vlan-stag-hw-insert off"));
        namespace.ip(&format!("link set {device} up"));
    }
}

/// Client, server and peer on one Ethernet; the server has one network card.
#[derive(Debug)]
pub struct OneNic {
    /// The Ethernet.
    pub net: Net,
    /// 10.77.0.1
    pub server: Host,
    /// 10.77.0.2
    pub client: Host,
    /// 10.77.0.3
    pub peer: Host,
}

impl OneNic {
    /// Plugs them together.
    pub fn new() -> Self {
        Self::on(Net::new([10, 77, 0]))
    }

    /// The same with IPv6 addresses beside those of IPv4.
    pub fn dual_stack() -> Self {
        Self::on(Net::dual_stack([10, 77, 0]))
    }

    /// The same with two network cards of this computer, a cable between them: one is the server's, one the switch's.
    /// They are back where they were soon after the test.
    pub fn with_cards([server_card, switch_card]: [&str; 2]) -> Self {
        let net = Net::dual_stack([10, 77, 0]);
        net.take_in(switch_card);
        let machine = Namespace::new();
        take(server_card, &machine, "eth0");
        machine.ip("link set eth0 up");
        net.number(&machine, "eth0", 1);
        let server = Host::new(machine, net.address(1), net.address_v6(1));
        let [client, peer] = [2, 3].map(|last| net.host(last));
        Self { net, server, client, peer }
    }

    fn on(net: Net) -> Self {
        let [server, client, peer] = [1, 2, 3].map(|last| net.host(last));
        Self { net, server, client, peer }
    }
}

impl Default for OneNic {
    fn default() -> Self {
        Self::new()
    }
}

/// A server between two Ethernets: the client on that of `eth0`, the peer on that of `eth1`.
#[derive(Debug)]
pub struct TwoNic {
    /// The client's Ethernet.
    pub inside: Net,
    /// The peer's Ethernet.
    pub outside: Net,
    /// 10.77.0.1 and 10.78.0.1
    pub server: Host,
    /// 10.77.0.2
    pub client: Host,
    /// 10.78.0.3
    pub peer: Host,
}

impl TwoNic {
    /// Plugs them together.
    pub fn new() -> Self {
        let (inside, outside) = (Net::new([10, 77, 0]), Net::new([10, 78, 0]));
        let server = inside.host(1);
        outside.plug(&server, "eth1", 1);
        let client = inside.host(2);
        let peer = outside.host(3);
        Self { inside, outside, server, client, peer }
    }

    /// The address that the server relays from: that of `eth1`.
    pub fn relay_address(&self) -> Ipv4Addr {
        self.outside.address(1)
    }
}

impl Default for TwoNic {
    fn default() -> Self {
        Self::new()
    }
}
