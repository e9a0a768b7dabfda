//! Requests and answers of many clients at once.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use turnpike::stun::{Builder, Class, ErrorCode, Key, Message, MessageType, Method, TransactionId};

use super::User;
use super::refusal::explain;
use crate::lab::Place;

/// Requests on their way at once: as many as a listener's receive buffer takes that nobody made larger.
const WINDOW: usize = 128;

/// How long an answer may take before the request is sent again (RFC 8489 section 6.2.1).
const RETRY: Duration = Duration::from_millis(500);

/// How long all tries together may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often requests are looked through for those to send again.
const LOOK: Duration = Duration::from_millis(50);

/// Challenges that a request may meet: the first one, and some whose nonce went stale on the way.
const CHALLENGES: u32 = 4;

/// Clients that keep their sockets between exchanges, so that others may send and receive as them. More than so many have
/// them only while they ask: many servers with many clients each are more than a process may have files.
const KEPT: usize = 1024;

/// A client's address, its socket while it has one, and the nonce that the server gave it.
#[derive(Debug)]
struct Client {
    address: SocketAddr,
    socket: Option<UdpSocket>,
    nonce: Option<Vec<u8>>,
}

/// How long an address may still be in use that a client has given up: a process that somebody else starts meanwhile has a copy
/// of its socket until it becomes its program.
const COPIED: Duration = Duration::from_secs(2);

/// A client's socket to this server.
fn connect(address: SocketAddr, server: SocketAddr) -> Result<UdpSocket> {
    let begin = Instant::now();
    let socket = loop {
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begin.elapsed() < COPIED => {
                thread::sleep(Duration::from_millis(1));
            }
            bound => break bound,
        }
    };
    let socket = socket.with_context(|| {
        format!("the client at {address}: is the address this machine's and the port free?")
    })?;
    socket.set_nonblocking(true).context("a socket that does not wait")?;
    socket.connect(server).with_context(|| format!("from {address} to {server}"))?;
    Ok(socket)
}

/// A request to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Job {
    /// Whose.
    pub(super) client: u32,
    /// What is asked.
    pub(super) method: Method,
    /// Which of the client's bindings is the first that it is for.
    pub(super) first: u32,
}

/// The clients of one server.
#[derive(Debug)]
pub(super) struct Exchange {
    clients: Vec<Client>,
    /// Where they are.
    place: Place,
    epoll: Epoll,
    server: SocketAddr,
    user: User,
    /// The realm that the server named, and the user's key in it.
    realm: Option<(String, Key)>,
    /// The newest nonce. A server that binds nonces to nobody takes it from a client that has none yet.
    nonce: Option<Vec<u8>>,
    /// The beginning of all transaction ids. A server may take one that it has answered before, from the same port, for a request
    /// sent again, and this program may have had the port before.
    run: [u8; 4],
    transactions: u64,
}

/// A request on its way.
struct Pending {
    job: Job,
    bytes: Vec<u8>,
    first_sent: Instant,
    sent: Instant,
    challenges: u32,
}

type InFlight = HashMap<TransactionId, Pending>;

impl Exchange {
    /// Clients at these addresses of this place.
    pub(super) fn new(
        place: Place,
        clients: Vec<SocketAddr>,
        server: SocketAddr,
        user: &User,
    ) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let client = |address| Client { address, socket: None, nonce: None };
        let user = user.clone();
        Ok(Self {
            clients: clients.into_iter().map(client).collect(),
            place,
            epoll,
            server,
            user,
            realm: None,
            nonce: None,
            run: rand::random(),
            transactions: 0,
        })
    }

    /// A client's socket; `None` where there are too many clients to keep theirs.
    pub(super) fn socket(&self, client: u32) -> Option<&UdpSocket> {
        self.clients[client as usize].socket.as_ref()
    }

    /// Makes all of these requests: `fill` writes one's attributes, `done` is told the answers. Ends with the first refusal.
    pub(super) fn run(
        &mut self,
        jobs: impl Iterator<Item = Job>,
        fill: impl Fn(&Job, &mut Builder<'_>),
        done: impl FnMut(&Job, &Message<'_>) -> Result<()>,
    ) -> Result<()> {
        self.open()?;
        let result = self.exchange(jobs, fill, done);
        if self.clients.len() > KEPT {
            // Closed, they leave epoll too.
            self.clients.iter_mut().for_each(|client| client.socket = None);
        }
        result
    }

    fn open(&mut self) -> Result<()> {
        let Self { clients, epoll, server, .. } = self;
        let open = || {
            for (index, client) in
                clients.iter_mut().enumerate().filter(|(_, client)| client.socket.is_none())
            {
                let socket = connect(client.address, *server)?;
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).context("epoll")?;
                client.socket = Some(socket);
            }
            Ok(())
        };
        self.place.enter(open)
    }

    fn exchange(
        &mut self,
        mut jobs: impl Iterator<Item = Job>,
        fill: impl Fn(&Job, &mut Builder<'_>),
        mut done: impl FnMut(&Job, &Message<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut in_flight = InFlight::new();
        let mut events = [EpollEvent::empty(); WINDOW];
        let mut buffer = [0; 2048];
        let mut look = Instant::now() + LOOK;
        loop {
            while in_flight.len() < WINDOW
                && let Some(job) = jobs.next()
            {
                self.ask(job, 0, &fill, &mut in_flight)?;
            }
            if in_flight.is_empty() {
                return Ok(());
            }
            let timeout = EpollTimeout::try_from(LOOK).expect("a short time");
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => return Err(e).context("epoll"),
            };
            for event in &events[..ready] {
                let client = event.data() as u32;
                let Some(length) = self.receive(client, &mut buffer)? else { continue };
                // What is no STUN message is a peer's data.
                let Ok(answer) = Message::parse(&buffer[..length]) else { continue };
                let id = answer.transaction_id();
                let Some(pending) = in_flight.remove(&id) else { continue };
                if answer.class() == Class::Success {
                    done(&pending.job, &answer)?;
                } else {
                    let challenges = self.refused(&pending, &answer)?;
                    self.ask(pending.job, challenges, &fill, &mut in_flight)?;
                }
            }
            if Instant::now() >= look {
                self.ask_again(&mut in_flight)?;
                look = Instant::now() + LOOK;
            }
        }
    }

    fn ask(
        &mut self,
        job: Job,
        challenges: u32,
        fill: &impl Fn(&Job, &mut Builder<'_>),
        in_flight: &mut InFlight,
    ) -> Result<()> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.run);
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        let id = TransactionId(id);
        let mut bytes = Vec::with_capacity(256);
        let mut request = Builder::new(&mut bytes, MessageType::new(job.method, Class::Request), id);
        fill(&job, &mut request);
        let nonce = self.clients[job.client as usize].nonce.as_ref().or(self.nonce.as_ref());
        if let (Some((realm, key)), Some(nonce)) = (&self.realm, nonce) {
            request.username(&self.user.name).realm(realm).nonce(nonce).integrity(key);
        }
        self.send(job.client, &bytes)?;
        let now = Instant::now();
        in_flight.insert(id, Pending { job, bytes, first_sent: now, sent: now, challenges });
        Ok(())
    }

    fn ask_again(&mut self, in_flight: &mut InFlight) -> Result<()> {
        let now = Instant::now();
        for pending in in_flight.values_mut().filter(|pending| now - pending.sent >= RETRY) {
            if now - pending.first_sent >= PATIENCE {
                bail!(
                    "no answer from {} to {} within {PATIENCE:?}: does it listen there, and can it keep up?",
                    self.server,
                    pending.job.method
                );
            }
            pending.sent = now;
            self.send(pending.job.client, &pending.bytes)?;
        }
        Ok(())
    }

    /// Takes a challenge's realm and nonce, and counts it. What is no challenge is an error.
    fn refused(&mut self, pending: &Pending, answer: &Message<'_>) -> Result<u32> {
        let unreadable = || format!("{} sent an error that can't be read", self.server);
        let (code, reason) = answer.error_code().ok().flatten().with_context(unreadable)?;
        let challenge = matches!(code, ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE);
        if !challenge || pending.challenges == CHALLENGES {
            bail!(explain(self.server, pending.job.method, code, reason));
        }
        let (Ok(Some(realm)), Ok(Some(nonce))) = (answer.realm(), answer.nonce()) else {
            bail!(
                "{} sent a challenge without REALM or NONCE: does it use long-term credentials?",
                self.server
            );
        };
        if self.realm.as_ref().is_none_or(|(known, _)| known != realm) {
            let key = Key::long_term(&self.user.name, realm, &self.user.password);
            self.realm = Some((realm.to_owned(), key));
        }
        self.nonce = Some(nonce.to_vec());
        self.clients[pending.job.client as usize].nonce = self.nonce.clone();
        Ok(pending.challenges + 1)
    }

    fn send(&self, client: u32, bytes: &[u8]) -> Result<()> {
        match self.socket(client).map(|socket| socket.send(bytes)) {
            Some(Err(e)) => self.tolerate(e),
            _ => Ok(()),
        }
    }

    fn receive(&self, client: u32, buffer: &mut [u8]) -> Result<Option<usize>> {
        match self.socket(client).map(|socket| socket.recv(buffer)) {
            Some(Ok(length)) => Ok(Some(length)),
            Some(Err(e)) => self.tolerate(e).map(|()| None),
            None => Ok(None),
        }
    }

    /// A full buffer is like a lost packet; an ICMP error means that nobody is there.
    fn tolerate(&self, error: std::io::Error) -> Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
            ErrorKind::ConnectionRefused => {
                bail!("nobody listens at {}: start the TURN server first", self.server)
            }
            _ => Err(error).with_context(|| format!("to {}", self.server)),
        }
    }
}
