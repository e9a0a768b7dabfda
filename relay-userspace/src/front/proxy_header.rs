//! The PROXY protocol, versions 1 and 2: a header by which a proxy tells who its client is.
//!
//! A small parser of our own: it is needed on bytes that arrive one by one, with a bound on what is kept, and of all that
//! the protocol can tell only the client's address is wanted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Version 2's first bytes.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its end.
const LONGEST_V1: usize = 107;

/// Most bytes behind version 2's fixed part: addresses and extensions, which have some hundred in practice.
const MOST_V2: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Header {
    /// Not a whole header yet.
    More,
    /// No header.
    Bad,
    /// A header of this length.
    Whole {
        /// In bytes.
        len: usize,
        /// The client; `None` if the proxy speaks for itself (health checks) or does not know.
        client: Option<SocketAddr>,
    },
}

/// Reads the header at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Header {
    let so_far = bytes.len().min(SIGNATURE.len());
    if bytes.first() == Some(&SIGNATURE[0]) {
        match bytes[..so_far] == SIGNATURE[..so_far] {
            true => version_2(bytes),
            false => Header::Bad,
        }
    } else {
        version_1(bytes)
    }
}

fn version_1(bytes: &[u8]) -> Header {
    const BEGIN: &[u8] = b"PROXY ";
    let so_far = bytes.len().min(BEGIN.len());
    if bytes[..so_far] != BEGIN[..so_far] {
        return Header::Bad;
    }
    let window = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_V1 { Header::More } else { Header::Bad };
    };
    let len = end + 2;
    let Ok(line) = str::from_utf8(&bytes[BEGIN.len()..end]) else { return Header::Bad };
    // One space between each two, so there are no empty words.
    let words: Vec<_> = line.split(' ').collect();
    let address = |ip: IpAddr, port: &str| {
        let is_number = port.bytes().all(|b| b.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
        is_number.then(|| port.parse().ok()).flatten().map(|port| SocketAddr::new(ip, port))
    };
    let client = match words[..] {
        // Whatever comes behind it is to be ignored.
        ["UNKNOWN", ..] => return Header::Whole { len, client: None },
        ["TCP4", from, to, from_port, to_port] => {
            let both = from.parse::<Ipv4Addr>().ok().zip(to.parse::<Ipv4Addr>().ok());
            both.and_then(|(from, to)| address(from.into(), from_port).zip(address(to.into(), to_port)))
        }
        ["TCP6", from, to, from_port, to_port] => {
            let both = from.parse::<Ipv6Addr>().ok().zip(to.parse::<Ipv6Addr>().ok());
            both.and_then(|(from, to)| address(from.into(), from_port).zip(address(to.into(), to_port)))
        }
        _ => None,
    };
    match client {
        Some((client, _)) => Header::Whole { len, client: Some(canonical(client)) },
        None => Header::Bad,
    }
}

fn version_2(bytes: &[u8]) -> Header {
    const FIXED: usize = 16;
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    // Family in the upper half: 1 is IPv4, 2 is IPv6, 3 a UNIX socket; 1 in the lower half is a stream.
    const UNSPECIFIED: u8 = 0x00;
    const IPV4_STREAM: u8 = 0x11;
    const IPV6_STREAM: u8 = 0x21;
    const UNIX_STREAM: u8 = 0x31;

    match bytes.get(12) {
        None => return Header::More,
        Some(&(LOCAL | PROXY)) => {}
        Some(_) => return Header::Bad,
    }
    let Some(fixed) = bytes.get(..FIXED) else { return Header::More };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > MOST_V2 {
        return Header::Bad;
    }
    let len = FIXED + rest;
    let Some(addresses) = bytes.get(FIXED..len) else { return Header::More };
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let client = match (fixed[12], fixed[13]) {
        // The family is to be ignored.
        (LOCAL, _) | (_, UNSPECIFIED | UNIX_STREAM) => None,
        (_, IPV4_STREAM) => match addresses.first_chunk::<4>() {
            Some(ip) if rest >= 12 => Some(SocketAddr::new(IpAddr::from(*ip), port(8))),
            _ => return Header::Bad,
        },
        (_, IPV6_STREAM) => match addresses.first_chunk::<16>() {
            Some(ip) if rest >= 36 => Some(SocketAddr::new(IpAddr::from(*ip), port(32))),
            _ => return Header::Bad,
        },
        _ => return Header::Bad,
    };
    Header::Whole { len, client: client.map(canonical) }
}

/// A mapped address is one of IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
