//! What is no peer unless the operator says so, as a table.
//!
//! From IANA's registries "IPv4 Special-Purpose Address", "IPv6 Special-Purpose Address" and "IPv6 Address Space": what
//! is not globally reachable, and what is withdrawn or reserved. Lines that lie within another line are here where an
//! allow rule for the wider one should not open them. Within 192.0.0.0/24 and 2001::/23 IANA has a few reachable
//! lines (anycast addresses of PCP and TURN, AMT, ORCHIDv2); none is a peer, so they are refused with the rest.

/// Prefixes refused by default.
pub(super) const DENIED: &[&str] = &[
    // IPv4
    "0.0.0.0/8",          // "this network", unspecified: RFC 791 section 3.2
    "10.0.0.0/8",         // private: RFC 1918
    "100.64.0.0/10",      // shared address space (CGNAT): RFC 6598
    "127.0.0.0/8",        // loopback: RFC 1122 section 3.2.1.3
    "169.254.0.0/16",     // link-local: RFC 3927
    "172.16.0.0/12",      // private: RFC 1918
    "192.0.0.0/24",       // IETF protocol assignments: RFC 6890 section 2.1
    "192.0.2.0/24",       // documentation, TEST-NET-1: RFC 5737
    "192.88.99.0/24",     // 6to4 relay anycast, withdrawn: RFC 7526
    "192.168.0.0/16",     // private: RFC 1918
    "198.18.0.0/15",      // benchmarking: RFC 2544
    "198.51.100.0/24",    // documentation, TEST-NET-2: RFC 5737
    "203.0.113.0/24",     // documentation, TEST-NET-3: RFC 5737
    "224.0.0.0/4",        // multicast: RFC 5771
    "240.0.0.0/4",        // reserved: RFC 1112 section 4
    "255.255.255.255/32", // limited broadcast: RFC 919, RFC 8190
    // IPv6
    "::/8",           // reserved, with IPv4-compatible: RFC 4291 section 2.5.5.1
    "::/128",         // unspecified: RFC 4291 section 2.5.2
    "::1/128",        // loopback: RFC 4291 section 2.5.3
    "64:ff9b:1::/48", // local-use NAT64: RFC 8215
    "100::/8",        // reserved: RFC 4291
    "100::/64",       // discard-only: RFC 6666
    "100:0:0:1::/64", // dummy prefix: RFC 9780
    "200::/7",        // reserved: RFC 4048
    "400::/6",        // reserved: RFC 4291
    "800::/5",        // reserved: RFC 4291
    "1000::/4",       // reserved: RFC 4291
    "2001::/23",      // IETF protocol assignments: RFC 2928
    "2001::/32",      // Teredo: RFC 4380
    "2001:2::/48",    // benchmarking: RFC 5180
    "2001:10::/28",   // ORCHID, withdrawn: RFC 4843
    "2001:db8::/32",  // documentation: RFC 3849
    "2002::/16",      // 6to4, a tunnel: RFC 8656 section 21.4
    "3fff::/20",      // documentation: RFC 9637
    "4000::/3",       // reserved: RFC 4291
    "5f00::/16",      // segment identifiers of SRv6: RFC 9602
    "6000::/3",       // reserved: RFC 4291
    "8000::/3",       // reserved: RFC 4291
    "a000::/3",       // reserved: RFC 4291
    "c000::/3",       // reserved: RFC 4291
    "e000::/4",       // reserved: RFC 4291
    "f000::/5",       // reserved: RFC 4291
    "f800::/6",       // reserved: RFC 4291
    "fc00::/7",       // unique local: RFC 4193
    "fe00::/9",       // reserved: RFC 4291
    "fe80::/10",      // link-local: RFC 4291 section 2.5.6
    "fec0::/10",      // site-local, withdrawn: RFC 3879
    "ff00::/8",       // multicast: RFC 4291 section 2.7
    // Cloud metadata and credential services, one by one: allowing the network around them does not open them.
    "100.100.100.200/32", // Alibaba Cloud
    "168.63.129.16/32",   // Azure's host agent; a public address
    "169.254.169.254/32", // AWS, Azure, Google and most others
    "169.254.170.2/32",   // AWS task credentials
    "169.254.170.23/32",  // AWS pod credentials
    "192.0.0.192/32",     // Oracle Cloud, first generation
    "fd00:ec2::23/128",   // AWS pod credentials
    "fd00:ec2::254/128",  // AWS
    "fd20:ce::254/128",   // Google Cloud
];

/// What is reachable within a denied prefix.
pub(super) const PERMITTED: &[&str] = &[
    "64:ff9b::/96", // NAT64: RFC 6052; the IPv4 address inside is judged too
];
