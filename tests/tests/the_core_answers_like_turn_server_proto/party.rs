//! Clients of both servers, and the requests that they make.

use turnpike::stun::{Builder, Class, Key, Method};
use turnpike::time::Timestamp;
use turnpike::turn::FiveTuple;

use crate::common::{Client, PASSWORD, REALM, USER};

pub(crate) const BOB: (&str, &str) = ("bob", "builder");

/// A client of both servers: the same user at the same address, with a nonce from each.
pub(crate) struct Party {
    pub ours: Client,
    pub theirs: Client,
    pub(crate) learned: Option<Timestamp>,
    /// What it sent last, and what both were told about it.
    pub last: Option<([Vec<u8>; 2], About, Timestamp)>,
}

/// What the receiver of a datagram cannot know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub user: String,
    pub defect: Defect,
    pub key: Option<Key>,
}

/// What is wrong with a request's credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Defect {
    #[default]
    None,
    NoIntegrity,
    NoUsername,
    NoRealm,
    NoNonce,
    WrongPassword,
    UnknownUser,
    StaleNonce,
    /// Another REALM than the key was made with.
    OtherRealm,
}

impl Party {
    pub(crate) fn new(port: u16) -> Self {
        Self::of(port, (USER, PASSWORD))
    }

    pub(crate) fn of(port: u16, user: (&str, &str)) -> Self {
        Self::with(Client::with(port, user.0, user.1))
    }

    pub(crate) fn with(client: Client) -> Self {
        Self { ours: client.clone(), theirs: client, learned: None, last: None }
    }

    pub(crate) fn five_tuple(&self) -> FiveTuple {
        self.ours.five_tuple
    }

    /// The same address in other hands.
    pub(crate) fn become_user(&mut self, (name, password): (&str, &str)) {
        for client in [&mut self.ours, &mut self.theirs] {
            client.username = name.into();
            client.password = password.into();
        }
    }

    /// A request for each server.
    pub(crate) fn request(
        &mut self,
        method: Method,
        defect: Defect,
        fingerprint: bool,
        fill: &dyn Fn(&mut Builder<'_>),
    ) -> ([Vec<u8>; 2], About) {
        let datagrams = [&mut self.ours, &mut self.theirs].map(|client| {
            let mut faulty = client.clone();
            match defect {
                Defect::WrongPassword => faulty.password = "guessed".into(),
                Defect::UnknownUser => faulty.username = "mallory".into(),
                Defect::StaleNonce => faulty.nonce = b"it was never given out".to_vec(),
                _ => {}
            }
            let mut key = faulty.key();
            if defect == Defect::OtherRealm {
                key = client.key();
                faulty.realm = "example.net".into();
            }
            client.plain(method, Class::Request, |b| {
                fill(b);
                match defect {
                    Defect::NoIntegrity => {}
                    Defect::NoUsername => drop(b.realm(REALM).nonce(&faulty.nonce)),
                    Defect::NoRealm => drop(b.username(&faulty.username).nonce(&faulty.nonce)),
                    Defect::NoNonce => drop(b.username(&faulty.username).realm(REALM)),
                    _ => faulty.credentials(b),
                }
                if defect != Defect::NoIntegrity {
                    b.sign(&key, faulty.integrity);
                }
                if fingerprint {
                    b.fingerprint();
                }
            })
        });
        (datagrams, About { user: self.ours.username.clone(), defect, key: Some(self.ours.key()) })
    }
}
