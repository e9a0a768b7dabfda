//! The nouns of RFC 8656, one type each, so that no role of an address can be taken for another.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::family::Family;

/// The client's transport address as this server sees it (its server-reflexive address).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientAddr(pub SocketAddr);

/// A relayed transport address as it is bound on this host. Behind a 1:1 NAT the client is told another one: see
/// [`RelayAddress`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelayAddr(pub SocketAddr);

impl RelayAddr {
    /// Its address family, which is that of all its peers.
    pub const fn family(self) -> Family {
        Family::of(self.0.ip())
    }
}

/// A peer's transport address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// Its address family, which is that of every relayed address that reaches it.
    pub const fn family(self) -> Family {
        Family::of(self.0.ip())
    }
}

/// The transport between client and server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// UDP datagrams.
    Udp,
    /// A TCP connection.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// Whether each client has a connection of its own, which keeps the order of what is sent and may close.
    pub const fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }

    /// Whether a packet may be in another's name. Where it may not, the client has answered from where it says it is.
    pub const fn may_be_spoofed(self) -> bool {
        matches!(self, Transport::Udp)
    }

    /// Whether the client knows the server by the name in a certificate.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Dtls)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Dtls => "dtls",
        })
    }
}

/// The 5-tuple that names an allocation (RFC 8656 section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FiveTuple {
    /// Where the client's packets come from.
    pub client: ClientAddr,
    /// Our address and port that they arrive at.
    pub listener: SocketAddr,
    /// How they are carried.
    pub transport: Transport,
}

/// A channel number, known to be in `relay_common::channel::MIN..=MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// `None` when the number is outside the range that clients may bind.
    pub const fn new(n: u16) -> Option<Self> {
        if relay_common::channel::is_channel(n) { Some(Self(n)) } else { None }
    }

    /// The number in host order.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for ChannelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// An IP address that allocations relay from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RelayAddress {
    /// What clients are told (XOR-RELAYED-ADDRESS); differs from `local` behind a 1:1 NAT.
    pub public: IpAddr,
    /// The address of this host that the relayed ports are bound on.
    pub local: IpAddr,
}

/// Names an allocation within one protocol core; never reused during its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AllocationId(pub u64);

/// Names a channel binding within one protocol core; never reused during its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BindingId(pub u64);
