//! A TURN client over a stream, as plain as can be, and the acceptor that it meets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use turnpike::net::{ClientStream, ConnectionKind, Framing, Place, Server};
use turnpike::stun::{Builder, Class, ErrorCode, Key, Message, MessageType, Method, TransactionId};
use turnpike::turn::Transport;

use super::server::{PASSWORD, REALM, USER};

/// How long a test waits for what must come. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const KINDS: [ConnectionKind; 4] =
    [ConnectionKind::Tcp, ConnectionKind::Tls, ConnectionKind::Ws, ConnectionKind::Wss];

/// Both ends of a stream.
pub(crate) trait Wire: Read + Write + Send {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// A client of one server.
pub(crate) struct Client {
    pub(crate) wire: Box<dyn Wire>,
    websocket: bool,
    key: Key,
    nonce: Vec<u8>,
    next_transaction: u32,
    /// What was read and not looked at.
    input: Vec<u8>,
}

pub(crate) fn tls() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static CONFIGS: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let certified = rcgen::generate_simple_self_signed(["turn.test".into()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let certificate = certified.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    })
}

/// The two ends of a TCP connection on the loopback, the server's first.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    (server, client)
}

/// A stream as acceptors hand it over.
pub(crate) fn stream(
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    framing: Framing,
) -> ClientStream {
    let (client, listener) = (socket.peer_addr().unwrap(), socket.local_addr().unwrap());
    let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
    ClientStream {
        socket,
        tls,
        framing,
        client,
        listener,
        transport,
        early: Vec::new(),
        place: Place::default(),
    }
}

/// A connection of this kind after all handshakes, and what the acceptor has of it.
pub(crate) fn connect(kind: ConnectionKind) -> (ClientStream, Box<dyn Wire>) {
    let (server, client) = pair();
    let accepting = thread::spawn(move || accept(server, kind));
    let client = connect_by(client, kind);
    (accepting.join().unwrap(), client)
}

/// The acceptor's part.
fn accept(mut socket: TcpStream, kind: ConnectionKind) -> ClientStream {
    let framing = match kind {
        ConnectionKind::Tcp | ConnectionKind::Tls => Framing::Turn,
        ConnectionKind::Ws | ConnectionKind::Wss => Framing::WebSocket,
        ConnectionKind::Dtls => panic!("no stream"),
    };
    if matches!(kind, ConnectionKind::Tcp | ConnectionKind::Ws) {
        return stream(socket, None, framing);
    }
    let mut tls = ServerConnection::new(Arc::clone(&tls().0)).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).unwrap();
    }
    stream(socket, Some(Box::new(tls)), framing)
}

/// The client's part.
fn connect_by(socket: TcpStream, kind: ConnectionKind) -> Box<dyn Wire> {
    if matches!(kind, ConnectionKind::Tcp | ConnectionKind::Ws) {
        return Box::new(socket);
    }
    let name = ServerName::try_from("turn.test").unwrap();
    let tls = ClientConnection::new(Arc::clone(&tls().1), name).unwrap();
    let mut client = StreamOwned::new(tls, socket);
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    Box::new(client)
}

impl Client {
    /// Connects to a server.
    pub(crate) fn new(server: &Server, kind: ConnectionKind) -> Self {
        let (stream, wire) = connect(kind);
        server.streams().admit(stream);
        Self::over(wire, matches!(kind, ConnectionKind::Ws | ConnectionKind::Wss))
    }

    pub(crate) fn over(wire: Box<dyn Wire>, websocket: bool) -> Self {
        let key = Key::long_term(USER, REALM, PASSWORD);
        Self { wire, websocket, key, nonce: Vec::new(), next_transaction: 0, input: Vec::new() }
    }

    /// Sends a message as its framing has it.
    pub(crate) fn send(&mut self, message: &[u8]) {
        let bytes = self.framed(message);
        self.wire.write_all(&bytes).unwrap();
    }

    /// A message as it is sent.
    pub(crate) fn framed(&self, message: &[u8]) -> Vec<u8> {
        let padded = [message, &[0; 3][..message.len().next_multiple_of(4) - message.len()]].concat();
        if self.websocket { frame(0x82, message) } else { padded }
    }

    /// Waits for the next message; without its padding. `None`: the server closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.websocket {
                if let Some((0x82, payload)) = self.take_frame() {
                    return Some(unpadded(&payload));
                }
            } else if let [first, _, l0, l1, ..] = self.input[..] {
                let length = usize::from(u16::from_be_bytes([l0, l1])) + if first < 0x40 { 20 } else { 4 };
                let padded = length.next_multiple_of(4);
                if self.input.len() >= padded {
                    let message = self.input[..length].to_vec();
                    self.input.drain(..padded);
                    return Some(message);
                }
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Waits for the next frame of a WebSocket: its first byte, and its payload.
    pub(crate) fn receive_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            if !self.read() {
                return None;
            }
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let &[first, second, ref rest @ ..] = &self.input[..] else { return None };
        let (length, header) = match second {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let payload = self.input.get(header..header + length)?.to_vec();
        self.input.drain(..header + length);
        Some((first, payload))
    }

    /// Whether there was more to read.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.wire.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        let answer = self.request(Method::ALLOCATE, |b| _ = b.requested_transport(17)).unwrap();
        Message::parse(&answer).unwrap().xor_relayed_address().unwrap().unwrap()
    }

    pub(crate) fn allocate_mobile(&mut self) -> (SocketAddr, Vec<u8>) {
        let answer = self.request(Method::ALLOCATE, |b| _ = b.requested_transport(17).mobility_ticket(&[]));
        let answer = answer.unwrap();
        let message = Message::parse(&answer).unwrap();
        (message.xor_relayed_address().unwrap().unwrap(), message.mobility_ticket().unwrap().to_vec())
    }

    pub(crate) fn move_here(&mut self, ticket: &[u8]) -> Vec<u8> {
        let answer = self.request(Method::REFRESH, |b| _ = b.mobility_ticket(ticket)).unwrap();
        Message::parse(&answer).unwrap().mobility_ticket().unwrap().to_vec()
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) {
        self.request(Method::CREATE_PERMISSION, |b| _ = b.xor_peer_address(peer)).unwrap();
    }

    pub(crate) fn bind_channel(&mut self, channel: u16, peer: SocketAddr) {
        self.request(Method::CHANNEL_BIND, |b| _ = b.channel_number(channel).xor_peer_address(peer)).unwrap();
    }

    /// A Send indication, not yet sent.
    pub(crate) fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let id = self.transaction();
        let mut bytes = Vec::new();
        let mut indication = Builder::new(&mut bytes, MessageType::new(Method::SEND, Class::Indication), id);
        indication.xor_peer_address(peer).data(payload).unwrap();
        bytes
    }

    /// A Binding request, not yet sent.
    pub(crate) fn binding_request(&mut self) -> Vec<u8> {
        let id = self.transaction();
        let mut bytes = Vec::new();
        Builder::new(&mut bytes, MessageType::new(Method::BINDING, Class::Request), id);
        bytes
    }

    /// Asks until the nonce is accepted; data that comes in between is dropped.
    pub(crate) fn request(
        &mut self,
        method: Method,
        fill: impl Fn(&mut Builder<'_>),
    ) -> Result<Vec<u8>, ErrorCode> {
        for _ in 0..3 {
            let id = self.transaction();
            let mut bytes = Vec::new();
            let mut request = Builder::new(&mut bytes, MessageType::new(method, Class::Request), id);
            fill(&mut request);
            if !self.nonce.is_empty() {
                request.username(USER).realm(REALM).nonce(&self.nonce).integrity(&self.key);
            }
            request.finish();
            self.send(&bytes);
            let answer = loop {
                let answer = self.receive().expect("the server answers");
                if Message::parse(&answer).is_ok_and(|message| message.transaction_id() == id) {
                    break answer;
                }
            };
            let message = Message::parse(&answer).unwrap();
            if message.class() == Class::Success {
                return Ok(answer);
            }
            let (code, _) = message.error_code().unwrap().unwrap();
            match code {
                ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE => {
                    self.nonce = message.nonce().unwrap().unwrap().to_vec();
                }
                _ => return Err(code),
            }
        }
        panic!("the server keeps asking for credentials");
    }

    fn transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.next_transaction.to_be_bytes());
        TransactionId(id)
    }
}

/// ChannelData, not padded.
pub(crate) fn channel_data(channel: u16, payload: &[u8]) -> Vec<u8> {
    [&channel.to_be_bytes()[..], &(payload.len() as u16).to_be_bytes(), payload].concat()
}

/// What a WebSocket's message is without its padding.
fn unpadded(payload: &[u8]) -> Vec<u8> {
    let length = match payload {
        [0x40..=0x7f, _, l0, l1, ..] => 4 + usize::from(u16::from_be_bytes([*l0, *l1])),
        _ => payload.len(),
    };
    assert_eq!(payload.len(), length.next_multiple_of(4), "one message, padded");
    payload[..length].to_vec()
}

/// A frame of a WebSocket client, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        0..126 => frame.push(0x80 | payload.len() as u8),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
