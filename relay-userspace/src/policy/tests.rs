//! Tests of the verdict on peers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::special::{DENIED, PERMITTED};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap_or_else(|e| panic!("{e}"))).collect()
}

fn host(own: &[&str], relay: &[&str]) -> HostAddresses {
    let ips = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect();
    HostAddresses { own: ips(own), relay: ips(relay), relay_ports: 49152..=65535 }
}

fn rules(allow: &[&str], deny: &[&str]) -> PeerRules {
    PeerRules::new(cidrs(allow), cidrs(deny), host(&[], &[]))
}

/// Every way that this IPv4 address can be written as an IPv6 address.
fn encodings(v4: Ipv4Addr) -> Vec<(&'static str, IpAddr)> {
    let [a, b, c, d] = v4.octets();
    let with = |prefix: &str, places: [usize; 4], v4: [u8; 4]| -> IpAddr {
        let mut octets = prefix.parse::<Ipv6Addr>().unwrap().octets();
        places.into_iter().zip(v4).for_each(|(place, octet)| octets[place] = octet);
        octets.into()
    };
    let v4 = [a, b, c, d];
    let last = [12, 13, 14, 15];
    vec![
        ("plain", v4.into()),
        ("mapped", with("::ffff:0:0", last, v4)),
        ("compatible", with("::", last, v4)),
        ("NAT64", with("64:ff9b::", last, v4)),
        ("local NAT64, 96 bits", with("64:ff9b:1::", last, v4)),
        ("local NAT64, 48 bits", with("64:ff9b:1::", [6, 7, 9, 10], v4)),
        ("local NAT64, 56 bits", with("64:ff9b:1::", [7, 9, 10, 11], v4)),
        ("local NAT64, 64 bits", with("64:ff9b:1::", [9, 10, 11, 12], v4)),
        ("6to4", with("2002::1", [2, 3, 4, 5], v4)),
        ("Teredo server", with("2001:0:0:0:0:0:f7f7:f7f7", [4, 5, 6, 7], v4)),
        ("Teredo client", with("2001:0:808:808::", last, v4.map(|o| !o))),
    ]
}

/// Opens everything but IPv4, so that only the embedded address can refuse.
const ALL_ENCODINGS: &[&str] =
    &["::/96", "::/8", "64:ff9b:1::/48", "2001::/23", "2001::/32", "2002::/16", "::/0"];

#[test]
fn no_encoding_of_a_special_ipv4_address_is_a_way_around_the_rules() {
    let opened = rules(ALL_ENCODINGS, &[]);
    for special in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.1.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
    ] {
        for (encoding, peer) in encodings(special.parse().unwrap()) {
            assert!(!PeerRules::default().permits(peer), "{special} as {encoding}: {peer}");
            // A local NAT64 address cannot be told from one of another prefix length that reads 0.x.y.z.
            if !(special.starts_with("0.") && encoding.starts_with("local")) {
                assert!(!opened.permits(peer), "{special} as {encoding}: {peer}, with its prefix allowed");
            }
        }
    }
    for (encoding, peer) in encodings("8.8.8.8".parse().unwrap()) {
        assert!(opened.permits(peer), "8.8.8.8 as {encoding}: {peer}, with its prefix allowed");
    }
}

#[test]
fn a_denied_ipv4_address_is_denied_in_every_encoding() {
    let allow: Vec<_> = ALL_ENCODINGS.iter().copied().chain(["9.9.9.9"]).collect();
    for (encoding, peer) in encodings("9.9.9.9".parse().unwrap()) {
        assert!(!rules(&allow, &["9.9.9.0/24"]).permits(peer), "{encoding}: {peer}");
        assert!(rules(&allow, &[]).permits(peer), "{encoding}: {peer}");
    }
}

#[test]
fn public_peers_are_permitted_by_default() {
    for peer in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.31.196.1",
        "223.255.255.255",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
        "3ffe::1",
    ] {
        assert!(PeerRules::default().permits(ip(peer)), "{peer}");
    }
}

#[test]
fn special_ipv6_peers_are_refused_by_default() {
    for peer in [
        "::",
        "::1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "100:0:0:1::1",
        "2001::1",
        "2001:2::1",
        "2001:db8::1",
        "2002:808:808::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        assert!(!PeerRules::default().permits(ip(peer)), "{peer}");
    }
}

#[test]
fn ipv6_outside_of_global_unicast_is_refused_without_a_gap() {
    // 2000::/3 is all that IANA hands out; NAT64 is the one exception.
    for top in 0..=u16::MAX {
        let peer = Ipv6Addr::new(top, 0x1234, 2, 3, 4, 5, 6, 7);
        let inside = (0x2000..0x4000).contains(&top);
        let embedding = top == 0x2002;
        if !inside {
            assert!(!PeerRules::default().permits(peer.into()), "{peer}");
        } else if !embedding && top != 0x3fff && top != 0x2001 {
            assert!(PeerRules::default().permits(peer.into()), "{peer}");
        }
    }
}

#[test]
fn every_line_of_the_default_denial_parses_and_is_refused() {
    for text in DENIED {
        let cidr: Cidr = text.parse().unwrap();
        assert_eq!(cidr.to_string(), *text);
        let first = ip(text.split('/').next().unwrap());
        assert!(!PeerRules::default().permits(first), "{text}");
    }
    assert!(PERMITTED.iter().all(|text| text.parse::<Cidr>().is_ok()));
}

/// What IANA's two registries of special-purpose addresses (of 2025) list as not globally reachable, withdrawn, or
/// reserved by the protocol; mapped, NAT64 and 6to4 addresses are judged by the IPv4 address inside.
#[test]
fn every_line_of_ianas_special_purpose_registries_that_is_not_global_is_refused() {
    for line in [
        "0.0.0.0/8",
        "0.0.0.0/32",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.0.0/29",
        "192.0.0.8/32",
        "192.0.0.170/32",
        "192.0.0.171/32",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.88.99.2/32",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "::1/128",
        "::/128",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001::/32",
        "2001:2::/48",
        "2001:db8::/32",
        "2001:10::/28",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
    ] {
        let (first, len) = line.split_once('/').unwrap();
        let len: u32 = len.parse().unwrap();
        let last = match ip(first) {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() | u32::MAX.unbounded_shr(len)).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() | u128::MAX.unbounded_shr(len)).into()),
        };
        for peer in [ip(first), last] {
            assert!(!PeerRules::default().permits(peer), "{peer} of {line}");
        }
    }
    for global in ["192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1", "64:ff9b::8.8.8.8"] {
        assert!(PeerRules::default().permits(ip(global)), "{global}");
    }
}

#[test]
fn an_allow_rule_opens_the_network_it_names() {
    for (allow, opened) in [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.2.3", "::ffff:10.1.2.3"),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("fc00::/7", "fd12::1"),
        ("169.254.169.254", "169.254.169.254"),
        ("203.0.113.0/24", "203.0.113.9"),
    ] {
        assert!(!rules(&[], &[]).permits(ip(opened)), "{opened}");
        assert!(rules(&[allow], &[]).permits(ip(opened)), "{opened} with {allow}");
    }
}

#[test]
fn an_allow_rule_wider_than_a_special_prefix_does_not_open_it() {
    let everything = rules(&["0.0.0.0/0", "::/0", "10.0.0.0/7", "169.254.0.0/16", "fd00::/8"], &[]);
    for peer in ["10.0.0.1", "127.0.0.1", "192.168.0.1", "169.254.169.254", "::1", "fe80::1", "fd00:ec2::254"]
    {
        assert!(!everything.permits(ip(peer)), "{peer}");
    }
    for peer in ["8.8.8.8", "11.0.0.1", "169.254.1.1", "fd01::1", "2a00::1"] {
        assert!(everything.permits(ip(peer)), "{peer}");
    }
}

#[test]
fn a_deny_rule_always_wins() {
    let rules = PeerRules::new(
        cidrs(&["10.1.2.3", "8.8.8.8", "192.0.2.1"]),
        cidrs(&["10.0.0.0/8", "8.0.0.0/8", "192.0.2.1"]),
        host(&["192.0.2.1"], &["192.0.2.1"]),
    );
    for peer in ["10.1.2.3", "8.8.8.8", "192.0.2.1", "::ffff:10.1.2.3", "64:ff9b::8.8.8.8"] {
        assert!(!rules.permits(ip(peer)), "{peer}");
    }
    assert!(rules.permits(ip("9.9.9.9")));
}

#[test]
fn own_addresses_are_refused_unless_named_alone() {
    let own = &["198.20.0.1", "10.0.0.2", "2a00::5"];
    let with = |allow: &[&str]| PeerRules::new(cidrs(allow), vec![], host(own, &[]));
    for peer in own.iter().chain(&["::ffff:198.20.0.1", "64:ff9b::198.20.0.1"]) {
        assert!(!with(&[]).permits(ip(peer)), "{peer}");
        assert!(!with(&["10.0.0.0/8", "0.0.0.0/0", "::/0", "198.20.0.0/31"]).permits(ip(peer)), "{peer}");
        assert!(with(own).permits(ip(peer)), "{peer}");
    }
    assert!(with(&["10.0.0.0/8"]).permits(ip("10.0.0.3")));
}

#[test]
fn clients_of_one_server_reach_each_other_at_its_relayed_addresses() {
    let rules =
        PeerRules::new(vec![], vec![], host(&["10.0.0.2", "203.0.113.2"], &["10.0.0.2", "203.0.113.2"]));
    for peer in ["10.0.0.2", "203.0.113.2", "::ffff:10.0.0.2"] {
        assert!(rules.permits(ip(peer)), "{peer}");
    }
    assert!(!rules.permits(ip("10.0.0.3")));
}

#[test]
fn services_of_this_host_are_out_of_reach_at_its_relayed_addresses() {
    let with = |allow: &[&str]| PeerRules::new(cidrs(allow), vec![], host(&["10.0.0.2"], &["10.0.0.2"]));
    let port = |rules: &PeerRules, peer: &str| rules.permits_port(peer.parse::<SocketAddr>().unwrap());
    for ip in ["10.0.0.2", "[::ffff:10.0.0.2]", "[64:ff9b::10.0.0.2]"] {
        assert!(port(&with(&[]), &format!("{ip}:49152")) && port(&with(&[]), &format!("{ip}:65535")));
        for service in [0, 53, 123, 3478, 9641, 49151] {
            let peer = format!("{ip}:{service}");
            assert!(!port(&with(&[]), &peer), "{peer}");
            assert!(!port(&with(&["10.0.0.0/8"]), &peer), "{peer}: the network is allowed, not this host");
            assert!(port(&with(&["10.0.0.2"]), &peer), "{peer}: this host is named");
        }
    }
    assert!(port(&with(&[]), "8.8.8.8:53"), "the rule is about this host only");
}

proptest! {
    #[test]
    fn an_address_is_permitted_only_if_the_ipv4_address_inside_is(v4: u32, deny_all: bool) {
        let v4 = Ipv4Addr::from(v4);
        let rules = rules(ALL_ENCODINGS, if deny_all { &["0.0.0.0/0"] } else { &[] });
        if !rules.permits(v4.into()) && v4.octets()[0] != 0 {
            for (encoding, peer) in encodings(v4) {
                prop_assert!(!rules.permits(peer), "{} as {}: {}", v4, encoding, peer);
            }
        }
    }

    #[test]
    fn a_mapped_address_is_judged_as_its_ipv4_address(v4: u32) {
        let v4 = Ipv4Addr::from(v4);
        let mapped = v4.to_ipv6_mapped();
        prop_assert_eq!(PeerRules::default().permits(v4.into()), PeerRules::default().permits(mapped.into()));
    }
}
