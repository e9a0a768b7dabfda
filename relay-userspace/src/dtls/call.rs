//! The client's side of an association.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Error, Output};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use super::association::{Failure, MTU};
use super::provider::provider;

/// An association with a server, without a socket: datagrams go in by [`receive`](Self::receive), and what is to be done comes
/// out of [`poll`](Self::poll).
pub struct Call {
    dtls: Dtls,
    /// Room for what dimpl hands out. Of a certificate it wants it beforehand: as much as came in the handshake.
    room: usize,
    is_connected: bool,
    #[cfg(fuzzing)]
    config: Arc<Config>,
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToDo {
    /// A datagram to send to the server.
    Send(Vec<u8>),
    /// The server's certificate, DER, for the caller to believe or not. dimpl shows no other of its chain.
    Certificate(Vec<u8>),
    /// The handshake is over.
    Connected,
    /// A message of the server.
    Heard(Vec<u8>),
    /// The server ends the association.
    Closed,
    /// Nothing, until a datagram comes or this time does: [`Call::pass_time`].
    Wait(Instant),
}

/// An association that cannot come about, or go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallFailed {
    /// No answer, or not a whole one.
    #[error("no answer")]
    Silent,
    /// An alert of the server, by its number (RFC 5246 section 7.2).
    #[error("alert {0}")]
    Alert(u8),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Call {
    /// Begins to call a server, which has `patience` for the handshake.
    pub fn new(patience: Duration) -> Result<Self, CallFailed> {
        let config = Config::builder()
            .with_crypto_provider(provider())
            .mtu(MTU)
            .handshake_timeout(patience)
            .dtls13_cipher_suites(&[])
            .build()?;
        Self::by(Arc::new(config))
    }

    fn by(config: Arc<Config>) -> Result<Self, CallFailed> {
        // dimpl wants a certificate before it knows whether the server asks for one. There is none: a server that does refuses.
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| CallFailed::Other("no random numbers".into()))?;
        let nobody = DtlsCertificate { certificate: vec![0], private_key: key.as_ref().into() };
        #[cfg(fuzzing)]
        let again = Arc::clone(&config);
        let mut dtls = Dtls::new_12(config, nobody, Instant::now());
        dtls.set_active(true);
        dtls.handle_timeout(Instant::now())?;
        Ok(Self {
            dtls,
            room: 2048,
            is_connected: false,
            #[cfg(fuzzing)]
            config: again,
        })
    }

    /// Another with the same patience. dimpl tries what it computes with only for the first, which takes milliseconds.
    #[cfg(fuzzing)]
    pub fn again(&self) -> Result<Self, CallFailed> {
        Self::by(Arc::clone(&self.config))
    }

    /// Whether the handshake is over.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Takes a datagram of the server.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<(), CallFailed> {
        if !self.is_connected {
            self.room += datagram.len();
        }
        self.dtls.handle_timeout(Instant::now())?;
        Ok(self.dtls.handle_packet(datagram)?)
    }

    /// Does what is to be done by now.
    pub fn pass_time(&mut self) -> Result<(), CallFailed> {
        Ok(self.dtls.handle_timeout(Instant::now())?)
    }

    /// Encrypts a message for the server.
    pub fn say(&mut self, message: &[u8]) -> Result<(), CallFailed> {
        self.dtls.send_application_data(message)?;
        Ok(())
    }

    /// Says that nothing more follows.
    pub fn close(&mut self) {
        // There is nothing that could be done otherwise.
        let _ = self.dtls.close();
    }

    /// The next thing to do; to be called until it is to wait.
    pub fn poll(&mut self) -> ToDo {
        let mut buffer = vec![0; self.room];
        loop {
            return match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => ToDo::Send(packet.to_vec()),
                Output::PeerCert(certificate) => ToDo::Certificate(certificate.to_vec()),
                Output::ApplicationData(data) => ToDo::Heard(data.to_vec()),
                Output::Connected => {
                    (self.is_connected, self.room) = (true, 2048);
                    ToDo::Connected
                }
                Output::CloseNotify => ToDo::Closed,
                Output::Timeout(at) => ToDo::Wait(at),
                Output::BufferTooSmall { needed } => {
                    buffer.resize(needed, 0);
                    continue;
                }
                _ => continue,
            };
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

impl From<Error> for CallFailed {
    fn from(error: Error) -> Self {
        match error {
            Error::SecurityError(dimpl::SecurityError::FatalAlert { description }) => {
                Self::Alert(description)
            }
            error if Failure::from(error.clone()) == Failure::TimedOut => Self::Silent,
            error => Self::Other(error.to_string()),
        }
    }
}
