//! Address prefixes of either family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address prefix such as `10.0.0.0/8` or `fc00::/7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    len: u8,
}

/// Why a text is not a prefix. A rule that does not parse must stop the start: ignored, it would leave a hole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidCidr {
    /// Before the slash.
    #[error("{0:?} is not an IP address or prefix: write it like 10.0.0.0/8, fc00::/7 or 192.0.2.1")]
    Address(String),
    /// Behind it.
    #[error("{text:?}: the prefix length must be a number from 0 to {max}")]
    Length {
        /// As written.
        text: String,
        /// The address's bits.
        max: u8,
    },
    /// `10.1.2.3/8` may mean the network or the host: ask.
    #[error(
        "{text:?} has bits set beyond its prefix length: write {network} for the network or {host} for the host"
    )]
    HostBits {
        /// As written.
        text: String,
        /// One thing it may mean.
        network: Cidr,
        /// The other.
        host: Cidr,
    },
}

impl Cidr {
    /// The prefixes of no bits, one of each family.
    pub(super) const EVERYTHING: [Self; 2] = [
        Self { network: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 },
        Self { network: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 },
    ];

    /// The two prefixes of one more bit that it is made of; none if it is an address alone.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let len = (self.len < bits_of(self.network)).then_some(self.len + 1)?;
        let upper = match self.network {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() | 1 << (32 - len)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() | 1 << (128 - len)).into()),
        };
        Some([Self { len, ..self }, Self { network: upper, len }])
    }

    /// The prefix that holds this one address.
    pub const fn host(ip: IpAddr) -> Self {
        Self { network: ip, len: bits_of(ip) }
    }

    /// Whether the address lies within. Addresses of the other family never do.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.network.is_ipv4() == ip.is_ipv4() && prefix_of(ip, self.len) == prefix_of(self.network, self.len)
    }

    /// Bits that all addresses within have in common.
    pub fn prefix_len(&self) -> u8 {
        self.len
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    /// An address, or an address and a prefix length. IPv4-mapped IPv6 prefixes mean their IPv4 prefix, as the
    /// addresses do.
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| InvalidCidr::Address(text.into()))?;
        let max = bits_of(ip);
        let len = match len {
            None => max,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|&len| len <= max && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| InvalidCidr::Length { text: text.into(), max })?,
        };
        let network = Cidr { network: first_of(ip, len), len };
        if network.network != ip {
            return Err(InvalidCidr::HostBits { text: text.into(), network, host: Cidr::host(ip) });
        }
        Ok(match ip.to_canonical() {
            v4 if v4 != ip && len >= 96 => Cidr { network: v4, len: len - 96 },
            _ => network,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.len)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn bits_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The address's first `len` bits, the first of them topmost, so that one comparison serves both families.
fn prefix_of(ip: IpAddr, len: u8) -> u128 {
    let bits = match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    bits & !u128::MAX.unbounded_shr(len.into())
}

/// The first address with the same first `len` bits.
fn first_of(ip: IpAddr, len: u8) -> IpAddr {
    let bits = prefix_of(ip, len);
    match ip {
        IpAddr::V4(_) => Ipv4Addr::from_bits((bits >> 96) as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_of_both_families_are_read() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "fc00::/7", "::/0", "::1/128", "64:ff9b::/96"]
        {
            assert_eq!(cidr(text).to_string(), text);
        }
        assert_eq!(cidr("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(cidr("2001:db8::1").to_string(), "2001:db8::1/128");
        assert_eq!(cidr("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn a_bad_prefix_is_refused_with_what_to_write_instead() {
        let error = |text: &str| text.parse::<Cidr>().unwrap_err().to_string();
        assert!(error("10.1.2.3/8").contains("write 10.0.0.0/8 for the network or 10.1.2.3/32 for the host"));
        assert!(error("fc00::1/7").contains("write fc00::/7"));
        assert!(error("10.0.0.0/33").contains("0 to 32"));
        assert!(error("fc00::/129").contains("0 to 128"));
        for text in ["10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0"] {
            assert!(error(text).contains("prefix length"), "{text}");
        }
        for text in
            ["", "/8", "10", "10.0.0", "10.0.0.0-10.0.0.9", "example.org", "010.0.0.0/8", " 10.0.0.0/8"]
        {
            assert!(error(text).contains("write it like"), "{text}");
        }
    }

    /// Whether the first `len` bits are equal, one bit after the other.
    fn bitwise(a: IpAddr, b: IpAddr, len: u8) -> bool {
        let bits = |ip: IpAddr| -> Vec<bool> {
            let octets = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            octets.iter().flat_map(|o| (0..8).rev().map(move |i| o >> i & 1 == 1)).collect()
        };
        a.is_ipv4() == b.is_ipv4() && bits(a).iter().zip(bits(b)).take(len.into()).all(|(a, b)| *a == b)
    }

    proptest! {
        #[test]
        fn ipv4_prefix_comparison_is_bitwise_comparison(a: u32, flip in 0..33_u32, noise: u32, len in 0..=32_u8) {
            // `b` differs from `a` at one bit and at random after it, so that prefixes are met and just missed.
            let b = a ^ 0x8000_0000_u32.unbounded_shr(flip) ^ noise.unbounded_shr(flip + 1);
            let (a, b) = (IpAddr::V4(a.into()), IpAddr::V4(b.into()));
            let cidr = Cidr { network: first_of(a, len), len };
            prop_assert_eq!(cidr.contains(b), bitwise(a, b, len));
            prop_assert!(cidr.contains(a));
        }

        #[test]
        fn ipv6_prefix_comparison_is_bitwise_comparison(a: u128, flip in 0..129_u32, noise: u128, len in 0..=128_u8) {
            let b = a ^ (1_u128 << 127).unbounded_shr(flip) ^ noise.unbounded_shr(flip + 1);
            let (a, b) = (IpAddr::V6(a.into()), IpAddr::V6(b.into()));
            let cidr = Cidr { network: first_of(a, len), len };
            prop_assert_eq!(cidr.contains(b), bitwise(a, b, len));
            prop_assert!(cidr.contains(a));
        }

        #[test]
        fn a_prefix_never_contains_the_other_family(v4: u32, v6: u128) {
            prop_assert!(!cidr("::/0").contains(IpAddr::V4(v4.into())));
            prop_assert!(!cidr("0.0.0.0/0").contains(IpAddr::V6(v6.into())));
        }
    }
}
