//! Addresses on the wire, plain and obfuscated (RFC 8489 sections 14.1 and 14.2).

use std::net::{IpAddr, SocketAddr};

use super::message::{MAGIC_COOKIE, TransactionId};
use super::values::AddressFamily;

/// What an address is XORed with; the port with its first two bytes.
pub(super) type Mask = [u8; 16];

/// The mask of the plain address attributes.
pub(super) const NO_MASK: Mask = [0; 16];

/// The mask of the XOR- attributes: magic cookie and transaction id. IPv4 uses its beginning.
pub(super) fn mask(id: TransactionId) -> Mask {
    let mut mask = NO_MASK;
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&id.0);
    mask
}

/// Reads an address; `None` when the family is unknown or the length not that of the family.
pub(super) fn decode(value: &[u8], mask: Mask) -> Option<SocketAddr> {
    let (&[_, family, port @ ..], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(port) ^ port_mask(mask);
    let v4: Option<[u8; 4]> = ip.try_into().ok();
    let v6: Option<[u8; 16]> = ip.try_into().ok();
    let ip: IpAddr = if family == AddressFamily::V4.number() {
        xored(v4?, mask).into()
    } else if family == AddressFamily::V6.number() {
        xored(v6?, mask).into()
    } else {
        return None;
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends an attribute's value for this address.
pub(super) fn encode(out: &mut Vec<u8>, address: SocketAddr, mask: Mask) {
    let family = if address.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 };
    out.extend([0, family.number()]);
    out.extend((address.port() ^ port_mask(mask)).to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => out.extend(xored(ip.octets(), mask)),
        IpAddr::V6(ip) => out.extend(xored(ip.octets(), mask)),
    }
}

fn port_mask(mask: Mask) -> u16 {
    u16::from_be_bytes([mask[0], mask[1]])
}

fn xored<const N: usize>(mut octets: [u8; N], mask: Mask) -> [u8; N] {
    octets.iter_mut().zip(mask).for_each(|(octet, m)| *octet ^= m);
    octets
}
