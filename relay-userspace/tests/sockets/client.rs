//! A TURN client over a real socket, as plain as can be.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use turnpike::stun::{
    AddressFamily, Builder, Class, ErrorCode, Icmp, Key, Message, MessageType, Method, TransactionId,
};

use super::server::{PASSWORD, REALM, USER};

/// How long a test waits for a datagram that must come. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A socket on the loopback that waits for what must come.
pub(crate) fn socket() -> UdpSocket {
    socket_at("127.0.0.1:0")
}

/// The same at this address.
pub(crate) fn socket_at(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A client of one server.
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    key: Key,
    nonce: Vec<u8>,
    next_transaction: u32,
}

/// A datagram that came through the relay.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Relayed {
    Channel(u16, Vec<u8>),
    Data(SocketAddr, Vec<u8>),
    Icmp(SocketAddr, Icmp),
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self::over(if server.is_ipv4() { socket() } else { socket_at("[::1]:0") }, server)
    }

    /// The same by a socket that is there.
    pub(crate) fn over(socket: UdpSocket, server: SocketAddr) -> Self {
        socket.connect(server).unwrap();
        Self { socket, key: Key::long_term(USER, REALM, PASSWORD), nonce: Vec::new(), next_transaction: 0 }
    }

    /// Allocates; the relayed transport address.
    pub(crate) fn allocate(&mut self) -> Result<SocketAddr, ErrorCode> {
        self.allocate_of(AddressFamily::V4)
    }

    /// The same with a relayed transport address of one family.
    pub(crate) fn allocate_of(&mut self, family: AddressFamily) -> Result<SocketAddr, ErrorCode> {
        let answer = self.request(Method::ALLOCATE, |b| {
            b.requested_transport(17).requested_address_family(family);
        })?;
        Ok(Message::parse(&answer).unwrap().xor_relayed_address().unwrap().unwrap())
    }

    /// Allocates asking for a ticket: the relayed transport address, and the ticket.
    pub(crate) fn allocate_mobile(&mut self) -> (SocketAddr, Vec<u8>) {
        let answer = self.request(Method::ALLOCATE, |b| _ = b.requested_transport(17).mobility_ticket(&[]));
        let answer = answer.unwrap();
        let message = Message::parse(&answer).unwrap();
        (message.xor_relayed_address().unwrap().unwrap(), message.mobility_ticket().unwrap().to_vec())
    }

    /// Takes an allocation over by its ticket; the next ticket.
    pub(crate) fn move_here(&mut self, ticket: &[u8]) -> Vec<u8> {
        let answer = self.request(Method::REFRESH, |b| _ = b.mobility_ticket(ticket)).unwrap();
        Message::parse(&answer).unwrap().mobility_ticket().unwrap().to_vec()
    }

    /// Prolongs the allocation.
    pub(crate) fn refresh(&mut self) -> Result<(), ErrorCode> {
        self.request(Method::REFRESH, |_| {}).map(drop)
    }

    /// Ends the allocation.
    pub(crate) fn release(&mut self) {
        self.request(Method::REFRESH, |b| _ = b.lifetime(Duration::ZERO)).unwrap();
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) {
        self.request(Method::CREATE_PERMISSION, |b| _ = b.xor_peer_address(peer)).unwrap();
    }

    pub(crate) fn bind_channel(&mut self, channel: u16, peer: SocketAddr) {
        self.request(Method::CHANNEL_BIND, |b| _ = b.channel_number(channel).xor_peer_address(peer)).unwrap();
    }

    /// Sends a Send indication.
    pub(crate) fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) {
        let indication = self.send_indication(peer, payload);
        self.socket.send(&indication).unwrap();
    }

    /// Sends ChannelData.
    pub(crate) fn send_on(&self, channel: u16, payload: &[u8]) {
        self.socket.send(&self.channel_data(channel, payload)).unwrap();
    }

    /// A Send indication, not yet sent.
    pub(crate) fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let id = self.transaction();
        let mut bytes = Vec::new();
        let mut indication = Builder::new(&mut bytes, MessageType::new(Method::SEND, Class::Indication), id);
        indication.xor_peer_address(peer).data(payload).unwrap();
        bytes
    }

    /// ChannelData, not yet sent.
    pub(crate) fn channel_data(&self, channel: u16, payload: &[u8]) -> Vec<u8> {
        let len = payload.len() as u16;
        [&channel.to_be_bytes()[..], &len.to_be_bytes(), payload].concat()
    }

    /// A Binding request, not yet sent.
    pub(crate) fn binding_request(&mut self) -> Vec<u8> {
        let id = self.transaction();
        let mut bytes = Vec::new();
        Builder::new(&mut bytes, MessageType::new(Method::BINDING, Class::Request), id);
        bytes
    }

    /// Waits for what a peer sent, whatever errors come before.
    pub(crate) fn receive_data(&self) -> Relayed {
        loop {
            match self.receive() {
                Relayed::Icmp(..) => continue,
                data => return data,
            }
        }
    }

    /// Waits for what a peer sent or an error about it.
    pub(crate) fn receive(&self) -> Relayed {
        let mut buffer = vec![0; 1 << 16];
        let len = self.socket.recv(&mut buffer).expect("a datagram comes through the relay");
        let datagram = &buffer[..len];
        if datagram[0] >= 0x40 {
            let word = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
            assert_eq!(usize::from(word(2)), len - 4);
            return Relayed::Channel(word(0), datagram[4..].to_vec());
        }
        let message = Message::parse(datagram).unwrap();
        assert_eq!(message.message_type(), MessageType::new(Method::DATA, Class::Indication));
        let peer = message.xor_peer_address().unwrap().unwrap();
        if let Some(icmp) = message.icmp().unwrap() {
            assert_eq!(message.data(), None);
            return Relayed::Icmp(peer, icmp);
        }
        Relayed::Data(peer, message.data().unwrap().to_vec())
    }

    /// Asks until the nonce is accepted; the success response.
    fn request(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Result<Vec<u8>, ErrorCode> {
        for _ in 0..3 {
            let id = self.ask(method, &fill);
            match self.answer(id) {
                Err(ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE) => {}
                answer => return answer,
            }
        }
        panic!("the server keeps asking for credentials");
    }

    /// Sends a request and does not wait for the answer.
    pub(crate) fn ask(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> TransactionId {
        let id = self.transaction();
        let mut bytes = Vec::new();
        let mut request = Builder::new(&mut bytes, MessageType::new(method, Class::Request), id);
        fill(&mut request);
        if !self.nonce.is_empty() {
            request.username(USER).realm(REALM).nonce(&self.nonce).integrity(&self.key);
        }
        request.fingerprint();
        request.finish();
        self.socket.send(&bytes).unwrap();
        id
    }

    /// The answer to a request. The nonce of a challenge is for the next.
    pub(crate) fn answer(&mut self, id: TransactionId) -> Result<Vec<u8>, ErrorCode> {
        let mut answer = vec![0; 2048];
        let len = self.socket.recv(&mut answer).expect("the server answers");
        answer.truncate(len);
        let message = Message::parse(&answer).unwrap();
        assert_eq!(message.transaction_id(), id);
        if message.class() == Class::Success {
            return Ok(answer);
        }
        let (code, _) = message.error_code().unwrap().unwrap();
        if matches!(code, ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE) {
            self.nonce = message.nonce().unwrap().unwrap().to_vec();
        }
        Err(code)
    }

    fn transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.next_transaction.to_be_bytes());
        TransactionId(id)
    }
}
