//! A TURN client that does one step at a time, as a test says.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use turnpike::stun::{
    AddressFamily, Builder, Class, ErrorCode, Icmp, Key, Message, MessageType, Method, TransactionId,
};

use super::PATIENCE;
use super::host::{Host, receive};
use super::server::{PASSWORD, USER};
use crate::frames::channel_data;

/// Where the transaction ids of the next client begin.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// The port of the next client, less [`FIRST_PORT`].
static PORTS: AtomicU16 = AtomicU16::new(0);

/// Clients have ports of their own: below those that the kernel picks for others, and far from the servers'.
const FIRST_PORT: u16 = 10_000;

/// How many there are.
const PORT_COUNT: u16 = 20_000;

/// How long an answer may take before the request is sent again.
const RETRY: Duration = Duration::from_millis(500);

const UDP: u8 = 17;

/// A client with a socket of its own.
#[derive(Debug)]
pub struct TurnClient {
    socket: UdpSocket,
    server: SocketAddr,
    challenge: Option<Challenge>,
    /// What came while an answer was waited for.
    early: VecDeque<Vec<u8>>,
    transactions: u64,
}

#[derive(Debug)]
struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    key: Key,
}

/// What the server passed on from a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// ChannelData: number and data.
    Channel(u16, Vec<u8>),
    /// A Data indication: peer and data.
    Data(SocketAddr, Vec<u8>),
    /// A Data indication about an ICMP error: peer and error.
    Icmp(SocketAddr, Icmp),
}

impl TurnClient {
    /// A client on this machine, at a port that no other one has had. The kernel might pick that of a client that is gone and whose
    /// allocation is not: that is refused (437).
    pub fn new(host: &Host, server: SocketAddr) -> Self {
        loop {
            let port = FIRST_PORT + PORTS.fetch_add(1, Ordering::Relaxed) % PORT_COUNT;
            match host.enter(|| UdpSocket::bind(host.at(port))) {
                Ok(socket) => return Self::with(socket, server),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => panic!("{}: {error}", host.at(port)),
            }
        }
    }

    /// A client at this port.
    pub fn at(host: &Host, port: u16, server: SocketAddr) -> Self {
        Self::with(host.udp(port), server)
    }

    fn with(socket: UdpSocket, server: SocketAddr) -> Self {
        Self {
            socket,
            server,
            challenge: None,
            early: VecDeque::new(),
            // No two clients have the same (RFC 8489 section 6): the server takes them for one where the kernel gives a port again.
            transactions: u64::from(std::process::id()) << 32 | CLIENTS.fetch_add(1 << 16, Ordering::Relaxed),
        }
    }

    /// Where its packets come from.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// The listener that it talks to.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Its socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// A Binding request: the client's address as the server sees it.
    pub fn binding(&mut self) -> SocketAddr {
        let answer = self.attempt(Method::BINDING, |_| {}).expect("a Binding needs no credentials");
        message(&answer).xor_mapped_address().expect("well formed").expect("XOR-MAPPED-ADDRESS")
    }

    /// An allocation: its relayed transport address.
    pub fn allocate(&mut self) -> SocketAddr {
        let answer = self.must(Method::ALLOCATE, |request| {
            request.requested_transport(UDP);
        });
        message(&answer).xor_relayed_address().expect("well formed").expect("XOR-RELAYED-ADDRESS")
    }

    /// An allocation with a relayed transport address of this family.
    pub fn allocate_of(&mut self, family: AddressFamily) -> SocketAddr {
        let answer = self.must(Method::ALLOCATE, |request| {
            request.requested_transport(UDP).requested_address_family(family);
        });
        message(&answer).xor_relayed_address().expect("well formed").expect("XOR-RELAYED-ADDRESS")
    }

    /// An allocation with a relayed transport address of each family, IPv4 first.
    pub fn allocate_both(&mut self) -> [SocketAddr; 2] {
        let answer = self.must(Method::ALLOCATE, |request| {
            request.requested_transport(UDP).additional_address_family(AddressFamily::V6);
        });
        let relayed: Vec<_> =
            message(&answer).xor_relayed_addresses().map(|a| a.expect("well formed")).collect();
        match relayed[..] {
            [v4, v6] if v4.is_ipv4() && v6.is_ipv6() => [v4, v6],
            _ => panic!("not one of each family: {relayed:?}"),
        }
    }

    /// Permissions for these peers.
    pub fn permit(&mut self, peers: &[SocketAddr]) {
        self.must(Method::CREATE_PERMISSION, |request| {
            for &peer in peers {
                request.xor_peer_address(peer);
            }
        });
    }

    /// A channel, with the permission for its peer.
    pub fn bind(&mut self, channel: u16, peer: SocketAddr) {
        self.must(Method::CHANNEL_BIND, |request| {
            request.channel_number(channel).xor_peer_address(peer);
        });
    }

    /// Ends the allocation.
    pub fn end(&mut self) {
        self.must(Method::REFRESH, |request| {
            request.lifetime(Duration::ZERO);
        });
    }

    /// Sends ChannelData.
    pub fn send(&self, channel: u16, data: &[u8]) {
        self.send_raw(&channel_data(channel, data, 0));
    }

    /// Sends a Send indication.
    pub fn send_indication(&mut self, peer: SocketAddr, data: &[u8]) {
        let mut bytes = Vec::new();
        let mut indication =
            Builder::new(&mut bytes, MessageType::new(Method::SEND, Class::Indication), self.transaction());
        indication.xor_peer_address(peer).data(data).expect("fits a datagram");
        self.send_raw(&bytes);
    }

    /// Sends a Send indication with DONT-FRAGMENT.
    pub fn send_whole(&mut self, peer: SocketAddr, data: &[u8]) {
        let mut bytes = Vec::new();
        let mut indication =
            Builder::new(&mut bytes, MessageType::new(Method::SEND, Class::Indication), self.transaction());
        indication.xor_peer_address(peer).dont_fragment().data(data).expect("fits a datagram");
        self.send_raw(&bytes);
    }

    /// Sends any datagram to the server.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).expect("the server is reachable");
    }

    /// The next data from a peer, unless none comes within `limit`.
    pub fn receive(&mut self, limit: Duration) -> Option<Received> {
        let datagram = self.early.pop_front().or_else(|| self.datagram(limit))?;
        Some(received(&datagram))
    }

    /// A request that may be refused. Answers a challenge (401, 438), goes where a 300 sends it, and sends again what
    /// gets no answer.
    pub fn request(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Result<Vec<u8>, ErrorCode> {
        // A challenge, a redirect and the challenge of the other server.
        for _ in 0..4 {
            match self.attempt(method, &fill) {
                Err((ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE, answer)) => {
                    self.challenged(&answer)
                }
                Err((ErrorCode::TRY_ALTERNATE, answer)) => self.redirected(&answer),
                Err((code, _)) => return Err(code),
                Ok(answer) => return Ok(answer),
            }
        }
        Err(ErrorCode::UNAUTHENTICATED)
    }

    fn must(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Vec<u8> {
        self.request(method, fill).unwrap_or_else(|code| panic!("{method} of {}: {code}", self.address()))
    }

    fn attempt(
        &mut self,
        method: Method,
        fill: impl Fn(&mut Builder<'_>),
    ) -> Result<Vec<u8>, (ErrorCode, Vec<u8>)> {
        let id = self.transaction();
        let mut bytes = Vec::new();
        let mut request = Builder::new(&mut bytes, MessageType::new(method, Class::Request), id);
        fill(&mut request);
        if let Some(challenge) = self.challenge.as_ref().filter(|_| method != Method::BINDING) {
            request.username(USER).realm(&challenge.realm).nonce(&challenge.nonce).integrity(&challenge.key);
        }
        let deadline = Instant::now() + super::scaled(PATIENCE);
        while Instant::now() < deadline {
            self.send_raw(&bytes);
            let again = Instant::now() + RETRY;
            while let Some(left) = again.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
                let Some(datagram) = self.datagram(left) else { break };
                let answer = match Message::parse(&datagram) {
                    Ok(answer) if answer.transaction_id() == id => answer,
                    _ => {
                        self.early.push_back(datagram);
                        continue;
                    }
                };
                return match answer.class() {
                    Class::Success => Ok(datagram),
                    _ => {
                        let code = answer.error_code().expect("well formed").expect("ERROR-CODE").0;
                        Err((code, datagram))
                    }
                };
            }
        }
        panic!("{method}: no answer from {} within {PATIENCE:?}", self.server);
    }

    fn challenged(&mut self, answer: &[u8]) {
        let answer = message(answer);
        let realm = answer.realm().expect("well formed").expect("REALM").to_owned();
        let nonce = answer.nonce().expect("well formed").expect("NONCE").to_vec();
        let key = Key::long_term(USER, &realm, PASSWORD);
        self.challenge = Some(Challenge { realm, nonce, key });
    }

    /// Goes on with the server that a 300 names, whose integrity a client must validate (RFC 8489 section 14.8).
    fn redirected(&mut self, answer: &[u8]) {
        let answer = message(answer);
        let challenge = self.challenge.take().expect("only who sent credentials is redirected");
        assert!(answer.is_authentic(&challenge.key), "a 300 that is not signed");
        self.server = answer.alternate_server().expect("well formed").expect("ALTERNATE-SERVER");
    }

    fn datagram(&self, limit: Duration) -> Option<Vec<u8>> {
        let (datagram, from) = receive(&self.socket, limit)?;
        assert_eq!(from, self.server, "a client hears of nobody but its server");
        Some(datagram)
    }

    fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }
}

fn message(datagram: &[u8]) -> Message<'_> {
    Message::parse(datagram).expect("an answer was parsed before")
}

fn received(datagram: &[u8]) -> Received {
    if let Ok(message) = Message::parse(datagram) {
        assert_eq!(message.message_type(), MessageType::new(Method::DATA, Class::Indication));
        let peer = message.xor_peer_address().expect("well formed").expect("XOR-PEER-ADDRESS");
        if let Some(icmp) = message.icmp().expect("well formed") {
            assert_eq!(message.data(), None, "RFC 8656 section 11.5: ICMP, and no DATA");
            return Received::Icmp(peer, icmp);
        }
        return Received::Data(peer, message.data().expect("DATA").to_vec());
    }
    let (head, data) = datagram.split_first_chunk::<4>().expect("a ChannelData header");
    let [number, length] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_be_bytes);
    // Over UDP padding is allowed (RFC 8656 section 12.5), but a relay that adds some wastes the client's bytes.
    assert_eq!(usize::from(length), data.len(), "ChannelData's length is that of its data");
    Received::Channel(number, data.to_vec())
}
