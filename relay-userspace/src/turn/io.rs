//! What goes into the protocol core and what comes out: plain data, no effects.

use std::ops::Range;
use std::time::Duration;

use relay_common::addr::Be16;
use relay_common::channel::INDICATION;
use relay_common::flow::Path;
use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::family::Relayed;
use super::tcp::{Carried, ConnectionId, Pace, TcpEvent};
use super::types::{AllocationId, BindingId, ChannelNumber, FiveTuple, PeerAddr, RelayAddr};
use super::usage::Summary;
use crate::stun::Icmp;
use crate::time::Timestamp;

/// One thing that happened, for [`Core::handle`](super::Core::handle).
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram arrived at one of our listeners, or a message by a client's connection.
    FromClient {
        /// Who sent it, and to which listener.
        five_tuple: FiveTuple,
        /// The UDP payload, or the message.
        datagram: &'a [u8],
    },
    /// A message came by a client's connection, in one of a WebSocket: nothing but messages can come by that.
    FromWebSocket {
        /// Who sent it, and to which listener.
        five_tuple: FiveTuple,
        /// The message.
        datagram: &'a [u8],
    },
    /// Another shard handed on a datagram that arrived at one of our listeners: its [`Output::Forward`].
    Forwarded {
        /// The number of that shard.
        from: u16,
        /// Who sent it, and to which listener.
        five_tuple: FiveTuple,
        /// The UDP payload.
        datagram: &'a [u8],
    },
    /// Another shard's [`Output::Steer`]. It must be given before any datagram that arrived after that shard's answer to
    /// the client left.
    Steer {
        /// The number of that shard.
        by: u16,
        /// The client, and the listener it talks to.
        five_tuple: FiveTuple,
        /// Whether that shard wants the datagrams; if not, it did before.
        here: bool,
    },
    /// A datagram arrived at a relayed transport address.
    FromPeer {
        /// The relayed transport address (as bound here).
        relayed: RelayAddr,
        /// Who sent it.
        peer: PeerAddr,
        /// The UDP payload.
        datagram: &'a [u8],
    },
    /// An ICMP error arrived about a datagram that left from a relayed transport address.
    IcmpError {
        /// The relayed transport address (as bound here).
        relayed: RelayAddr,
        /// Where the datagram was going.
        peer: PeerAddr,
        /// What is wrong.
        icmp: Icmp,
    },
    /// The answer to [`Output::OpenRelay`], given before any other input of the same client.
    RelayOpened {
        /// The allocation that asked.
        allocation: AllocationId,
        /// Whether the port is now ours. The core tries another port after a refusal.
        outcome: Result<(), RelayRefused>,
    },
    /// What [`Output::ConnectPeer`] asked for is done; it waits for [`Output::Join`], unread.
    PeerConnected {
        /// Which one.
        connection: ConnectionId,
    },
    /// What [`Output::ConnectPeer`] asked for could not be done.
    ConnectFailed {
        /// Which one.
        connection: ConnectionId,
    },
    /// A peer connected to the relayed transport address of a TCP allocation. The answer is [`Output::AcceptPeer`] or
    /// [`Output::RefusePeer`].
    PeerIncoming {
        /// The relayed transport address (as bound here).
        relayed: RelayAddr,
        /// Who connected.
        peer: PeerAddr,
    },
    /// There is something in the [`Carried`] of a joined connection. To be said every second or so while there is.
    ConnectionCarried {
        /// Which one.
        connection: ConnectionId,
    },
    /// A connection with a peer closed, or what it was joined to, and both ends are closed now.
    ConnectionGone {
        /// Which one.
        connection: ConnectionId,
    },
    /// The connection of a client closed: a 5-tuple of TCP, TLS or DTLS. Nothing more comes from there, and nothing that
    /// is sent there arrives.
    ClientGone {
        /// The client, and the listener it was connected to.
        five_tuple: FiveTuple,
        /// Whether it was closed here, as the client took nothing of what it was sent.
        is_stuck: bool,
    },
    /// The operator ends an allocation; one that has ended is left alone.
    End(AllocationId),
    /// Time passed: [`Core::next_wakeup`](super::Core::next_wakeup) was reached.
    Wakeup,
}

/// Why a relayed transport address could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayRefused {
    /// Another program on this host holds the port.
    InUse,
    /// The host gave no socket or memory.
    NoResources,
}

/// One effect the caller must carry out. Effects are in order: bindings come before the success response that
/// announces them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send `head` followed by `body` to the client as one datagram, or message of its connection: ChannelData is without
    /// the padding that a stream needs (RFC 8656 section 12.5).
    ToClient {
        /// The path back.
        five_tuple: FiveTuple,
        /// A range of [`Outputs::bytes`].
        head: Range<usize>,
        /// A range of the input's datagram.
        body: Range<usize>,
    },
    /// Send `payload` from the relayed transport address to the peer.
    ToPeer {
        /// Source of the datagram.
        relayed: RelayAddr,
        /// Its destination.
        peer: PeerAddr,
        /// A range of the input's datagram.
        payload: Range<usize>,
        /// To be sent whole or not at all, with the DF bit set. IPv4 only.
        dont_fragment: bool,
    },
    /// Hand the datagram of the input to another shard, as [`Input::Forwarded`]. What came by a connection is handed over
    /// together with that, as [`Input::FromClient`]: the client belongs to the other shard then.
    Forward {
        /// The number of that shard.
        shard: u16,
        /// The client, and the listener it arrived at.
        five_tuple: FiveTuple,
    },
    /// Tell another shard, with [`Input::Steer`], whether to hand on the datagrams of a client.
    Steer {
        /// The number of that shard.
        shard: u16,
        /// The client, and the listener it talks to.
        five_tuple: FiveTuple,
        /// Whether this shard wants them from now on; if not, it did before.
        here: bool,
    },
    /// Open this relayed transport address and answer with [`Input::RelayOpened`].
    OpenRelay {
        /// The allocation that waits for it.
        allocation: AllocationId,
        /// The address to bind.
        relayed: RelayAddr,
    },
    /// Close it; nothing more is relayed from or to it.
    CloseRelay {
        /// The address given up.
        relayed: RelayAddr,
    },
    /// Listen for TCP connections on this relayed transport address and answer with [`Input::RelayOpened`] (RFC 6062 section
    /// 5.1).
    OpenTcpRelay {
        /// The allocation that waits for it.
        allocation: AllocationId,
        /// The address to listen on.
        relayed: RelayAddr,
    },
    /// Listen no longer. Its connections were closed before.
    CloseTcpRelay {
        /// The address given up.
        relayed: RelayAddr,
    },
    /// Connect from the relayed transport address to the peer, and answer with [`Input::PeerConnected`] or
    /// [`Input::ConnectFailed`] (RFC 6062 section 5.2). The core limits the time.
    ConnectPeer {
        /// Its name.
        connection: ConnectionId,
        /// Where it leaves from: as bound here, while it is listened on too.
        relayed: RelayAddr,
        /// Where to.
        peer: PeerAddr,
    },
    /// Keep the peer's connection of the input, unread: "The server adjusts its advertised TCP receive window to reflect the
    /// amount of empty buffer space" (RFC 6062 section 5.3).
    AcceptPeer {
        /// Its name from now on.
        connection: ConnectionId,
    },
    /// Close the peer's connection of the input.
    RefusePeer,
    /// Send what is left for the client's connection, then carry what comes by it to the peer's, and the other way, as it is
    /// (RFC 6062 section 5.4). What the client sent after the message of the input is the first of it.
    Join {
        /// The client's connection, which carries no messages any more.
        five_tuple: FiveTuple,
        /// The peer's.
        connection: ConnectionId,
        /// How fast.
        pace: Pace,
        /// How long nothing may come before both are closed.
        idle: Duration,
        /// What went on is to be counted here.
        carried: Carried,
    },
    /// Close a connection with a peer, or give up making it, and close the client's connection that it is joined to. No
    /// [`Input::ConnectionGone`] is needed.
    CloseConnection {
        /// Which one.
        connection: ConnectionId,
    },
    /// A channel or a permission came to life: both directions may take the fast path until its deadline.
    Bind(Binding),
    /// The binding lives on until a new deadline.
    Extend(Binding),
    /// The binding ended.
    Unbind {
        /// Which one.
        binding: BindingId,
    },
    /// A datagram went no further.
    Dropped(Reason),
    /// Something an operator may want to read in the log or count.
    Event(Event),
}

/// A channel binding, or a permission, as the datapath needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Its name in later [`Output::Extend`] and [`Output::Unbind`].
    pub id: BindingId,
    /// Whose data it carries.
    pub allocation: AllocationId,
    /// The client's side.
    pub five_tuple: FiveTuple,
    /// The relayed transport address (as bound here).
    pub relayed: RelayAddr,
    /// The peer's side. Port 0 stands for every port: a permission is for an address.
    pub peer: PeerAddr,
    /// How data travels on the client's side.
    pub via: Via,
    /// The earliest of channel, permission and allocation expiry (RFC 8656 sections 9 and 12).
    pub deadline: Timestamp,
    /// Number of the meter that its data is counted by; 0 for none.
    pub meter: u32,
}

/// How data travels between a client and the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Via {
    /// As ChannelData with this number.
    Channel(ChannelNumber),
    /// In Send and Data indications.
    Indications,
}

impl From<&Binding> for Path {
    fn from(binding: &Binding) -> Self {
        Path {
            client: binding.five_tuple.client.0.into(),
            listener: binding.five_tuple.listener.into(),
            relayed: binding.relayed.0.into(),
            peer: binding.peer.0.into(),
            channel: match binding.via {
                Via::Channel(number) => Be16::new(number.get()),
                Via::Indications => INDICATION,
            },
        }
    }
}

/// An event in an allocation's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An allocation was made.
    AllocationCreated {
        /// Its name.
        allocation: AllocationId,
        /// Whose it is.
        five_tuple: FiveTuple,
        /// What it relays from.
        relayed: Relayed,
        /// The authenticated user.
        username: String,
    },
    /// A client took its allocation along to another address (RFC 8016).
    AllocationMoved {
        /// Its name.
        allocation: AllocationId,
        /// Where the client is now.
        five_tuple: FiveTuple,
        /// The authenticated user.
        username: String,
    },
    /// An allocation ended.
    AllocationEnded {
        /// Its name.
        allocation: AllocationId,
        /// The authenticated user.
        username: String,
        /// How.
        cause: EndCause,
        /// What it was. In a box: every output has room for the largest.
        summary: Box<Summary>,
    },
    /// A request was refused with this error code.
    Refused {
        /// The STUN method.
        method: u16,
        /// The STUN error code.
        code: u16,
    },
    /// Something happened to a connection of a TCP allocation.
    Tcp(TcpEvent),
    /// A connection of a TCP allocation carried more.
    TcpCarried {
        /// From the client to the peer.
        to_peer: Count,
        /// From the peer to the client.
        to_client: Count,
    },
    /// A request was answered with success.
    Answered {
        /// The STUN method.
        method: u16,
    },
}

/// How an allocation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// Its lifetime ran out.
    Expired,
    /// The client refreshed it with a lifetime of zero.
    Deleted,
    /// The operator ended it.
    Operator,
    /// The client's connection closed.
    Disconnected,
    /// The client's connection was closed, as it took nothing of what it was sent.
    Stuck,
}

/// The effects of one input, and the bytes they refer to. Reused from input to input so that relaying a packet
/// allocates nothing.
#[derive(Default, Debug)]
pub struct Outputs {
    /// The effects, in the order to carry them out.
    pub items: Vec<Output>,
    /// Bytes made by the core: responses, indications, ChannelData headers.
    pub bytes: Vec<u8>,
}

impl Outputs {
    /// Forgets the last input's effects, keeps the memory.
    pub fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
    }
}
