//! A simulated client.

use std::net::SocketAddr;

use turnpike::stun::{
    AddressFamily, AttributeType, Builder, Class, Integrity, Key, Message, MessageType, Method,
    PasswordAlgorithm, TransactionId, userhash,
};
use turnpike::turn::{ClientAddr, FiveTuple, Transport};

use super::{PASSWORD, REALM, Seen, Sim, USER, addr, to_client};

/// One client socket with its credentials.
#[derive(Clone, Debug)]
pub struct Client {
    pub five_tuple: FiveTuple,
    pub username: String,
    pub password: String,
    pub realm: String,
    pub nonce: Vec<u8>,
    /// PASSWORD-ALGORITHM; `None` is a client that does not know of it.
    pub algorithm: Option<PasswordAlgorithm>,
    /// What to repeat beside it.
    pub offered: Option<Vec<u8>>,
    pub integrity: Integrity,
    /// Sends USERHASH and not USERNAME.
    pub anonymous: bool,
    pub origin: Option<String>,
    pub transactions: u32,
}

/// A response, and whether the client may believe it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply(pub Vec<u8>);

impl Client {
    /// The user of the configuration, at a port of 192.0.2.9.
    pub fn new(port: u16) -> Self {
        Self::with(port, USER, PASSWORD)
    }

    pub fn with(port: u16, username: &str, password: &str) -> Self {
        let five_tuple = FiveTuple {
            client: ClientAddr(SocketAddr::new([192, 0, 2, 9].into(), port)),
            listener: addr("198.51.100.7:3478"),
            transport: Transport::Udp,
        };
        Self {
            five_tuple,
            username: username.into(),
            password: password.into(),
            realm: REALM.into(),
            nonce: Vec::new(),
            algorithm: None,
            offered: None,
            integrity: Integrity::Sha1,
            anonymous: false,
            origin: None,
            transactions: 0,
        }
    }

    /// One that does all that RFC 8489 added, but for USERHASH.
    pub fn modern(self) -> Self {
        Self { algorithm: Some(PasswordAlgorithm::Sha256), integrity: Integrity::Sha256, ..self }
    }

    /// One that hides its name.
    pub fn anonymous(self) -> Self {
        Self { anonymous: true, ..self }
    }

    pub fn key(&self) -> Key {
        let algorithm = self.algorithm.unwrap_or(PasswordAlgorithm::Md5);
        Key::with_algorithm(algorithm, &self.username, &self.realm, &self.password)
    }

    /// Adds what a request needs of credentials, all but the integrity.
    pub fn credentials(&self, builder: &mut Builder<'_>) {
        if let Some(origin) = &self.origin {
            builder.bytes(AttributeType::ORIGIN, origin.as_bytes());
        }
        if self.anonymous {
            builder.userhash(&userhash(&self.username, &self.realm));
        } else {
            builder.username(&self.username);
        }
        builder.realm(&self.realm).nonce(&self.nonce);
        if let Some(algorithm) = self.algorithm {
            if let Some(offered) = &self.offered {
                builder.password_algorithms(offered);
            }
            builder.password_algorithm(algorithm);
        }
    }

    /// A transaction id that no other message has.
    pub fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0x55; 12];
        id[..2].copy_from_slice(&self.five_tuple.client.0.port().to_be_bytes());
        id[8..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }

    /// A request with credentials, not yet sent.
    pub fn signed(&mut self, method: Method, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let id = self.transaction();
        let mut builder = Builder::new(&mut bytes, MessageType::new(method, Class::Request), id);
        fill(&mut builder);
        self.credentials(&mut builder);
        builder.sign(&self.key(), self.integrity);
        bytes
    }

    /// A message without credentials, not yet sent.
    pub fn plain(&mut self, method: Method, class: Class, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let id = self.transaction();
        fill(&mut Builder::new(&mut bytes, MessageType::new(method, class), id));
        bytes
    }

    /// Sends a datagram and returns its only response.
    pub fn exchange(&self, sim: &mut Sim, datagram: &[u8]) -> Reply {
        let seen = sim.client_sends(self.five_tuple, datagram);
        let reply = Reply(to_client(&seen).unwrap_or_else(|| panic!("no answer: {seen:?}")).to_vec());
        let request = Message::parse(datagram).unwrap();
        assert_eq!(reply.message().transaction_id(), request.transaction_id());
        assert_eq!(reply.message().method(), request.method());
        reply
    }

    /// Asks the server for a nonce, as every client does first.
    pub fn learn_nonce(&mut self, sim: &mut Sim) {
        let origin = self.origin.clone();
        let request = self.plain(Method::ALLOCATE, Class::Request, |b| {
            b.requested_transport(17);
            if let Some(origin) = &origin {
                b.bytes(AttributeType::ORIGIN, origin.as_bytes());
            }
        });
        let reply = self.exchange(sim, &request);
        assert_eq!(reply.code(), 401);
        self.learn_from(&reply);
    }

    /// Takes nonce and offer, and the realm, from a challenge.
    pub fn learn_from(&mut self, challenge: &Reply) {
        let message = challenge.message();
        self.realm = message.realm().unwrap().expect("REALM").into();
        self.nonce = message.nonce().unwrap().expect("NONCE").to_vec();
        self.offered = message.password_algorithms().map(Into::into);
    }

    /// Sends an authenticated request, getting a nonce when the one at hand is missing or stale. The response must
    /// be authentic.
    pub fn request(&mut self, sim: &mut Sim, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Reply {
        if self.nonce.is_empty() {
            self.learn_nonce(sim);
        }
        let request = self.signed(method, &fill);
        let mut reply = self.exchange(sim, &request);
        if reply.code() == 438 {
            self.learn_from(&reply);
            let request = self.signed(method, fill);
            reply = self.exchange(sim, &request);
        }
        assert!(reply.code() == 401 || reply.message().is_authentic(&self.key()), "{reply:?}");
        reply
    }

    pub fn allocate(&mut self, sim: &mut Sim) -> Reply {
        self.request(sim, Method::ALLOCATE, |b| {
            b.requested_transport(17);
        })
    }

    /// Asks for a relayed address of each family.
    pub fn allocate_both(&mut self, sim: &mut Sim) -> Reply {
        self.request(sim, Method::ALLOCATE, |b| {
            b.requested_transport(17).additional_address_family(AddressFamily::V6);
        })
    }

    /// Asks for a relayed address of this family.
    pub fn allocate_of(&mut self, sim: &mut Sim, family: AddressFamily) -> Reply {
        self.request(sim, Method::ALLOCATE, |b| {
            b.requested_transport(17).requested_address_family(family);
        })
    }

    /// Refreshes the relayed address of one family.
    pub fn refresh_of(&mut self, sim: &mut Sim, family: AddressFamily, seconds: u64) -> Reply {
        self.request(sim, Method::REFRESH, |b| {
            b.lifetime(std::time::Duration::from_secs(seconds)).requested_address_family(family);
        })
    }

    /// Allocates and returns the relayed transport address.
    pub fn allocated(&mut self, sim: &mut Sim) -> SocketAddr {
        self.allocate(sim).relayed()
    }

    pub fn refresh(&mut self, sim: &mut Sim, seconds: u64) -> Reply {
        self.request(sim, Method::REFRESH, |b| {
            b.lifetime(std::time::Duration::from_secs(seconds));
        })
    }

    /// Allocates asking for a ticket, and returns the relayed transport address and the ticket.
    pub fn allocated_mobile(&mut self, sim: &mut Sim) -> (SocketAddr, Vec<u8>) {
        let reply = self.request(sim, Method::ALLOCATE, |b| {
            b.requested_transport(17).mobility_ticket(&[]);
        });
        (reply.relayed(), reply.ticket())
    }

    /// The same client at another port, where it has no nonce yet.
    pub fn moved(&self, port: u16) -> Self {
        let Self { username, password, .. } = self;
        Self::with(port, username, password)
    }

    /// Refreshes with a ticket.
    pub fn refresh_with(&mut self, sim: &mut Sim, ticket: &[u8]) -> Reply {
        self.request(sim, Method::REFRESH, |b| {
            b.mobility_ticket(ticket);
        })
    }

    pub fn permit(&mut self, sim: &mut Sim, peers: &[SocketAddr]) -> Reply {
        self.request(sim, Method::CREATE_PERMISSION, |b| {
            for &peer in peers {
                b.xor_peer_address(peer);
            }
        })
    }

    pub fn bind(&mut self, sim: &mut Sim, number: u16, peer: SocketAddr) -> Reply {
        self.request(sim, Method::CHANNEL_BIND, |b| {
            b.channel_number(number).xor_peer_address(peer);
        })
    }

    pub fn send(&mut self, sim: &mut Sim, peer: SocketAddr, data: &[u8]) -> Vec<Seen> {
        let indication = self.plain(Method::SEND, Class::Indication, |b| {
            b.xor_peer_address(peer).data(data).unwrap();
        });
        sim.client_sends(self.five_tuple, &indication)
    }

    pub fn channel_data(&self, sim: &mut Sim, number: u16, data: &[u8]) -> Vec<Seen> {
        sim.client_sends(self.five_tuple, &channel_data(number, data))
    }
}

/// ChannelData without padding.
pub fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

impl Reply {
    pub fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("the server sends well-formed messages")
    }

    /// The error code; 0 for a success response.
    pub fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => self.message().error_code().unwrap().expect("errors have a code").0.get(),
        }
    }

    pub fn relayed(&self) -> SocketAddr {
        assert_eq!(self.code(), 0);
        self.message().xor_relayed_address().unwrap().expect("XOR-RELAYED-ADDRESS")
    }

    pub fn ticket(&self) -> Vec<u8> {
        assert_eq!(self.code(), 0);
        self.message().mobility_ticket().expect("MOBILITY-TICKET").to_vec()
    }

    /// All relayed transport addresses, in the order of the answer.
    pub fn all_relayed(&self) -> Vec<SocketAddr> {
        assert_eq!(self.code(), 0);
        self.message().xor_relayed_addresses().map(Result::unwrap).collect()
    }

    /// The family that could not be had, and its error code.
    pub fn address_error(&self) -> Option<(AddressFamily, u16)> {
        self.message().address_error_code().unwrap().map(|(family, code)| (family, code.get()))
    }

    pub fn lifetime(&self) -> u64 {
        assert_eq!(self.code(), 0);
        self.message().lifetime().unwrap().expect("LIFETIME").as_secs()
    }
}
