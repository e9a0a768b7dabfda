//! What the clients have in common.

use serde_json::Value;
use turnpike_tests::lab::{self, Dual, Family, Host, Server, ServerOptions, wait_for};

/// A server in its network, and the family by which its clients reach it.
pub(crate) struct Lab {
    net: Dual,
    pub(crate) server: Server,
    listen: Family,
    /// Ports to relay from, before anybody came.
    ports: Value,
}

impl Lab {
    /// A server that listens at its address of one family, and relays from its addresses of others. `None` when the
    /// test is to be skipped.
    pub(crate) fn new(listen: Family, relay: &[Family], options: ServerOptions) -> Option<Self> {
        if lab::skipped() {
            return None;
        }
        let net = Dual::new();
        // The lab's IPv6 addresses are of fc00::/7, which no peer may have by default.
        let options = options.flag("--allow-peer", "fd77::/64").relay_from(net.server.by(relay[0]).address());
        let more = relay[1..].iter().map(|family| net.server.by(*family).address());
        let options = more.fold(options, |options, address| options.flag("--relay-address", address));
        let server = Server::start(net.server.by(listen), &options);
        let ports = server.status()["allocations"]["free_ports"].clone();
        Some(Self { net, server, listen, ports })
    }

    /// The clients' machine, by the family of the listener.
    pub(crate) fn client(&self) -> &Host {
        self.net.client.by(self.listen)
    }

    /// The peers' machine.
    pub(crate) fn peer(&self, family: Family) -> &Host {
        self.net.peer.by(family)
    }

    /// The server's machine.
    pub(crate) fn relay(&self, family: Family) -> &Host {
        self.net.server.by(family)
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
