//! All addresses but some.

use std::net::IpAddr;

use super::cidr::Cidr;

/// The prefixes that hold every address of both families but these. At most one for each bit of each address.
pub fn all_but(ips: &[IpAddr]) -> Vec<Cidr> {
    let mut prefixes = Vec::new();
    let mut left = Cidr::EVERYTHING.to_vec();
    while let Some(cidr) = left.pop() {
        if !ips.iter().any(|ip| cidr.contains(*ip)) {
            prefixes.push(cidr);
        } else if let Some(halves) = cidr.halves() {
            left.extend(halves);
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Checked at the addresses themselves, at all that differ from one in one bit, and at any other.
        #[test]
        fn every_other_address_is_in_exactly_one_prefix(
            ips in prop::collection::vec(any::<IpAddr>(), 0..4), other: IpAddr
        ) {
            let prefixes = all_but(&ips);
            let holding = |ip: IpAddr| prefixes.iter().filter(|cidr| cidr.contains(ip)).count();
            let near = ips.iter().flat_map(|ip| -> Vec<IpAddr> { match ip {
                IpAddr::V4(v4) => (0..32).map(|bit| IpAddr::V4((v4.to_bits() ^ 1 << bit).into())).collect(),
                IpAddr::V6(v6) => (0..128).map(|bit| IpAddr::V6((v6.to_bits() ^ 1 << bit).into())).collect(),
            }});
            for ip in near.chain(ips.iter().copied()).chain([other]) {
                prop_assert_eq!(holding(ip), usize::from(!ips.contains(&ip)), "{}", ip);
            }
            prop_assert!(prefixes.len() <= 2 + 128 * ips.len());
        }
    }
}
