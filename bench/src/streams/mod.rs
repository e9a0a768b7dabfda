//! Clients over TCP, TLS and WebSockets: real connections of a thread of ours, as no XDP program can make them, each with a peer.
//!
//! A bounded number of packets is on its way at a time, the connections taking turns, a packet and a write each: a call's packets
//! do not come together either. So nothing is lost for want of room, the server always has something to do, and what it takes
//! of its CPU for a packet is the figure. Client and peer share the generator's CPU, which ends before a fast server does.

mod connection;
mod window;

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use turnpike::stun::{Builder, Class, Key, Message, MessageType, Method, TransactionId};
use turnpike_tests::lab::Namespace;

use crate::allocations::{LIFETIME, REFRESH_AFTER, UDP, User, allow_files};
use crate::figures::{Direction, Outcome};
use crate::lab::{Family, Lab};
use crate::runs::setup::Transport;
pub use connection::Connection;

/// The port of listeners for TLS.
pub const TLS_PORT: u16 = 5349;

/// The name in the server's certificate.
pub const NAME: &str = "turn.test";

/// Marks a peer's event.
const PEER: u64 = 1 << 32;

/// The channel that every client has to its peer.
pub const CHANNEL: u16 = 0x4000;

/// A certificate for servers under test, and clients' trust in it.
#[derive(Debug)]
pub struct Identity {
    certificate: String,
    key: String,
    trust: Arc<ClientConfig>,
}

impl Identity {
    /// A new one.
    pub fn new() -> Result<Self> {
        let own = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("a certificate")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(own.cert.der())).context("a certificate to trust")?;
        let trust = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth().into();
        Ok(Self { certificate: own.cert.pem(), key: own.signing_key.serialize_pem(), trust })
    }

    /// Files of the certificate and of its key that only the relay's machine sees.
    pub fn files(&self, relay: &Namespace) -> [String; 2] {
        [("cert.pem", &self.certificate), ("key.pem", &self.key)]
            .map(|(name, text)| relay.keep(name, text).display().to_string())
    }
}

/// Where the lab's server listens for clients over this.
pub fn listener(lab: &Lab, transport: Transport) -> Result<SocketAddr> {
    let mut listener = lab.addresses().listener(Family::V4)?;
    if transport == Transport::Tls {
        listener.set_port(TLS_PORT);
    }
    Ok(listener)
}

/// Clients of one server, with an allocation and a channel to a peer each.
pub struct StreamClients {
    connections: Vec<Connection>,
    /// In the order of the clients, connected to their relayed addresses. No two clients may have one peer in common: with
    /// `--multiplex-peer`, coturn tells allocations apart by it.
    peers: Vec<UdpSocket>,
    /// Clients by their number, peers by theirs and [`PEER`].
    epoll: Epoll,
    login: Login,
    refreshed: Instant,
    /// Of loads: what is left over of an earlier one is known by it.
    run: u32,
}

/// What a client needs to be let in.
struct Login {
    user: User,
    /// The realm that the server named, and the user's key in it.
    realm: Option<(String, Key)>,
    nonces: Vec<Option<Vec<u8>>>,
    transactions: u64,
}

impl StreamClients {
    /// So many clients of the lab's server. To be called where the generator is.
    pub fn make(
        lab: &Lab,
        user: &User,
        transport: Transport,
        count: u32,
        identity: &Identity,
    ) -> Result<Self> {
        Self::make_at(listener(lab, transport)?, lab, user, transport, 0..count, identity)
    }

    /// Those of these numbers, who come to what is at this address: the lab's server, or a way to it.
    pub fn make_at(
        server: SocketAddr,
        lab: &Lab,
        user: &User,
        transport: Transport,
        numbers: Range<u32>,
        identity: &Identity,
    ) -> Result<Self> {
        allow_files()?;
        let (addresses, count) = (lab.addresses(), numbers.len());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let nonces = vec![None; count];
        let login = Login { user: user.clone(), realm: None, nonces, transactions: 0 };
        let mut made = Self {
            connections: Vec::new(),
            peers: Vec::new(),
            epoll,
            login,
            refreshed: Instant::now(),
            run: 0,
        };
        for (n, number) in numbers.enumerate() {
            let client = addresses.client(Family::V4, number)?;
            let connection = Connection::open(client, server, transport, identity)
                .with_context(|| format!("{transport} from {client} to {server}"))?;
            let event = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
            made.epoll.add(connection.as_fd(), event(n as u64)).context("epoll")?;
            made.connections.push(connection);
            let address = addresses.peer(Family::V4, number)?;
            let peer = UdpSocket::bind(address).with_context(|| format!("the peer at {address}"))?;
            peer.connect(made.allocate(n)?).context("the peer's way to its client")?;
            peer.set_nonblocking(true).context("a socket that does not wait")?;
            made.epoll.add(peer.as_fd(), event(PEER | n as u64)).context("epoll")?;
            made.peers.push(peer);
            made.bind(n)?;
        }
        Ok(made)
    }

    /// The clients' connections, each with its peer's socket.
    pub fn into_pairs(self) -> Vec<(Connection, UdpSocket)> {
        self.connections.into_iter().zip(self.peers).collect()
    }

    /// Offers packets of so many bytes of data, and tells what came of them. `cpu` reads the relay's CPU time in seconds.
    pub fn offer(
        &mut self,
        direction: Direction,
        data: u16,
        duration: Duration,
        cpu: &dyn Fn() -> f64,
    ) -> Result<Outcome> {
        self.run += 1;
        self.wait(false)?;
        window::offer(self, direction, data.into(), duration, cpu)
    }

    /// Whether it is time to refresh allocations and channels. To be asked every minute.
    pub fn are_due(&self) -> bool {
        self.refreshed.elapsed() >= REFRESH_AFTER
    }

    /// Refreshes all allocations and channels. To be called while no load is offered.
    pub fn refresh(&mut self) -> Result<()> {
        self.wait(true)?;
        let now = Instant::now();
        for n in 0..self.connections.len() {
            self.ask(n, Method::REFRESH, |request| _ = request.lifetime(LIFETIME))?;
            self.bind(n)?;
        }
        self.refreshed = now;
        Ok(())
    }

    fn wait(&self, waits: bool) -> Result<()> {
        let each = |connection: &Connection| connection.wait(waits);
        self.connections.iter().try_for_each(each).context("a connection's mode")
    }

    fn allocate(&mut self, n: usize) -> Result<SocketAddr> {
        let fill = |request: &mut Builder<'_>| _ = request.requested_transport(UDP).lifetime(LIFETIME);
        let answer = self.ask(n, Method::ALLOCATE, fill)?;
        let relayed = Message::parse(&answer).ok().and_then(|answer| answer.xor_relayed_address().ok()?);
        relayed.context("the server's answer to an Allocate request has no readable XOR-RELAYED-ADDRESS")
    }

    fn bind(&mut self, n: usize) -> Result<()> {
        let peer = self.peers[n].local_addr().context("the peer's address")?;
        self.ask(n, Method::CHANNEL_BIND, |request| {
            _ = request.channel_number(CHANNEL).xor_peer_address(peer)
        })?;
        Ok(())
    }

    /// Makes a request, with credentials once the server has challenged it; the answer.
    fn ask(&mut self, n: usize, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Result<Vec<u8>> {
        let Self { connections, login, .. } = self;
        // One challenge, and one more where the nonce had grown old.
        for _ in 0..3 {
            login.transactions += 1;
            let mut id = [0; 12];
            id[4..].copy_from_slice(&login.transactions.to_be_bytes());
            let mut bytes = Vec::new();
            let kind = MessageType::new(method, Class::Request);
            let mut request = Builder::new(&mut bytes, kind, TransactionId(id));
            fill(&mut request);
            if let (Some((realm, key)), Some(nonce)) = (&login.realm, &login.nonces[n]) {
                request.username(&login.user.name).realm(realm).nonce(nonce).integrity(key);
            }
            let answer = connections[n].exchange(&bytes, TransactionId(id))?;
            let read = Message::parse(&answer).context("an answer that cannot be read")?;
            if read.class() == Class::Success {
                return Ok(answer);
            }
            let Ok(Some(nonce)) = read.nonce() else {
                bail!("{method} is refused: {:?}", read.error_code());
            };
            login.nonces[n] = Some(nonce.to_vec());
            if let (None, Ok(Some(realm))) = (&login.realm, read.realm()) {
                let key = Key::long_term(&login.user.name, realm, &login.user.password);
                login.realm = Some((realm.to_owned(), key));
            }
        }
        bail!("{method} is challenged again and again: is the password right?")
    }
}

/// Bytes of data that say which packet it is.
pub(crate) const STAMP: u16 = 12;

/// Whether data of so many bytes has room for what is written into it.
fn room(data: usize) -> Result<()> {
    ensure!(data >= usize::from(STAMP), "{data} bytes of data are too few: {STAMP} say which packet it is");
    Ok(())
}
