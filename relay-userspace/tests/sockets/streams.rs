//! Clients over TCP and TLS, and an acceptor that hands their connections to a server as a front desk does.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use turnpike::net::{ClientStream, Framing, Place, Server};
use turnpike::stun::{Builder, Class, ErrorCode, Key, Message, MessageType, Method, TransactionId};
use turnpike::turn::Transport;

use super::client::PATIENCE;
use super::server::{PASSWORD, REALM, USER};

/// A listener of a server for clients over TCP or TLS.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// What clients are to trust, over TLS.
    roots: Option<Arc<ClientConfig>>,
}

impl Door {
    pub(crate) fn tcp(server: &Server) -> Self {
        Self { address: accept(server, None), roots: None }
    }

    pub(crate) fn tls(server: &Server) -> Self {
        let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let chain = vec![own.cert.der().clone()];
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { address: accept(server, Some(config.into())), roots: Some(client.into()) }
    }

    pub(crate) fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let wire = match &self.roots {
            None => Wire::Tcp(socket),
            Some(roots) => {
                let name = ServerName::try_from("turn.test").unwrap();
                let tls = ClientConnection::new(Arc::clone(roots), name).unwrap();
                Wire::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        let key = Key::long_term(USER, REALM, PASSWORD);
        Client { wire, key, nonce: Vec::new(), transactions: 0 }
    }
}

fn accept(server: &Server, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let ip: IpAddr = server.listeners()[0].ip();
    let (listener, streams) = (TcpListener::bind((ip, 0)).unwrap(), server.streams());
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let (tls, streams) = (tls.clone(), streams.clone());
            thread::spawn(move || {
                let Ok(client) = socket.peer_addr() else { return };
                let mut connection = None;
                if let Some(config) = tls {
                    let mut tls = Box::new(ServerConnection::new(config).unwrap());
                    while tls.is_handshaking() {
                        if tls.complete_io(&mut socket).is_err() {
                            return;
                        }
                    }
                    connection = Some(tls);
                }
                let mut early = Vec::new();
                if let Some(tls) = &mut connection {
                    let _ = tls.reader().read_to_end(&mut early);
                }
                streams.admit(ClientStream {
                    socket,
                    transport: if connection.is_some() { Transport::Tls } else { Transport::Tcp },
                    tls: connection,
                    framing: Framing::Turn,
                    client,
                    listener: address,
                    early,
                    place: Place::default(),
                });
            });
        }
    });
    address
}

/// A client's connection: of TURN at first, and perhaps of bytes later.
pub(crate) struct Client {
    wire: Wire,
    key: Key,
    nonce: Vec<u8>,
    transactions: u32,
}

enum Wire {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Tcp(socket) => socket.read(to),
            Wire::Tls(tls) => tls.read(to),
        }
    }
}

impl Client {
    /// TURN over TCP: its relayed transport address.
    pub(crate) fn allocate_tcp(&mut self) -> SocketAddr {
        let answer = self.request(Method::ALLOCATE, |b| _ = b.requested_transport(6)).unwrap();
        Message::parse(&answer).unwrap().xor_relayed_address().unwrap().unwrap()
    }

    pub(crate) fn connect_to(&mut self, peer: SocketAddr) -> Result<u32, ErrorCode> {
        let answer = self.request(Method::CONNECT, |b| _ = b.xor_peer_address(peer))?;
        Ok(Message::parse(&answer).unwrap().connection_id().unwrap().expect("CONNECTION-ID"))
    }

    /// Makes the connection that of a peer's data.
    pub(crate) fn bind(&mut self, connection: u32) -> Result<(), ErrorCode> {
        self.request(Method::CONNECTION_BIND, |b| _ = b.connection_id(connection)).map(drop)
    }

    /// The same, with data right behind the request.
    pub(crate) fn bind_and_send(&mut self, connection: u32, data: &[u8]) {
        self.request(Method::CONNECTION_BIND, |b| _ = b.connection_id(connection ^ 1)).unwrap_err();
        let mut bytes = self.signed(Method::CONNECTION_BIND, |b| _ = b.connection_id(connection));
        bytes.extend_from_slice(data);
        self.send(&bytes);
        let answer = self.message();
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
    }

    /// The next ConnectionAttempt indication: the connection, and the peer.
    pub(crate) fn attempt(&mut self) -> (u32, SocketAddr) {
        let bytes = self.message();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.method(), message.class()), (Method::CONNECTION_ATTEMPT, Class::Indication));
        (message.connection_id().unwrap().unwrap(), message.xor_peer_address().unwrap().unwrap())
    }

    pub(crate) fn request(
        &mut self,
        method: Method,
        fill: impl Fn(&mut Builder<'_>),
    ) -> Result<Vec<u8>, ErrorCode> {
        loop {
            let request = self.signed(method, &fill);
            self.send(&request);
            let answer = self.message();
            let message = Message::parse(&answer).unwrap();
            assert_eq!(message.method(), method);
            if message.class() == Class::Success {
                return Ok(answer);
            }
            let (code, _) = message.error_code().unwrap().unwrap();
            let challenged = [ErrorCode::UNAUTHENTICATED, ErrorCode::STALE_NONCE].contains(&code);
            match message.nonce().unwrap() {
                Some(nonce) if challenged && nonce != self.nonce => self.nonce = nonce.to_vec(),
                _ => return Err(code),
            }
        }
    }

    fn signed(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Vec<u8> {
        self.transactions += 1;
        let mut id = [0x11; 12];
        id[..4].copy_from_slice(&self.transactions.to_be_bytes());
        let mut bytes = Vec::new();
        let request = MessageType::new(method, Class::Request);
        let mut builder = Builder::new(&mut bytes, request, TransactionId(id));
        fill(&mut builder);
        if !self.nonce.is_empty() {
            builder.username(USER).realm(REALM).nonce(&self.nonce).integrity(&self.key);
        }
        bytes
    }

    /// A whole message, and not a byte more.
    fn message(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        self.wire.read_exact(&mut bytes).expect("a message");
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        bytes.resize(20 + length, 0);
        self.wire.read_exact(&mut bytes[20..]).expect("the rest of a message");
        bytes
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        match &mut self.wire {
            Wire::Tcp(socket) => socket.write_all(data).unwrap(),
            Wire::Tls(tls) => tls.write_all(data).and_then(|()| tls.flush()).unwrap(),
        }
    }

    pub(crate) fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.wire.read_exact(&mut bytes).expect("data");
        bytes
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) {
        match &mut self.wire {
            Wire::Tcp(socket) => socket.shutdown(std::net::Shutdown::Write).unwrap(),
            Wire::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush().unwrap();
                tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
            }
        }
    }

    /// All that comes until the other end has finished, or broke off.
    pub(crate) fn receive_all(&mut self) -> Vec<u8> {
        rest_of(&mut self.wire)
    }
}

/// All that comes until the other end has finished, or broke off.
pub(crate) fn rest_of(from: &mut impl Read) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return all,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) if [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof].contains(&error.kind()) => {
                return all;
            }
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }
}
