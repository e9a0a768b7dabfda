//! What simulated clients send: requests as browsers make them, with MESSAGE-INTEGRITY over a key that was made before.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use turnpike::auth;
use turnpike::stun::{Builder, Class, Key, Message, MessageType, Method, TransactionId};

/// REALM of the server under test.
pub(super) const REALM: &str = "lab.test";
/// Its static user.
pub(super) const USER: &str = "alice";
/// Her password.
pub(super) const PASSWORD: &str = "secret";
/// Its shared secret.
pub(super) const SECRET: &str = "a secret of the bench";

/// The channel that each client binds first.
const CHANNEL: u16 = 0x4000;
/// The port that all clients and peers have: they differ in their addresses.
pub(super) const PORT: u16 = 40_000;
const UDP: u8 = 17;

/// Who the clients are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Users {
    /// All are one user, whose password the server knows.
    OneStatic,
    /// Each has a user name of its own, made from a shared secret.
    TimeLimited,
}

/// One client's credentials.
pub(super) struct User {
    name: String,
    key: Key,
}

impl Users {
    /// Those of the `n`th client.
    pub(super) fn of(self, n: u32) -> User {
        let (name, password) = match self {
            Self::OneStatic => (USER.to_owned(), PASSWORD.to_owned()),
            Self::TimeLimited => auth::time_limited(SECRET, &format!("user-{n}"), tomorrow()),
        };
        User { key: Key::long_term(&name, REALM, &password), name }
    }
}

/// A time of day that every credential of a run has in common.
fn tomorrow() -> u64 {
    let day = Duration::from_secs(86_400).as_secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    (now / day + 2) * day
}

/// Where the `n`th client is: each in a network of its own, or the limit on strangers would be what is measured.
pub(super) fn client(n: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits((16 << 24) + (n << 8) + 7).into(), PORT)
}

/// A peer of the `n`th client.
pub(super) fn peer(n: u32, nth: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits((20 << 24) + (n << 8) + nth + 1).into(), PORT)
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// An allocation.
    Allocate,
    /// The `nth` channel, to a peer of its own.
    Bind(u32),
    /// Another ten minutes.
    Refresh,
    /// The allocation's end.
    End,
}

impl Ask {
    const fn method(self) -> Method {
        match self {
            Self::Allocate => Method::ALLOCATE,
            Self::Bind(_) => Method::CHANNEL_BIND,
            Self::Refresh | Self::End => Method::REFRESH,
        }
    }

    /// Writes the `n`th client's request over what `datagram` holds; without credentials, it will be challenged.
    pub(super) fn write(self, n: u32, serial: u32, with: Option<(&User, &[u8])>, datagram: &mut Vec<u8>) {
        datagram.clear();
        let kind = MessageType::new(self.method(), Class::Request);
        let mut request = Builder::new(datagram, kind, transaction(n, serial));
        match self {
            Self::Allocate => _ = request.requested_transport(UDP),
            Self::Bind(nth) => {
                request.channel_number(CHANNEL + nth as u16).xor_peer_address(peer(n, nth));
            }
            Self::Refresh => _ = request.lifetime(Duration::from_secs(600)),
            Self::End => _ = request.lifetime(Duration::ZERO),
        }
        if let Some((user, nonce)) = with {
            request.username(&user.name).realm(REALM).nonce(nonce).integrity(&user.key);
        }
    }
}

/// The transaction ID says whose answer it is.
fn transaction(n: u32, serial: u32) -> TransactionId {
    let mut id = [0x5a; 12];
    id[..4].copy_from_slice(&n.to_be_bytes());
    id[4..8].copy_from_slice(&serial.to_be_bytes());
    TransactionId(id)
}

/// An answer: to which client and which of its requests, and what it says.
pub(super) struct Answer<'a> {
    pub(super) client: u32,
    pub(super) serial: u32,
    pub(super) message: Message<'a>,
}

impl<'a> Answer<'a> {
    /// `None` for anything else.
    pub(super) fn read(datagram: &'a [u8]) -> Option<Self> {
        let message = Message::parse(datagram).ok()?;
        let TransactionId([a, b, c, d, e, f, g, h, ..]) = message.transaction_id();
        let (client, serial) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Some(Self { client, serial, message })
    }

    /// Whether it grants what was asked.
    pub(super) fn is_success(&self) -> bool {
        self.message.class() == Class::Success
    }

    /// Why it does not.
    pub(super) fn refusal(&self) -> Option<String> {
        let error = || match self.message.error_code() {
            Ok(Some((code, reason))) => format!("{} {reason}", code.get()),
            _ => "an answer that cannot be read".to_owned(),
        };
        (!self.is_success()).then(error)
    }

    /// The nonce of a challenge.
    pub(super) fn nonce(&self) -> Option<&'a [u8]> {
        self.message.nonce().ok().flatten().filter(|_| self.message.class() == Class::Error)
    }
}
