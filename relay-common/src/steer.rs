//! What the socket lookup program and userspace share: which shard's socket takes the datagrams of a relayed transport
//! address, and how many of them may wait there.
//!
//! A shard's socket is one queue for all of its allocations. So that a burst at one of them leaves room for the others,
//! each port has a number of datagrams a round; userspace begins the next round of a shard once all that waited at
//! the beginning of the last has been read. So at most two rounds of a port are in the queue.

/// Hash of an IP address, IPv4 as an IPv4-mapped IPv6 address, to its place among the relay addresses (`u32`).
pub const ADDRESSES: &str = "ADDRESSES";
/// Array of words, one for each [`place`]: a [`Port`].
pub const PORTS: &str = "PORTS";
/// Map of sockets by [`socket`].
pub const SOCKETS: &str = "SOCKETS";
/// Array of words, one for each holder: the number of its round.
pub const ROUNDS: &str = "ROUNDS";
/// Name of the `.rodata` global with the first and the last port that may be relayed from.
pub const RANGE: &str = "RANGE";
/// Name of the program.
pub const PROGRAM: &str = "turnpike_lookup";

/// Most datagrams of one port in a round, where each is counted twice: a little more than a megabyte of full packets, as a
/// socket of its own has. The kernel looks for a datagram's socket once to see whether it may be merged with others (GRO), and
/// once more to deliver what it was merged to, and does not tell which it is. Where nothing is merged, as on the
/// loopback, each is counted once, and the bound is twice as high.
pub const ROUND: u16 = 2048;

/// Ports of one address.
pub const ADDRESS_PORTS: u32 = 1 << 16;

/// One port of a relay address, as a word. Zero is a port that nobody holds.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Port {
    /// The number of the shard that holds it plus one. Only userspace writes it.
    pub holder: u32,
    /// The round that the count is of. From here on the program writes.
    pub round: u16,
    /// The datagrams that came in this round.
    pub count: u16,
}

/// Where a port is found.
#[inline(always)]
pub const fn place(address: u32, port: u16) -> u32 {
    address * ADDRESS_PORTS + port as u32
}

/// The place of a holder's socket for one address family. Holder 0 is the sink: what goes there is dropped without a word,
/// where no socket at all would make the kernel answer "port unreachable".
#[inline(always)]
pub const fn socket(holder: u32, ipv6: bool) -> u32 {
    2 * holder + ipv6 as u32
}
