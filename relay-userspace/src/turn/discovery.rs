//! NAT behaviour discovery (RFC 5780): a client learns how NATs on its way behave by where answers come from and go to.
//!
//! All of it is asked by strangers, so an answer is never longer than the request by more than the addresses in it,
//! and goes to no other host than the request came from.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::core::Core;
use super::request::{Caller, Refusal, unknown};
use super::types::{ClientAddr, FiveTuple, Transport};
use crate::stun::{AttributeType, Builder, ChangeRequest, ErrorCode, Method};

/// The attributes of Binding requests that are understood where discovery is served (RFC 5780 section 7).
const UNDERSTOOD: [AttributeType; 3] =
    [AttributeType::CHANGE_REQUEST, AttributeType::RESPONSE_PORT, AttributeType::PADDING];

/// Longest PADDING of an answer, in bytes: with the rest of the answer it fills an Ethernet frame and a fragment, which
/// is what PADDING is for (RFC 5780 section 7.6). A longer one only helps to flood somebody.
const LONGEST_PADDING: usize = 1500;

/// Answers are sent to no port below: services of the host or its NAT live there. Server support for RESPONSE-PORT is
/// optional at all (RFC 5780 section 7.5).
const LOWEST_RESPONSE_PORT: u16 = 1024;

/// The listeners of discovery: at two addresses the same two ports, for each address family (RFC 5780 section 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discovery {
    squares: Vec<Square>,
}

/// Two addresses of one family and two ports; there is a listener at each of the four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Square {
    ips: [IpAddr; 2],
    ports: [u16; 2],
}

/// Listeners that are not at two addresses and the same two ports.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoSquare {
    /// Too few.
    #[error("these listeners are missing: {}", list(.0))]
    Missing(Vec<String>),
    /// Of one family there are more than two addresses or ports, and nothing says which two are meant.
    #[error("listen on two addresses and two ports of {family}, not on addresses {} and ports {}", list(.ips), list(.ports))]
    TooMany {
        /// The family's name.
        family: &'static str,
        /// Its addresses.
        ips: Vec<IpAddr>,
        /// Their ports.
        ports: Vec<u16>,
    },
}

impl Discovery {
    /// The squares that these listeners form: all listeners of a family are in one. An error says what is wrong.
    pub fn new(listeners: &[SocketAddr]) -> Result<Self, NoSquare> {
        let mut squares = Vec::new();
        let mut missing = Vec::new();
        for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
            let of_family = || listeners.iter().filter(|l| l.is_ipv6() == is_v6);
            let ips: Vec<_> = of_family().map(SocketAddr::ip).collect::<BTreeSet<_>>().into_iter().collect();
            let ports: Vec<_> =
                of_family().map(SocketAddr::port).collect::<BTreeSet<_>>().into_iter().collect();
            match (&ips[..], &ports[..]) {
                ([], _) => {}
                (&[a, b], &[p, q]) if of_family().count() == 4 => {
                    squares.push(Square { ips: [a, b], ports: [p, q] });
                }
                ([_] | [_, _], [_] | [_, _]) => missing.extend(missing_corners(&ips, &ports, listeners)),
                _ => return Err(NoSquare::TooMany { family, ips, ports }),
            }
        }
        if missing.is_empty() { Ok(Self { squares }) } else { Err(NoSquare::Missing(missing)) }
    }

    fn square(&self, listener: SocketAddr) -> Option<Square> {
        let contains = |s: &&Square| s.ips.contains(&listener.ip()) && s.ports.contains(&listener.port());
        self.squares.iter().find(contains).copied()
    }
}

impl Square {
    /// The listener that answers what came to this one (RFC 5780 section 6.1, table 1).
    fn origin(&self, listener: SocketAddr, change: ChangeRequest) -> SocketAddr {
        let ip = other(self.ips, listener.ip(), change.ip);
        SocketAddr::new(ip, other(self.ports, listener.port(), change.port))
    }
}

/// One of the two: the other when it is to be changed.
fn other<T: PartialEq + Copy>([a, b]: [T; 2], now: T, change: bool) -> T {
    if (now == a) == change { b } else { a }
}

/// The corners of the square without a listener, with a word for what nobody has named yet.
fn missing_corners(ips: &[IpAddr], ports: &[u16], listeners: &[SocketAddr]) -> Vec<String> {
    let mut missing = Vec::new();
    for (ip, port) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (ip, port) = (ips.get(ip), ports.get(port));
        if let (Some(&ip), Some(&port)) = (ip, port)
            && listeners.contains(&SocketAddr::new(ip, port))
        {
            continue;
        }
        let port = port.map_or("ANOTHER_PORT".into(), u16::to_string);
        let ip = ip.map_or("ANOTHER_ADDRESS".into(), IpAddr::to_string);
        missing.push(match ips[0] {
            IpAddr::V4(_) => format!("udp://{ip}:{port}"),
            IpAddr::V6(_) => format!("udp://[{ip}]:{port}"),
        });
    }
    missing
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a Binding request is answered where discovery is served.
pub(super) struct Discovered {
    /// From where to where the answer goes.
    pub(super) five_tuple: FiveTuple,
    mapped: SocketAddr,
    origin: SocketAddr,
    other: SocketAddr,
    padding: Option<usize>,
}

impl Discovered {
    /// Writes the attributes of the answer. RFC 5780 section 6.1: both forms of the mapped address, as a NAT that
    /// rewrites addresses in payloads is found by their difference.
    pub(super) fn fill(&self, answer: &mut Builder<'_>) {
        answer.xor_mapped_address(self.mapped).mapped_address(self.mapped);
        answer.response_origin(self.origin).other_address(self.other);
        if let Some(length) = self.padding {
            answer.padding(length);
        }
    }
}

impl Core {
    /// How a Binding request is to be answered (RFC 5780 section 6.1); `None` where discovery is not served.
    pub(super) fn discovery(&self, caller: &Caller<'_>) -> Result<Option<Discovered>, Refusal> {
        let FiveTuple { client: ClientAddr(client), listener, transport } = caller.five_tuple;
        let Some(square) = self.square(&caller.five_tuple) else { return Ok(None) };
        let change = caller.message.change_request()?.unwrap_or_default();
        let response_port = caller.message.response_port()?;
        let padding = caller.message.padding();
        // RFC 5780 section 6.1: long answers to a port of the asker's choice are refused.
        if response_port.is_some() && padding.is_some()
            || response_port.is_some_and(|port| port < LOWEST_RESPONSE_PORT)
        {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let from = square.origin(listener, change);
        let to = SocketAddr::new(client.ip(), response_port.unwrap_or(client.port()));
        Ok(Some(Discovered {
            five_tuple: FiveTuple { client: ClientAddr(to), listener: from, transport },
            mapped: client,
            // Behind a 1:1 NAT the client knows our public addresses only.
            origin: self.public(from),
            other: self.public(square.origin(listener, ChangeRequest { ip: true, port: true })),
            // RFC 5780 section 6.1 has the MTU for any request; a short one would be an amplifier.
            padding: padding.map(|length| length.min(LONGEST_PADDING)),
        }))
    }

    /// The attributes of a request that must be understood and are not.
    pub(super) fn not_understood<'a>(
        &self,
        caller: &Caller<'a>,
    ) -> impl Iterator<Item = AttributeType> + use<'a> {
        // RFC 5780 section 7: the attributes are used with Binding only; section 6: without a second address they are
        // unknown.
        let discovers =
            caller.message.method() == Method::BINDING && self.square(&caller.five_tuple).is_some();
        unknown(&caller.message).filter(move |kind| !(discovers && UNDERSTOOD.contains(kind)))
    }

    /// Of UDP alone: an answer by a connection leaves by the same one, whatever the request wishes.
    fn square(&self, five_tuple: &FiveTuple) -> Option<Square> {
        let discovery = self.config.discovery.as_ref().filter(|_| five_tuple.transport == Transport::Udp)?;
        discovery.square(five_tuple.listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(listeners: &[&str]) -> Result<Discovery, String> {
        let listeners: Vec<_> = listeners.iter().map(|l| l.parse().unwrap()).collect();
        Discovery::new(&listeners).map_err(|e| e.to_string())
    }

    #[test]
    fn four_listeners_of_a_family_are_a_square() {
        let four = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:2", "192.0.2.2:1"];
        let six = ["[2001:db8::1]:5", "[2001:db8::2]:5", "[2001:db8::1]:7", "[2001:db8::2]:7"];
        assert_eq!(discovery(&four).unwrap().squares.len(), 1);
        assert_eq!(discovery(&[four, six].concat()).unwrap().squares.len(), 2);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |listeners: &[&str]| {
            discovery(listeners)
                .unwrap_err()
                .strip_prefix("these listeners are missing: ")
                .unwrap()
                .to_owned()
        };
        assert_eq!(missing(&["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:2"]), "udp://192.0.2.2:1");
        assert_eq!(missing(&["192.0.2.1:1", "192.0.2.2:2"]), "udp://192.0.2.1:2, udp://192.0.2.2:1");
        assert_eq!(
            missing(&["192.0.2.1:1", "192.0.2.1:2"]),
            "udp://ANOTHER_ADDRESS:1, udp://ANOTHER_ADDRESS:2"
        );
        assert_eq!(
            missing(&["192.0.2.1:1"]),
            "udp://192.0.2.1:ANOTHER_PORT, udp://ANOTHER_ADDRESS:1, udp://ANOTHER_ADDRESS:ANOTHER_PORT"
        );
        let four = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:2", "192.0.2.2:1"];
        let six = ["[2001:db8::1]:1", "[2001:db8::1]:2"];
        assert_eq!(
            missing(&[&four[..], &six].concat()),
            "udp://[ANOTHER_ADDRESS]:1, udp://[ANOTHER_ADDRESS]:2"
        );
    }

    #[test]
    fn more_than_two_of_anything_are_refused() {
        assert_eq!(
            discovery(&["192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"]).unwrap_err(),
            "listen on two addresses and two ports of IPv4, not on addresses 192.0.2.1 and ports 1, 2, 3"
        );
    }
}
