//! What the clients have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;
use turnpike_tests::lab::{self, Host, OneNic, Server, ServerOptions, wait_for};

/// The port of DTLS, of TLS, and of TCP without it.
const SECURE: u16 = 5349;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// A machine by its address of this family.
    fn of(self, host: &Host) -> Host {
        match self {
            Family::V4 => host.clone(),
            Family::V6 => host.over_ipv6(),
        }
    }
}

/// A server in its network, and the family by which its clients reach it.
pub(crate) struct Lab {
    net: OneNic,
    pub(crate) server: Server,
    listen: Family,
    /// Ports to relay from, before anybody came.
    ports: Value,
}

impl Lab {
    /// A server that listens at its address of one family, and relays from its addresses of others. `None` when the
    /// test is to be skipped.
    pub(crate) fn new(listen: Family, relay: &[Family], options: ServerOptions) -> Option<Self> {
        Self::open(listen, relay, options, None)
    }

    /// The same, and the server listens for DTLS as well, at its own port.
    pub(crate) fn with_dtls(listen: Family, relay: &[Family], options: ServerOptions) -> Option<Self> {
        Self::open(listen, relay, options, Some("dtls"))
    }

    /// The same for TLS over TCP.
    pub(crate) fn with_tls(listen: Family, relay: &[Family], options: ServerOptions) -> Option<Self> {
        Self::open(listen, relay, options, Some("tls"))
    }

    /// The same for TCP, at the port of TLS.
    pub(crate) fn with_tcp(listen: Family, relay: &[Family], options: ServerOptions) -> Option<Self> {
        Self::open(listen, relay, options, Some("tcp"))
    }

    fn open(listen: Family, relay: &[Family], options: ServerOptions, secure: Option<&str>) -> Option<Self> {
        if lab::skipped() {
            return None;
        }
        let net = OneNic::dual_stack();
        let at = listen.of(&net.server).at(SECURE);
        let options = match secure {
            Some(scheme) => options.flag("--listen", format!("{scheme}://{at}")),
            None => options,
        };
        let addresses = relay.iter().map(|family| family.of(&net.server).address());
        let options = addresses.fold(options, |options, address| options.relay_from(address));
        let server = Server::start(&listen.of(&net.server), &options);
        let ports = server.status()["allocations"]["free_ports"].clone();
        Some(Self { net, server, listen, ports })
    }

    /// Where the server listens for DTLS, TLS or TCP.
    pub(crate) fn secure(&self) -> SocketAddr {
        self.listen.of(&self.net.server).at(SECURE)
    }

    /// The clients' machine, by the family of the listener.
    pub(crate) fn client(&self) -> Host {
        self.listen.of(&self.net.client)
    }

    /// The same with an address for one client alone, the `n`th. A client that moves to another port (`-M`) leaves one that
    /// the kernel may give to the next, which the server refuses by 437 until the first has sent data.
    pub(crate) fn client_of_its_own(&self, n: u8) -> Host {
        let host = 100 + n;
        let (address, prefix): (IpAddr, _) = match self.client().address() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                (Ipv4Addr::new(a, b, c, host).into(), "24")
            }
            IpAddr::V6(v6) => {
                (Ipv6Addr::from_bits(v6.to_bits() & !0xffff | u128::from(host)).into(), "64 nodad")
            }
        };
        self.net.client.ip(&format!("addr add {address}/{prefix} dev eth0"));
        self.client().at_address(address)
    }

    /// The peers' machine.
    pub(crate) fn peer(&self, family: Family) -> Host {
        family.of(&self.net.peer)
    }

    /// The server's machine.
    pub(crate) fn relay(&self, family: Family) -> Host {
        family.of(&self.net.server)
    }

    /// Waits until no allocation is left, and with them no port and no channel, neither here nor in XDP.
    pub(crate) fn nothing_is_left(&self) {
        wait_for("the end of all allocations", || {
            let status = self.server.status();
            let [active, free] = ["active", "free_ports"].map(|field| &status["allocations"][field]);
            (*active == 0 && status["bindings"]["active"] == 0 && *free == self.ports).then_some(())
        });
    }
}
