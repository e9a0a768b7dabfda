//! Names for what a shard's epoll reports, and for the sockets that datagrams are queued for.

/// One source of events, as the 64 bits that epoll keeps for us.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Token {
    /// There is a letter in the shard's mailbox.
    Mail,
    /// The listener at this place in the list of listeners.
    Listener(u16),
    /// The socket of all relayed transport addresses of one family.
    Shared(Family),
    /// The socket by which ICMP errors of one family come, about what went out by [`Raw`](Token::Raw).
    Icmp(Family),
    /// The socket that sends from the relay address at this place in the list of relay addresses.
    Raw(u16),
    /// A relayed transport address with a socket of its own.
    Relay(RelayToken),
    /// The epoll of all clients' connections.
    Streams,
    /// A client's connection, in that epoll.
    Stream(StreamToken),
}

/// The place of an address family: 0 is IPv4, 1 is IPv6.
pub(super) type Family = u16;

/// A relayed transport address and the socket that was opened for it. The port may be given to another allocation,
/// with another socket, while an event or a datagram for the old one is still on its way: the generation tells them
/// apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RelayToken {
    /// The place of the IP address among the relay addresses.
    pub(super) address: u16,
    pub(super) port: u16,
    pub(super) generation: u32,
}

/// The place of a connection in its shard. It may be given to another while an event of the old one is still on its way: the
/// generation tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct StreamToken {
    pub(super) index: u16,
    pub(super) generation: u32,
}

const MAIL: u16 = u16::MAX;
const LISTENER: u16 = u16::MAX - 1;
const SHARED: u16 = u16::MAX - 2;
const ICMP: u16 = u16::MAX - 3;
const RAW: u16 = u16::MAX - 4;
const STREAM: u16 = u16::MAX - 5;
const STREAMS: u16 = u16::MAX - 6;

impl Token {
    pub(super) fn to_bits(self) -> u64 {
        let (kind, number, generation) = match self {
            Token::Mail => (MAIL, 0, 0),
            Token::Listener(index) => (LISTENER, index, 0),
            Token::Shared(family) => (SHARED, family, 0),
            Token::Icmp(family) => (ICMP, family, 0),
            Token::Raw(address) => (RAW, address, 0),
            Token::Streams => (STREAMS, 0, 0),
            Token::Stream(stream) => (STREAM, stream.index, stream.generation),
            Token::Relay(relay) => (relay.address, relay.port, relay.generation),
        };
        u64::from(kind) << 48 | u64::from(number) << 32 | u64::from(generation)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        match ((bits >> 48) as u16, (bits >> 32) as u16) {
            (MAIL, _) => Token::Mail,
            (LISTENER, index) => Token::Listener(index),
            (SHARED, family) => Token::Shared(family),
            (ICMP, family) => Token::Icmp(family),
            (RAW, address) => Token::Raw(address),
            (STREAMS, _) => Token::Streams,
            (STREAM, index) => Token::Stream(StreamToken { index, generation: bits as u32 }),
            (address, port) => Token::Relay(RelayToken { address, port, generation: bits as u32 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_epoll() {
        let relay = RelayToken { address: 3, port: 65_535, generation: u32::MAX };
        let stream = StreamToken { index: u16::MAX, generation: u32::MAX };
        let shared = [Token::Shared(0), Token::Icmp(1), Token::Raw(7), Token::Stream(stream)];
        let others =
            [Token::Mail, Token::Streams, Token::Listener(0), Token::Listener(65_535), Token::Relay(relay)];
        for token in shared.into_iter().chain(others) {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
