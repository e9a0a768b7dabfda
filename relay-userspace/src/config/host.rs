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
    /// The interface of the IPv6 default route.
    pub default_interface_v6: Option<String>,
    /// IPv6 addresses that do not last: temporary ones (RFC 8981), deprecated ones, those not known to be unique yet.
    pub passing: Vec<IpAddr>,
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
            default_interface_v6: default_interface_v6(&proc("/proc/net/ipv6_route")),
            passing: passing(&proc("/proc/net/if_inet6")),
            name: Some(proc("/proc/sys/kernel/hostname").trim().to_owned()).filter(|name| !name.is_empty()),
            ephemeral_ports: ephemeral_ports(&proc("/proc/sys/net/ipv4/ip_local_port_range")),
            reserved_ports: reserved_ports(&proc("/proc/sys/net/ipv4/ip_local_reserved_ports")),
        })
    }

    /// The addresses to serve on when nobody names one, and what is odd about them. On a host with a default route of
    /// each family these are two: a client behind an IPv6-only access is served as well as any other.
    pub fn best_addresses(&self) -> (Vec<IpAddr>, Option<&'static str>) {
        let defaults = [(self.default_interface.as_ref(), false), (self.default_interface_v6.as_ref(), true)];
        let of_default_routes: Vec<_> = defaults
            .into_iter()
            .filter_map(|(name, ipv6)| self.servable(ipv6).find(|(interface, _)| Some(*interface) == name))
            .map(|(_, ip)| ip)
            .collect();
        if !of_default_routes.is_empty() {
            return (of_default_routes, None);
        }
        match self.servable(false).chain(self.servable(true)).next() {
            Some((_, ip)) => {
                (vec![ip], Some("there is no default route: serving on the first address found"))
            }
            None => (
                vec![IpAddr::from([127, 0, 0, 1])],
                Some("this host has no address but the loopback's: only programs on it can reach the relay"),
            ),
        }
    }

    /// Whether the address is one of this host's.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|(_, own)| *own == ip)
    }

    /// The addresses that can be served on, for a complaint that offers them.
    pub fn list(&self) -> String {
        let all = self.addresses.iter().map(|(_, ip)| ip).filter(|ip| !is_link_local(**ip));
        all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The addresses of a family at which other hosts can reach this one, with their interfaces; among those of IPv6,
    /// unique local ones come last.
    fn servable(&self, ipv6: bool) -> impl Iterator<Item = (&String, IpAddr)> {
        let usable = move |local: bool| {
            self.addresses.iter().map(|(interface, ip)| (interface, *ip)).filter(move |(_, ip)| {
                ip.is_ipv6() == ipv6
                    && !(ip.is_loopback() || is_link_local(*ip) || self.passing.contains(ip))
                    && matches!(ip, IpAddr::V6(v6) if v6.is_unique_local()) == local
            })
        };
        usable(false).chain(usable(true))
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

/// Whether the address means something on one link only, and nothing without its name.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// As [`default_interface`], from the text of `/proc/net/ipv6_route`, where all numbers but the last are hexadecimal.
fn default_interface_v6(routes: &str) -> Option<String> {
    const UP: u32 = 1;
    // The kernel's own route to nowhere, with which it answers "unreachable".
    const REJECT: u32 = 0x200;
    const ANY: &str = "00000000000000000000000000000000";
    let defaults = routes.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [ANY, "00", ANY, "00", _, metric, _, _, flags, interface] = fields[..] else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        (flags & (UP | REJECT) == UP).then_some((u32::from_str_radix(metric, 16).ok()?, interface))
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, interface)| interface.to_owned())
}

/// The addresses with a flag that says they do not last, from the text of `/proc/net/if_inet6`: address, index, prefix
/// length, scope and flags in hexadecimal, name.
fn passing(addresses: &str) -> Vec<IpAddr> {
    // IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_DEPRECATED and IFA_F_TENTATIVE of linux/if_addr.h.
    const PASSING: u32 = 0x01 | 0x08 | 0x20 | 0x40;
    let passing = addresses.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [ip, _, _, _, flags, _] = fields[..] else { return None };
        let ip = IpAddr::from(u128::from_str_radix(ip, 16).ok()?.to_be_bytes());
        (u32::from_str_radix(flags, 16).ok()? & PASSING != 0).then_some(ip)
    });
    passing.collect()
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

    const ALL: [(&str, &str); 8] = [
        ("lo", "127.0.0.1"),
        ("lo", "::1"),
        ("eth0", "fe80::1"),
        ("eth0", "10.0.0.2"),
        ("eth1", "192.0.2.7"),
        ("eth1", "fd00::7"),
        ("eth1", "2001:db8::bad"),
        ("eth1", "2001:db8::7"),
    ];

    fn best(host: &Host) -> (Vec<String>, bool) {
        let (addresses, odd) = host.best_addresses();
        (addresses.iter().map(ToString::to_string).collect(), odd.is_some())
    }

    #[test]
    fn the_best_addresses_are_the_default_routes_else_the_first_else_the_loopback() {
        let best = |default, addresses| best(&host(default, addresses));
        assert_eq!(best(Some("eth1"), &ALL), (vec!["192.0.2.7".into()], false));
        assert_eq!(best(None, &ALL), (vec!["10.0.0.2".into()], true));
        assert_eq!(best(None, &ALL[..3]), (vec!["127.0.0.1".into()], true));
        assert_eq!(best(None, &ALL[5..]), (vec!["2001:db8::bad".into()], true));
    }

    #[test]
    fn with_a_default_route_of_each_family_the_best_addresses_are_two() {
        let mut host = host(Some("eth0"), &ALL);
        host.default_interface_v6 = Some("eth1".into());
        host.passing = vec!["2001:db8::bad".parse().unwrap()];
        assert_eq!(best(&host), (vec!["10.0.0.2".into(), "2001:db8::7".into()], false));
        host.default_interface = None;
        assert_eq!(best(&host), (vec!["2001:db8::7".into()], false));
        host.addresses.truncate(6);
        assert_eq!(best(&host), (vec!["fd00::7".into()], false), "unique local rather than none");
    }

    #[test]
    fn the_ipv6_default_route_with_the_lowest_metric_counts_and_the_one_to_nowhere_does_not() {
        let zeros = "0".repeat(32);
        let route = |to: &str, len: &str, metric: &str, flags: &str, interface: &str| {
            format!(
                "{to} {len} {zeros} 00 fe80{} {metric} 00000001 00000000 {flags} {interface:>8}\n",
                "0".repeat(28)
            )
        };
        let nowhere = route(&zeros, "00", "00000000", "00200201", "lo");
        let routes = format!(
            "{}{}{}{nowhere}",
            route("20010db8000000000000000000000000", "40", "00000000", "00000001", "eth2"),
            route(&zeros, "00", "00000400", "00450003", "eth0"),
            route(&zeros, "00", "00000100", "00450003", "eth1"),
        );
        assert_eq!(default_interface_v6(&routes).as_deref(), Some("eth1"));
        assert_eq!(default_interface_v6(&nowhere), None);
    }

    #[test]
    fn temporary_and_deprecated_addresses_are_known_by_their_flags() {
        let line = |last: u8, flags: &str| {
            format!("20010db80000000000000000000000{last:02x} 02 40 00 {flags} eth0\n")
        };
        let text = [line(1, "80"), line(2, "01"), line(3, "20"), line(4, "00"), line(5, "c0")].concat();
        let expected: Vec<IpAddr> =
            ["2001:db8::2", "2001:db8::3", "2001:db8::5"].map(|a| a.parse().unwrap()).into();
        assert_eq!(passing(&text), expected);
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
