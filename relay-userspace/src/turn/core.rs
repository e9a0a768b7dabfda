//! The core itself: what it holds, and where each input goes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use relay_common::channel::is_channel;
use relay_common::reason::Reason;

use super::allocate::Opening;
use super::allocations::Allocations;
use super::answers::Answers;
use super::config::CoreConfig;
use super::io::{Binding, Input, Output, Outputs};
use super::shared::Shared;
use super::tcp::{Connection, ConnectionId};
use super::timers::{Deadline, Timers};
use super::types::{AllocationId, FiveTuple, RelayAddr};
use crate::auth::KnownKeys;
use crate::time::Timestamp;

/// The TURN server of one shard of clients: all datagrams of one five-tuple go to the same core.
#[derive(Debug)]
pub struct Core {
    pub(super) config: Arc<CoreConfig>,
    pub(super) shared: Arc<Shared>,
    /// The number of this shard.
    pub(super) shard: u16,
    pub(super) rng: StdRng,
    /// Keys of the digests by which retransmissions are known.
    digest_keys: RandomState,
    pub(super) allocations: Allocations,
    /// Allocations whose relayed transport address is being opened.
    pub(super) opening: HashMap<AllocationId, Opening>,
    /// Connections of TCP allocations with peers.
    pub(super) connections: HashMap<ConnectionId, Connection>,
    pub(super) timers: Timers,
    pub(super) known_keys: KnownKeys,
    pub(super) answers: Answers,
    /// When the oldest answer is forgotten.
    pub(super) answers_expire: Option<Deadline>,
    /// 5-tuples of clients that moved here, and the shards that hold their allocations.
    pub(super) steered: HashMap<FiveTuple, u16>,
    /// Relayed addresses whose CloseRelay is among the outputs of the last input.
    pub(super) given_up: Vec<RelayAddr>,
    pub(super) next_allocation: u64,
    pub(super) next_binding: NonZeroU64,
    /// The time of the input in hand.
    pub(super) now: Timestamp,
    /// The shard that handed the input on.
    pub(super) via: Option<u16>,
    /// The input in hand came in a message of a WebSocket.
    pub(super) by_websocket: bool,
    /// When the driver last told the time of day, and what it was.
    unix_time: Option<(Timestamp, u64)>,
}

/// How full a core's tables are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Occupancy {
    /// Live allocations.
    pub allocations: usize,
    /// Their relayed transport addresses, one or two each.
    pub relayed: usize,
    /// Allocations that wait for [`Input::RelayOpened`].
    pub opening: usize,
    /// Live permissions.
    pub permissions: usize,
    /// Channels, those included whose binding expired less than five minutes ago.
    pub channels: usize,
    /// Connections with peers (RFC 6062).
    pub connections: usize,
    /// Answers kept for retransmissions.
    pub answers: usize,
    /// 5-tuples of clients that moved here while another shard holds their allocation.
    pub steered: usize,
    /// Timers set.
    pub timers: usize,
}

impl Core {
    /// A core without allocations. `seed` must be secret, random and another for each core: ports, tokens and
    /// transaction ids come from it.
    pub fn new(config: Arc<CoreConfig>, shared: Arc<Shared>, seed: [u8; 32]) -> Self {
        Self {
            config,
            shared,
            shard: 0,
            rng: StdRng::from_seed(seed),
            digest_keys: RandomState::new(),
            allocations: Allocations::default(),
            opening: HashMap::new(),
            connections: HashMap::new(),
            timers: Timers::default(),
            known_keys: KnownKeys::default(),
            answers: Answers::default(),
            answers_expire: None,
            steered: HashMap::new(),
            given_up: Vec::new(),
            next_allocation: 1,
            next_binding: NonZeroU64::MIN,
            now: Timestamp::default(),
            via: None,
            by_websocket: false,
            unix_time: None,
        }
    }

    /// The same core as the shard of this number among those that share the state; it is 0 otherwise. Shards know each
    /// other by it.
    pub fn numbered(self, shard: u16) -> Self {
        Self { shard, ..self }
    }

    /// Takes one input and replaces the content of `out` with its effects, which must be carried out before the next
    /// input: a port that was given up is free for every core from then on.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outputs) {
        out.clear();
        self.now = now;
        self.return_ports();
        self.expire(out);
        match input {
            Input::FromClient { five_tuple, datagram } => self.arrives(five_tuple, datagram, out),
            Input::FromWebSocket { five_tuple, datagram } => {
                self.by_websocket = true;
                self.arrives(five_tuple, datagram, out);
                self.by_websocket = false;
            }
            Input::Forwarded { from, five_tuple, datagram } => {
                self.handed_on(from, five_tuple, datagram, out);
            }
            Input::Steer { by, five_tuple, here } => self.steer(by, five_tuple, here),
            Input::FromPeer { relayed, peer, datagram } => self.peer_datagram(relayed, peer, datagram, out),
            Input::IcmpError { relayed, peer, icmp } => self.icmp_error(relayed, peer, icmp, out),
            Input::RelayOpened { allocation, outcome } => self.relay_opened(allocation, outcome, out),
            Input::PeerConnected { connection } => self.peer_connected(connection, out),
            Input::ConnectFailed { connection } => self.connect_failed(connection, out),
            Input::PeerIncoming { relayed, peer } => self.peer_incoming(relayed, peer, out),
            Input::ConnectionCarried { connection } => self.connection_carried(connection, out),
            Input::ConnectionGone { connection } => self.connection_gone(connection, out),
            Input::ClientGone { five_tuple, is_stuck } => self.client_gone(&five_tuple, is_stuck, out),
            Input::End(allocation) => self.end_by_operator(allocation, out),
            Input::Wakeup => {}
        }
    }

    /// When [`Input::Wakeup`] is due next, unless another input comes first.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.given_up.is_empty() { self.timers.next() } else { Some(self.now) }
    }

    /// Tells the time of day, in seconds since 1970, by which time-limited credentials expire. To be called before
    /// the first input and once a second or so, as that clock may be set.
    pub fn set_unix_time(&mut self, now: Timestamp, unix_seconds: u64) {
        self.unix_time = Some((now, unix_seconds));
    }

    /// Takes other settings for all that is asked from now on; what was granted before stays as it is: a permission for
    /// a peer that the rules now forbid is not refreshed, so nobody is reached against the new rules for longer than a
    /// permission lasts, nor by a connection once [`Input::ConnectionCarried`] tells of it; and an allocation keeps the limits on its data that it was made with. The relay
    /// addresses and ports must be the same: what the cores share was made for them.
    pub fn reconfigure(&mut self, config: Arc<CoreConfig>) {
        debug_assert_eq!(self.config.relay_addresses, config.relay_addresses);
        debug_assert_eq!(self.config.relay_ports, config.relay_ports);
        self.config = config;
        // They were made from the credentials before.
        self.known_keys = KnownKeys::default();
        for allocation in self.allocations.iter_mut() {
            allocation.rules = self.config.rules_for(&allocation.realm, &allocation.account);
        }
    }

    /// How full the tables are. Walks over all allocations.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            allocations: self.allocations.len(),
            relayed: self.allocations.relayed(),
            opening: self.opening.len(),
            permissions: self.allocations.iter().map(|a| a.permissions.len()).sum(),
            channels: self.allocations.iter().map(|a| a.channels.len()).sum(),
            connections: self.connections.len(),
            answers: self.answers.len(),
            steered: self.steered.len(),
            timers: self.timers.len(),
        }
    }

    /// Whether a 5-tuple leads to an allocation.
    pub fn has_allocation(&self, five_tuple: &FiveTuple) -> bool {
        self.allocations.of_client(five_tuple).is_some()
    }

    /// How many allocations are live.
    pub fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// The bindings between their Bind and their Unbind.
    pub fn bindings(&self) -> impl Iterator<Item = Binding> {
        self.allocations.iter().flat_map(|a| a.bindings())
    }

    /// The time of day in seconds since 1970. Without one, every time-limited credential has expired.
    pub(super) fn unix_seconds(&self) -> u64 {
        self.unix_time.map_or(u64::MAX, |(told, seconds)| seconds + self.now.since(told).as_secs())
    }

    pub(super) fn digest(&self, datagram: &[u8]) -> u64 {
        self.digest_keys.hash_one(datagram)
    }

    /// The two top bits tell STUN from ChannelData (RFC 8656 section 12).
    pub(super) fn client_datagram(&mut self, five_tuple: FiveTuple, datagram: &[u8], out: &mut Outputs) {
        match datagram {
            [a, b, ..] if is_channel(u16::from_be_bytes([*a, *b])) => {
                self.channel_data(five_tuple, datagram, out);
            }
            [0..=0x3f, ..] => self.stun(five_tuple, datagram, out),
            _ => out.items.push(Output::Dropped(Reason::Malformed)),
        }
    }

    /// Ports given up by the last input: their CloseRelay has been carried out by now.
    fn return_ports(&mut self) {
        for relayed in self.given_up.drain(..) {
            self.shared.ports.release(relayed);
        }
    }
}
