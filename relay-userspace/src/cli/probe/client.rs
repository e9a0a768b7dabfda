//! A TURN client (RFC 8656), as much of it as a probe needs, over whatever carries its messages.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use relay_common::channel;
use tokio::time::timeout_at;

use super::Identity;
use super::failure::{Failure, Server};
use crate::client::{Connection, Connector, Incoming, Lost};
use crate::stun::{
    AddressFamily, Builder, Class, ErrorCode, Key, Message, MessageType, Method, PasswordAlgorithm,
    TransactionId,
};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// After this a request is sent again, then after twice the time and so on (RFC 8489 section 6.2.1).
const RETRANSMIT_AFTER: Duration = Duration::from_millis(500);

/// Most packets kept that peers sent while an answer was waited for.
const MOST_EARLY: usize = 1000;

/// REQUESTED-TRANSPORT of an allocation that relays UDP.
const UDP: u8 = 17;

/// One client: a connection and what it knows of the server.
pub(super) struct Client {
    connection: Connection,
    server: Server,
    identity: Identity,
    challenge: Option<Challenge>,
    /// What peers sent while an answer was waited for.
    early: VecDeque<Received>,
    /// Whether something came that is neither an answer nor from a peer.
    strange: bool,
}

struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS as it came, and the algorithm chosen from it.
    offer: Option<(Vec<u8>, PasswordAlgorithm)>,
    key: Key,
}

impl Challenge {
    /// The credentials of a request, as RFC 8489 section 9.2.5 has them for what the server offered.
    fn answer(&self, username: &str, request: &mut Builder<'_>) {
        request.username(username).realm(&self.realm).nonce(&self.nonce);
        match &self.offer {
            Some((offered, chosen)) => {
                request.password_algorithms(offered).password_algorithm(*chosen).integrity_sha256(&self.key)
            }
            None => request.integrity(&self.key),
        };
    }
}

/// The way a packet takes between client and server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// A Send or Data indication with this peer.
    Indication(SocketAddr),
    /// ChannelData.
    Channel(u16),
}

/// What a peer sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Received {
    pub(super) via: Via,
    pub(super) payload: Vec<u8>,
}

/// A success response.
pub(super) struct Answer {
    datagram: Vec<u8>,
    /// How often the request was sent.
    pub(super) attempts: u32,
    /// From the last of them to the answer.
    pub(super) round_trip: Duration,
}

impl Client {
    pub(super) fn new(connection: Connection, connector: &Connector, identity: &Identity) -> Self {
        Self {
            server: Server::new(connector, &connection),
            connection,
            identity: identity.clone(),
            challenge: None,
            early: VecDeque::new(),
            strange: false,
        }
    }

    /// A Binding request: RFC 8489 section 2.
    pub(super) async fn binding(&mut self) -> Result<(SocketAddr, Answer), Failure> {
        let answer = self.attempt(Method::BINDING, &|_| {}).await?;
        let address = answer.message().xor_mapped_address();
        Ok((wanted("XOR-MAPPED-ADDRESS", address)?, answer))
    }

    /// An Allocate request without credentials, which has to be answered 401 (RFC 8489 section 9.2.4). Keeps the
    /// server's realm and nonce for the requests that follow and returns the realm.
    pub(super) async fn challenge(&mut self) -> Result<String, Failure> {
        self.challenge = None;
        let add = |request: &mut Builder<'_>| {
            request.requested_transport(UDP);
        };
        match self.attempt(Method::ALLOCATE, &add).await {
            Ok(_) => Err(Failure::Malformed(
                "an allocation without a user name or password: this server is open to everybody".into(),
            )),
            Err(Failure::Refused { code: ErrorCode::UNAUTHENTICATED, .. }) => match &self.challenge {
                Some(challenge) => Ok(challenge.realm.clone()),
                None => Err(Failure::Malformed("a 401 without REALM and NONCE".into())),
            },
            Err(failure) => Err(failure),
        }
    }

    /// An Allocate request: the relayed transport address, and the lifetime. A server without IPv4 has to refuse what
    /// names no family (RFC 8656 section 7.2), and is asked for IPv6 then.
    pub(super) async fn allocate(&mut self) -> Result<(SocketAddr, Duration), Failure> {
        let plain = |request: &mut Builder<'_>| {
            request.requested_transport(UDP);
        };
        let answer = match self.request(Method::ALLOCATE, &plain).await {
            Err(Failure::Refused { code: ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED, .. }) => {
                let of_ipv6 = |request: &mut Builder<'_>| {
                    request.requested_transport(UDP).requested_address_family(AddressFamily::V6);
                };
                self.request(Method::ALLOCATE, &of_ipv6).await?
            }
            other => other?,
        };
        let message = answer.message();
        let relayed = wanted("XOR-RELAYED-ADDRESS", message.xor_relayed_address())?;
        Ok((relayed, wanted("LIFETIME", message.lifetime())?))
    }

    /// A CreatePermission request.
    pub(super) async fn permit(&mut self, peer: SocketAddr) -> Result<(), Failure> {
        let add = |request: &mut Builder<'_>| {
            request.xor_peer_address(peer);
        };
        self.request(Method::CREATE_PERMISSION, &add).await.map(drop)
    }

    /// A ChannelBind request.
    pub(super) async fn bind(&mut self, number: u16, peer: SocketAddr) -> Result<(), Failure> {
        let add = |request: &mut Builder<'_>| {
            request.channel_number(number).xor_peer_address(peer);
        };
        self.request(Method::CHANNEL_BIND, &add).await.map(drop)
    }

    /// A Refresh request with a lifetime of zero, which ends the allocation.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        let add = |request: &mut Builder<'_>| {
            request.lifetime(Duration::ZERO);
        };
        self.request(Method::REFRESH, &add).await.map(drop)
    }

    /// Closes the connection.
    pub(super) async fn close(mut self) {
        self.connection.sender.close().await;
    }

    /// Sends a payload to a peer.
    pub(super) async fn send(&mut self, via: Via, payload: &[u8]) -> Result<(), Failure> {
        let mut datagram = Vec::with_capacity(payload.len() + 64);
        match via {
            Via::Indication(peer) => {
                let kind = MessageType::new(Method::SEND, Class::Indication);
                let mut indication = Builder::new(&mut datagram, kind, transaction_id()?);
                indication.xor_peer_address(peer).data(payload).map_err(io::Error::other)?;
            }
            Via::Channel(number) => {
                let length = u16::try_from(payload.len()).map_err(io::Error::other)?;
                datagram.extend(number.to_be_bytes());
                datagram.extend(length.to_be_bytes());
                datagram.extend(payload);
            }
        }
        self.connection.sender.send(&datagram).await.map_err(|lost| self.explain(lost))
    }

    /// The next thing that a peer sent, `None` when nothing came in time.
    pub(super) async fn receive(&mut self, within: Duration) -> Result<Option<Received>, Failure> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(received) = self.early.pop_front() {
                return Ok(Some(received));
            }
            let Some(datagram) = self.message(deadline).await? else { return Ok(None) };
            self.early.extend(from_peer(&datagram));
        }
    }

    /// An authenticated request. A nonce that went stale is replaced once (RFC 8489 section 9.2.5).
    async fn request(&mut self, method: Method, add: &dyn Fn(&mut Builder<'_>)) -> Result<Answer, Failure> {
        let answer = match self.attempt(method, add).await {
            Err(Failure::Refused { code: ErrorCode::STALE_NONCE, .. }) => self.attempt(method, add).await?,
            outcome => outcome?,
        };
        match &self.challenge {
            Some(challenge) if !answer.message().is_authentic(&challenge.key) => Err(Failure::NotSigned),
            _ => Ok(answer),
        }
    }

    /// Sends a request, again and again if need be, until the answer is here.
    async fn attempt(&mut self, method: Method, add: &dyn Fn(&mut Builder<'_>)) -> Result<Answer, Failure> {
        let id = transaction_id()?;
        let mut datagram = Vec::new();
        let mut request = Builder::new(&mut datagram, MessageType::new(method, Class::Request), id);
        add(&mut request);
        if let Some(challenge) = &self.challenge {
            challenge.answer(&self.identity.username, &mut request);
        }
        request.fingerprint();

        let give_up = Instant::now() + PATIENCE;
        // RFC 8489 section 6.2.2: over a reliable transport a request is sent once.
        let mut wait = if self.server.carrier.is_datagram() { RETRANSMIT_AFTER } else { PATIENCE };
        for attempts in 1.. {
            let sent = Instant::now();
            if sent >= give_up {
                break;
            }
            self.connection.sender.send(&datagram).await.map_err(|lost| self.explain(lost))?;
            if let Some(datagram) = self.answer_to(id, give_up.min(sent + wait)).await? {
                return self.read_answer(Answer { datagram, attempts, round_trip: sent.elapsed() });
            }
            wait *= 2;
        }
        let server = self.server.clone();
        Err(if self.strange { Failure::NotStun(server) } else { Failure::NoAnswer(server) })
    }

    /// The message that answers a transaction; what peers send meanwhile is kept.
    async fn answer_to(&mut self, id: TransactionId, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        while let Some(datagram) = self.message(deadline).await? {
            let is_answer = Message::parse(&datagram).is_ok_and(|message| {
                message.transaction_id() == id && matches!(message.class(), Class::Success | Class::Error)
            });
            if is_answer {
                return Ok(Some(datagram));
            }
            match from_peer(&datagram) {
                Some(received) if self.early.len() < MOST_EARLY => self.early.push_back(received),
                Some(_) => {}
                None => self.strange = true,
            }
        }
        Ok(None)
    }

    fn read_answer(&mut self, answer: Answer) -> Result<Answer, Failure> {
        let message = answer.message();
        if message.class() == Class::Success {
            return Ok(answer);
        }
        if let (Ok(Some(realm)), Ok(Some(nonce))) = (message.realm(), message.nonce()) {
            let Identity { username, password } = &self.identity;
            let chosen = message.password_algorithms().and_then(PasswordAlgorithm::first_of);
            let algorithm = chosen.unwrap_or(PasswordAlgorithm::Md5);
            let key = Key::with_algorithm(algorithm, username, realm, password);
            let offered = message.password_algorithms().map(<[u8]>::to_vec);
            let (realm, nonce) = (realm.to_owned(), nonce.to_vec());
            self.challenge = Some(Challenge { realm, nonce, offer: offered.zip(chosen), key });
        }
        let (code, reason) = wanted("ERROR-CODE", message.error_code())?;
        match (code, message.alternate_server()) {
            (ErrorCode::TRY_ALTERNATE, Ok(Some(server))) => Err(Failure::Redirected {
                server,
                domain: message.alternate_domain().ok().flatten().map(str::to_owned),
                signed: self.challenge.as_ref().is_some_and(|c| message.is_authentic(&c.key)),
            }),
            _ => Err(Failure::Refused { code, reason: reason.to_owned() }),
        }
    }

    /// One message from the server, `None` when none came before the deadline.
    async fn message(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            match timeout_at(deadline.into(), self.connection.receiver.receive()).await {
                Ok(Ok(Incoming::Message(message))) => return Ok(Some(message)),
                Ok(Ok(Incoming::Alive)) => {}
                Ok(Err(lost)) => return Err(self.explain(lost)),
                Err(_) => return Ok(None),
            }
        }
    }

    fn explain(&self, lost: Lost) -> Failure {
        match lost {
            Lost::Io(e) if e.kind() == ErrorKind::ConnectionRefused && self.server.carrier.is_datagram() => {
                Failure::NothingListens(self.server.clone())
            }
            lost => Failure::Lost { server: self.server.clone(), lost, answered: self.challenge.is_some() },
        }
    }
}

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.datagram).expect("only messages that were read before are answers")
    }
}

/// The value of an attribute that the answer must have.
fn wanted<T, E: fmt::Display>(name: &str, value: Result<Option<T>, E>) -> Result<T, Failure> {
    match value {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Failure::Malformed(format!("an answer without {name}: is this a TURN server?"))),
        Err(error) => Err(Failure::Malformed(format!("an answer with a {error}"))),
    }
}

/// What a datagram brings from a peer, if it does.
fn from_peer(datagram: &[u8]) -> Option<Received> {
    if let Some((&[a, b, c, d], rest)) = datagram.split_first_chunk::<{ channel::HEADER_LEN }>() {
        let (number, length) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if channel::is_channel(number) {
            let payload = rest.get(..length.into())?.to_vec();
            return Some(Received { via: Via::Channel(number), payload });
        }
    }
    let message = Message::parse(datagram).ok()?;
    if message.message_type() != MessageType::new(Method::DATA, Class::Indication) {
        return None;
    }
    let peer = message.xor_peer_address().ok()??;
    Some(Received { via: Via::Indication(peer), payload: message.data()?.to_vec() })
}

fn transaction_id() -> io::Result<TransactionId> {
    let mut id = [0; 12];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    Ok(TransactionId(id))
}
