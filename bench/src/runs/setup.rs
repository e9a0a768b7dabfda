//! What a lab is made for: families, kind of flow, how many, over how many interfaces.

use std::fmt;

use serde::Serialize;

use crate::figures::Direction;

/// Ethernet header.
const ETHERNET: u16 = 14;
/// UDP header.
const UDP: u16 = 8;
/// ChannelData header.
const CHANNEL_DATA: u16 = 4;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How data travels between clients and the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In ChannelData, to peers that are no clients.
    Channel,
    /// In Send and Data indications.
    Indication,
    /// In ChannelData, to another client of the same relay.
    RelayToRelay,
}

/// What carries TURN between clients and the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// A WebSocket over TCP.
    WebSocket,
}

/// All that must be known before the subjects are started and their flows made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct Setup {
    /// What carries TURN between clients and the relay.
    pub transport: Transport,
    /// The clients' family.
    pub client: Family,
    /// The peers' and relayed addresses' family.
    pub peer: Family,
    /// How data travels.
    pub kind: Kind,
    /// Flows.
    pub flows: u32,
    /// Interfaces of the relay: one for clients and peers, or one for each.
    pub nics: u8,
}

impl Setup {
    /// Channels over IPv4 and one interface: what differs is changed in it.
    pub fn channels(flows: u32) -> Self {
        Self {
            transport: Transport::Udp,
            client: Family::V4,
            peer: Family::V4,
            kind: Kind::Channel,
            flows,
            nics: 1,
        }
    }

    /// The same with a connection for each flow.
    pub fn streams(flows: u32, transport: Transport) -> Self {
        Self { transport, ..Self::channels(flows) }
    }

    /// The ways that data can take in it.
    pub fn directions(&self) -> &'static [Direction] {
        match self.kind {
            Kind::Channel | Kind::Indication => &[Direction::ToPeer, Direction::ToClient],
            Kind::RelayToRelay => &[Direction::RelayToRelay],
        }
    }

    /// Bytes before the application data of a frame as it is offered; with streams, of the frame that would be offered over UDP.
    pub fn headers(&self, direction: Direction) -> u16 {
        let family = if direction == Direction::ToClient { self.peer } else { self.client };
        let turn = match (direction, self.kind) {
            (Direction::ToClient, _) => 0,
            // STUN header, XOR-PEER-ADDRESS, and the header of DATA (RFC 8656 section 11.1).
            (_, Kind::Indication) => 20 + if self.peer == Family::V4 { 12 } else { 24 } + 4,
            (_, Kind::Channel | Kind::RelayToRelay) => CHANNEL_DATA,
        };
        ETHERNET + if family == Family::V4 { 20 } else { 40 } + UDP + turn
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel => "channels",
            Self::Indication => "indications",
            Self::RelayToRelay => "relay to relay",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::WebSocket => "WebSocket",
        })
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, client, peer, kind, .. } = self;
        write!(f, "{} flows, {kind}, ", grouped(self.flows.into()))?;
        if *transport != Transport::Udp {
            write!(f, "{transport} over ")?;
        }
        write!(f, "{client}")?;
        if client != peer {
            write!(f, " to {peer}")?;
        }
        f.write_str(if self.nics == 1 { ", one interface" } else { ", two interfaces" })
    }
}

/// The direction in words.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::ToPeer => "to the peer",
        Direction::ToClient => "to the client",
        Direction::RelayToRelay => "client to client",
    }
}

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_way_that_is_offered() {
        let v4 = Setup::channels(64);
        assert_eq!(v4.headers(Direction::ToPeer), 14 + 20 + 8 + 4);
        assert_eq!(v4.headers(Direction::ToClient), 14 + 20 + 8);
        let crossing = Setup { peer: Family::V6, ..v4 };
        assert_eq!(crossing.headers(Direction::ToPeer), 14 + 20 + 8 + 4);
        assert_eq!(crossing.headers(Direction::ToClient), 14 + 40 + 8);
        let send = Setup { kind: Kind::Indication, client: Family::V6, peer: Family::V6, ..v4 };
        assert_eq!(send.headers(Direction::ToPeer), 14 + 40 + 8 + 48);
        assert_eq!(send.headers(Direction::ToClient), 14 + 40 + 8);
    }

    #[test]
    fn a_setup_says_what_it_is() {
        let setup = Setup { peer: Family::V6, nics: 2, ..Setup::channels(65_536) };
        assert_eq!(setup.to_string(), "65,536 flows, channels, IPv4 to IPv6, two interfaces");
        let setup = Setup::streams(64, Transport::Tls);
        assert_eq!(setup.to_string(), "64 flows, channels, TLS over IPv4, one interface");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(grouped(999), "999");
    }
}
