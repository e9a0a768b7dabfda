//! What this host is like, as far as the defaults and the warnings depend on it.

use std::fs;
use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use super::values::PortRange;

/// The host's addresses and names. Plain data, so that tests can make one up.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Host {
    /// Every address, with the interface that carries it.
    pub addresses: Vec<(String, IpAddr)>,
    /// The interface of the IPv4 default route.
    pub default_interface: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// The ports that the kernel hands out to programs which ask for any.
    pub ephemeral_ports: Option<PortRange>,
    /// Ports that it keeps from them.
    pub reserved_ports: Vec<PortRange>,
}

impl Host {
    /// Asks the kernel.
    pub fn read() -> io::Result<Self> {
        let addresses = getifaddrs()?.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))?;
            Some((interface.interface_name, ip))
        });
        let proc = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Ok(Self {
            addresses: addresses.collect(),
            default_interface: default_interface(&proc("/proc/net/route")),
            name: Some(proc("/proc/sys/kernel/hostname").trim().to_owned()).filter(|name| !name.is_empty()),
            ephemeral_ports: ephemeral_ports(&proc("/proc/sys/net/ipv4/ip_local_port_range")),
            reserved_ports: reserved_ports(&proc("/proc/sys/net/ipv4/ip_local_reserved_ports")),
        })
    }

    /// The address to serve on when nobody names one, and why it is not the default route's, if so.
    pub fn best_address(&self) -> (IpAddr, Option<&'static str>) {
        let v4 = || self.addresses.iter().filter(|(_, ip)| ip.is_ipv4());
        let of_default_route = v4()
            .find(|(interface, ip)| Some(interface) == self.default_interface.as_ref() && !ip.is_loopback());
        if let Some((_, ip)) = of_default_route {
            return (*ip, None);
        }
        match v4().find(|(_, ip)| !ip.is_loopback()) {
            Some((_, ip)) => {
                (*ip, Some("there is no IPv4 default route: serving on the first address found"))
            }
            None => (
                IpAddr::from([127, 0, 0, 1]),
                Some(
                    "this host has no IPv4 address but the loopback's: only programs on it can reach the relay",
                ),
            ),
        }
    }

    /// Whether the address is one of this host's.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|(_, own)| *own == ip)
    }

    /// The IPv4 addresses, for a complaint that offers them.
    pub fn list_v4(&self) -> String {
        let v4: Vec<_> =
            self.addresses.iter().filter(|(_, ip)| ip.is_ipv4()).map(|(_, ip)| ip.to_string()).collect();
        v4.join(", ")
    }

    /// Whether programs on this host may be given a port of the range.
    pub fn hands_out(&self, range: PortRange) -> bool {
        self.ephemeral_ports.is_some_and(|ports| ports.overlaps(range))
            && !self.reserved_ports.iter().any(|reserved| reserved.covers(range))
    }
}

/// The interface of the default route with the lowest metric, from the text of `/proc/net/route`.
fn default_interface(routes: &str) -> Option<String> {
    const UP: u32 = 1;
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let up = u32::from_str_radix(flags, 16).ok()? & UP != 0;
        let is_default = destination == "00000000" && mask == "00000000";
        (up && is_default).then_some((metric.parse::<u32>().ok()?, interface))
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, interface)| interface.to_owned())
}

/// `32768\t60999`.
fn ephemeral_ports(text: &str) -> Option<PortRange> {
    text.split_whitespace().collect::<Vec<_>>().join("-").parse().ok()
}

/// `3478,49152-65535`.
fn reserved_ports(text: &str) -> Vec<PortRange> {
    let range = |item: &str| item.parse().or_else(|_| format!("{item}-{item}").parse()).ok();
    text.trim().split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn host(default: Option<&str>, addresses: &[(&str, &str)]) -> Host {
        Host {
            addresses: addresses.iter().map(|(i, ip)| (i.to_string(), ip.parse().unwrap())).collect(),
            default_interface: default.map(Into::into),
            ..Host::default()
        }
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let routes = format!(
            "{HEADER}wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             eth2\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n"
        );
        assert_eq!(default_interface(&routes).as_deref(), Some("eth0"));
        assert_eq!(default_interface(HEADER), None);
        assert_eq!(default_interface(""), None);
    }

    #[test]
    fn the_best_address_is_the_default_routes_else_the_first_else_the_loopback() {
        let all = [("lo", "127.0.0.1"), ("eth0", "fe80::1"), ("eth0", "10.0.0.2"), ("eth1", "192.0.2.7")];
        let best = |host: &Host| (host.best_address().0.to_string(), host.best_address().1.is_some());
        assert_eq!(best(&host(Some("eth1"), &all)), ("192.0.2.7".into(), false));
        assert_eq!(best(&host(None, &all)), ("10.0.0.2".into(), true));
        assert_eq!(best(&host(None, &all[..2])), ("127.0.0.1".into(), true));
    }

    #[test]
    fn ports_that_the_kernel_hands_out_are_noticed_unless_they_are_reserved() {
        let range = "49152-65535".parse().unwrap();
        let mut host = Host { ephemeral_ports: ephemeral_ports("32768\t60999\n"), ..Host::default() };
        assert!(host.hands_out(range));
        host.reserved_ports = reserved_ports("3478,50000-65535\n");
        assert!(host.hands_out(range));
        host.reserved_ports = reserved_ports("3478,49152-65535\n");
        assert!(!host.hands_out(range));
        assert!(
            !Host { ephemeral_ports: ephemeral_ports("20000\t30000"), ..Host::default() }.hands_out(range)
        );
    }
}
