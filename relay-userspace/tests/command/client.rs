//! A TURN client that keeps its allocation.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use turnpike::auth::time_limited;
use turnpike::stun::{Builder, Class, ErrorCode, Key, Message, MessageType, Method, TransactionId};

/// A client with a credential of its own.
pub(crate) struct Client {
    socket: UdpSocket,
    username: String,
    password: String,
    /// Realm and nonce of the last challenge.
    challenge: Option<(String, Vec<u8>)>,
    transactions: u32,
}

impl Client {
    pub(crate) fn new(server: Ipv4Addr, username: &str, password: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect((server, 3478)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self {
            socket,
            username: username.into(),
            password: password.into(),
            challenge: None,
            transactions: 0,
        }
    }

    /// With a credential made from a secret, good for years.
    pub(crate) fn of_secret(server: Ipv4Addr, secret: &str, name: &str) -> Self {
        let (username, password) = time_limited(secret, name, 4_000_000_000);
        Self::new(server, &username, &password)
    }

    pub(crate) fn allocate(&mut self) -> Result<(), ErrorCode> {
        self.request(Method::ALLOCATE, |request| _ = request.requested_transport(17))
    }

    pub(crate) fn refresh(&mut self) -> Result<(), ErrorCode> {
        self.request(Method::REFRESH, |_| {})
    }

    pub(crate) fn end(&mut self) -> Result<(), ErrorCode> {
        self.request(Method::REFRESH, |request| _ = request.lifetime(Duration::ZERO))
    }

    /// Answers one challenge.
    fn request(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Result<(), ErrorCode> {
        let first = self.exchange(method, &fill);
        if first == Err(ErrorCode::UNAUTHENTICATED) { self.exchange(method, &fill) } else { first }
    }

    fn exchange(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Result<(), ErrorCode> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.transactions.to_be_bytes());
        let mut bytes = Vec::new();
        let mut request =
            Builder::new(&mut bytes, MessageType::new(method, Class::Request), TransactionId(id));
        fill(&mut request);
        if let Some((realm, nonce)) = &self.challenge {
            let key = Key::long_term(&self.username, realm, &self.password);
            request.username(&self.username).realm(realm).nonce(nonce).integrity(&key);
        }
        request.finish();
        self.socket.send(&bytes).unwrap();

        let mut answer = [0; 2048];
        let len = self.socket.recv(&mut answer).expect("the server answers");
        let answer = Message::parse(&answer[..len]).unwrap();
        assert_eq!(answer.transaction_id(), TransactionId(id));
        if answer.class() == Class::Success {
            return Ok(());
        }
        if let (Some(realm), Some(nonce)) = (answer.realm().unwrap(), answer.nonce().unwrap()) {
            self.challenge = Some((realm.into(), nonce.into()));
        }
        Err(answer.error_code().unwrap().unwrap().0)
    }
}
