//! What is no peer unless the operator says so, as a table.
//!
//! From IANA's registries "IPv4 Special-Purpose Addresses", "IPv6 Special-Purpose Addresses" and "IPv6 Address Space":
//! every line that is not globally reachable, or where IANA says N/A because it is not meant to be talked to; lines within
//! a wider line of the table are left out. Within 192.0.0.0/24 and 2001::/23 a few addresses are reachable
//! (PCP and TURN anycast, AMT, ORCHIDv2); none is a peer, so they are refused with the rest.

use super::cidr::Cidr;

/// Prefixes refused by default.
pub(super) const DENIED: &[Cidr] = &[
    // IPv4
    Cidr::v4([0, 0, 0, 0], 8),     // "this network", unspecified: RFC 791 section 3.2
    Cidr::v4([10, 0, 0, 0], 8),    // private: RFC 1918
    Cidr::v4([100, 64, 0, 0], 10), // shared address space (CGNAT): RFC 6598
    Cidr::v4([127, 0, 0, 0], 8),   // loopback: RFC 1122 section 3.2.1.3
    Cidr::v4([169, 254, 0, 0], 16), // link-local: RFC 3927
    Cidr::v4([172, 16, 0, 0], 12), // private: RFC 1918
    Cidr::v4([192, 0, 0, 0], 24),  // IETF protocol assignments: RFC 6890 section 2.1
    Cidr::v4([192, 0, 2, 0], 24),  // documentation, TEST-NET-1: RFC 5737
    Cidr::v4([192, 88, 99, 0], 24), // 6to4 relay anycast, withdrawn: RFC 7526
    Cidr::v4([192, 168, 0, 0], 16), // private: RFC 1918
    Cidr::v4([198, 18, 0, 0], 15), // benchmarking: RFC 2544
    Cidr::v4([198, 51, 100, 0], 24), // documentation, TEST-NET-2: RFC 5737
    Cidr::v4([203, 0, 113, 0], 24), // documentation, TEST-NET-3: RFC 5737
    Cidr::v4([224, 0, 0, 0], 4),   // multicast: RFC 5771
    Cidr::v4([240, 0, 0, 0], 4),   // reserved: RFC 1112 section 4
    Cidr::v4([255, 255, 255, 255], 32), // limited broadcast: RFC 8190, RFC 919
    // IPv6
    Cidr::v6([0, 0, 0, 0, 0, 0, 0, 0], 8), // reserved, with unspecified, loopback and compatible: RFC 4291 section 2.5
    Cidr::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), // unspecified: RFC 4291 section 2.5.2
    Cidr::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), // loopback: RFC 4291 section 2.5.3
    Cidr::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), // local-use NAT64: RFC 8215
    Cidr::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 8), // reserved, with discard-only and the dummy prefix: RFC 6666, RFC 9780
    Cidr::v6([0x200, 0, 0, 0, 0, 0, 0, 0], 7), // reserved: RFC 4048
    Cidr::v6([0x400, 0, 0, 0, 0, 0, 0, 0], 6), // reserved: RFC 4291
    Cidr::v6([0x800, 0, 0, 0, 0, 0, 0, 0], 5), // reserved: RFC 4291
    Cidr::v6([0x1000, 0, 0, 0, 0, 0, 0, 0], 4), // reserved: RFC 4291
    Cidr::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // IETF protocol assignments, with Teredo and benchmarking: RFC 2928
    Cidr::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation: RFC 3849
    Cidr::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation: RFC 9637
    Cidr::v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 3),  // reserved, with SRv6 SIDs (5f00::/16): RFC 4291, RFC 9602
    Cidr::v6([0x6000, 0, 0, 0, 0, 0, 0, 0], 3),  // reserved: RFC 4291
    Cidr::v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 3),  // reserved: RFC 4291
    Cidr::v6([0xa000, 0, 0, 0, 0, 0, 0, 0], 3),  // reserved: RFC 4291
    Cidr::v6([0xc000, 0, 0, 0, 0, 0, 0, 0], 3),  // reserved: RFC 4291
    Cidr::v6([0xe000, 0, 0, 0, 0, 0, 0, 0], 4),  // reserved: RFC 4291
    Cidr::v6([0xf000, 0, 0, 0, 0, 0, 0, 0], 5),  // reserved: RFC 4291
    Cidr::v6([0xf800, 0, 0, 0, 0, 0, 0, 0], 6),  // reserved: RFC 4291
    Cidr::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),  // unique local: RFC 4193
    Cidr::v6([0xfe00, 0, 0, 0, 0, 0, 0, 0], 9),  // reserved: RFC 4291
    Cidr::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), // link-local: RFC 4291 section 2.5.6
    Cidr::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), // site-local, withdrawn: RFC 3879
    Cidr::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),  // multicast: RFC 4291 section 2.7
    // Cloud metadata and credential services, one by one: allowing the prefix around them does not open them.
    Cidr::v4([100, 100, 100, 200], 32),                   // Alibaba Cloud
    Cidr::v4([168, 63, 129, 16], 32),                     // Azure's host agent; a public address
    Cidr::v4([169, 254, 169, 254], 32),                   // AWS, Azure, Google and most others
    Cidr::v4([169, 254, 170, 2], 32),                     // AWS task credentials
    Cidr::v4([169, 254, 170, 23], 32),                    // AWS pod credentials
    Cidr::v4([192, 0, 0, 192], 32),                       // Oracle Cloud, first generation
    Cidr::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),  // AWS pod credentials
    Cidr::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), // AWS
    Cidr::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),  // Google Cloud
];

/// What is reachable within a denied prefix.
pub(super) const PERMITTED: &[Cidr] = &[
    Cidr::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), // NAT64: RFC 6052; the IPv4 address inside is judged too
];
