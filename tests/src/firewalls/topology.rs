//! The machines of the lab, and the router with its firewall between them.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::echo::Echo;
use super::network::{Network, Way};
use super::pki::Pki;
use super::proxy::{self, RunningProxy};
use crate::lab::{Host, Namespace, Net};

/// The server's name, and that of its second address.
pub(super) const NAME: &str = "turn.test";
pub(super) const TCP_NAME: &str = "tcp.turn.test";

/// The name and the port of the proxy.
pub(super) const PROXY: &str = "proxy.test:3128";

/// Where the server listens and relays.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// Where it has a port 443 without TLS.
pub(super) const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

const INSIDE: [u8; 3] = [10, 77, 0];
const OUTSIDE: [u8; 3] = [10, 78, 0];
const FAR: [u8; 3] = [10, 79, 0];

/// The last bytes of the addresses of the routers.
const ROUTER: u8 = 254;
const FAR_ROUTER: u8 = 253;

/// Everything but the server and the clients.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) pki: Pki,
    pub(super) client: Host,
    /// Another machine inside.
    pub(super) colleague: Host,
    /// Where the other end of a call is that is not in the same page.
    pub(super) other: Option<Host>,
    pub(super) router: Namespace,
    pub(super) server: Host,
    pub(super) elsewhere: Host,
    pub(super) proxy: Option<RunningProxy>,
    _echo: Echo,
    _nets: Vec<Net>,
    _far_router: Option<Namespace>,
}

impl Topology {
    pub(super) fn new(network: &Network) -> Self {
        let pki = Pki::new();
        let (inside, outside) = (Net::new(INSIDE), Net::new(OUTSIDE));
        let nat = matches!(network.way, Way::SymmetricNat { .. });
        let router = router(&inside, &outside, ROUTER, network, nat);
        let [client, colleague] = [2, 3].map(|last| inside_host(&inside, last));
        // A NAT hides the addresses behind it; without one they are known outside.
        let outside_host = |last| {
            let host = outside.host(last);
            if !nat {
                host.ip(&format!("route add {}/24 via {}", inside.address(0), outside.address(ROUTER)));
            }
            host
        };
        let server = outside_host(1);
        assert_eq!(server.address(), ADDRESS);
        server.ip(&format!("addr add {SECOND_ADDRESS}/24 dev eth0"));
        let elsewhere = outside_host(3);
        let mut nets = Vec::new();
        let mut far_router = None;
        let other = match network.way {
            Way::SymmetricNat { both: true } => {
                let far = Net::new(FAR);
                far_router = Some(self::router(&far, &outside, FAR_ROUTER, network, nat));
                let host = far.host(2);
                host.ip(&format!("route add default via {}", far.address(FAR_ROUTER)));
                nets.push(far);
                Some(host)
            }
            Way::SymmetricNat { both: false } => Some(outside.host(6)),
            Way::Routed | Way::Proxy(_) => None,
        };
        let proxy_host = matches!(network.way, Way::Proxy(_)).then(|| outside_host(4));
        let machines = [&client, &colleague, &server, &elsewhere];
        for machine in machines.into_iter().chain(&other).chain(&proxy_host) {
            know_the_names(machine, &server);
        }
        let proxy = match (network.way, proxy_host) {
            (Way::Proxy(kind), Some(host)) => Some(proxy::start(kind, host, &pki)),
            _ => None,
        };
        let echo = Echo::start(&elsewhere);
        nets.extend([inside, outside]);
        Self {
            pki,
            client,
            colleague,
            other,
            router,
            server,
            elsewhere,
            proxy,
            _echo: echo,
            _nets: nets,
            _far_router: far_router,
        }
    }

    /// How many packets the firewall has dropped.
    pub(super) fn blocked(&self) -> u64 {
        let listed = self.router.run("nft", "--json list counter inet firewall blocked");
        let listed: Value = serde_json::from_str(&listed).expect("nft writes JSON");
        let counters = listed["nftables"].as_array().expect("a list");
        counters.iter().find_map(|entry| entry["counter"]["packets"].as_u64()).expect("the counter")
    }
}

fn inside_host(inside: &Net, last_byte: u8) -> Host {
    let host = inside.host(last_byte);
    host.ip(&format!("route add default via {}", inside.address(ROUTER)));
    host
}

/// A router with the network's firewall and, with `nat`, a symmetric NAT: each connection gets a port by chance.
fn router(inside: &Net, outside: &Net, last_byte: u8, network: &Network, nat: bool) -> Namespace {
    let router = Namespace::new();
    inside.plug(&router, "inside", last_byte);
    outside.plug(&router, "outside", last_byte);
    router.set("ipv4/ip_forward", "1");
    let masquerade = if nat { "oifname outside masquerade fully-random" } else { "" };
    let (server, proxy) = (outside.address(1), outside.address(4));
    let rules = format!(
        "define SERVER = {server}\n\
         define PROXY = {proxy}\n\
         table inet firewall {{\n\
             counter blocked {{ }}\n\
             chain block {{ counter name blocked drop; }}\n\
             chain passing {{\n\
                 type filter hook forward priority 0; policy drop;\n\
                 {}\n\
                 ct state established,related accept\n\
                 {}\n\
                 jump block\n\
             }}\n\
             chain nat {{ type nat hook postrouting priority 100; {masquerade}\n }}\n\
         }}\n",
        network.inspects, network.rules
    );
    let file = router.keep("firewall.nft", &rules);
    router.run("nft", &format!("--file {}", file.display()));
    router
}

/// Gives a machine the lab's names, and no name server that it could ask for others.
fn know_the_names(machine: &Host, server: &Host) {
    let (proxy, _) = PROXY.split_once(':').expect("a name and a port");
    let hosts = format!(
        "127.0.0.1 localhost\n{} {NAME}\n{SECOND_ADDRESS} {TCP_NAME}\n10.78.0.3 elsewhere.test\n10.78.0.4 {proxy}\n",
        server.address()
    );
    machine.show("/etc/hosts", &hosts);
    machine.show("/etc/resolv.conf", "");
}
