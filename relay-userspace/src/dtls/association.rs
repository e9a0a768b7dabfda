//! One client's association, from the hello with a good cookie on.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Error, Output, SecurityError};

use super::cookie::Cookie;
use super::hello::{self, Alert, Hello};
use super::provider::{provider, with_cookie};

/// Bytes of a datagram of the handshake: what passes everywhere, over IPv6 too.
pub(super) const MTU: usize = 1200;

/// Records that one key may encrypt by AES-GCM. dimpl draws eight bytes of each nonce, so that two of them are equal with a
/// probability of 2^-17 by then; with ChaCha20-Poly1305 they are numbers, and this does not apply.
const MOST_BY_AES_GCM: u64 = 1 << 24;

/// Datagrams that dimpl keeps of a client because they came before their time. A client's flight is two at most.
const MOST_WAITING: usize = 8;

/// Bytes of a message that a record can carry (RFC 5246 section 6.2.1).
pub(crate) const LONGEST_MESSAGE: usize = 1 << 14;

/// How associations are served, for all of them.
#[derive(Clone)]
pub(crate) struct Rules {
    /// For clients that know it.
    chacha20: Arc<Config>,
    aes_gcm: Arc<Config>,
}

/// A certificate with its key, as dimpl takes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, DER: PKCS #8, or SEC 1.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// An association.
pub(crate) struct Association {
    dtls: Dtls,
    /// Of the client's hello.
    random: [u8; 32],
    /// What the numbers of records in the clear are raised by.
    raised_by: u64,
    /// The number of the next such record that is not dimpl's.
    next: u64,
    /// Records that may still be encrypted.
    left: u64,
}

/// What an association has to say next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A datagram to send, of so many bytes.
    Send(usize),
    /// What the client said, of so many bytes.
    Heard(usize),
    /// The handshake is over.
    Connected,
    /// The client says that nothing more follows.
    Closed,
    /// Nothing until then.
    Wait(Instant),
}

/// How an association fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The client did not go on.
    TimedOut,
    /// The client refused, by an alert.
    Refused,
    /// Nothing that both know.
    NothingInCommon,
    /// What the client said was wrong.
    Protocol,
    /// Its keys have encrypted as much as they may.
    WornOut,
}

impl Rules {
    /// Handshakes may take so long. Fails when dimpl does not take what it computes with.
    pub(crate) fn new(handshake_time: Duration) -> Result<Self, Error> {
        use dimpl::crypto::Dtls12CipherSuite as Suite;
        let config = |suites: &[Suite]| {
            let builder = Config::builder()
                .with_crypto_provider(provider())
                .mtu(MTU)
                .handshake_timeout(handshake_time)
                .max_queue_rx(MOST_WAITING)
                .require_client_certificate(false)
                .dtls12_cipher_suites(suites)
                .dtls13_cipher_suites(&[]);
            builder.build().map(Arc::new)
        };
        let aes_gcm = [Suite::ECDHE_ECDSA_AES128_GCM_SHA256, Suite::ECDHE_ECDSA_AES256_GCM_SHA384];
        Ok(Self {
            chacha20: config(&[Suite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256])?,
            aes_gcm: config(&aes_gcm)?,
        })
    }
}

impl Association {
    /// Begins with a hello that brought a good cookie, which `datagram` has.
    pub(crate) fn accept(
        rules: &Rules,
        identity: &Identity,
        (hello, cookie, datagram): (&Hello<'_>, Cookie, &[u8]),
        now: Instant,
    ) -> Result<Self, Failure> {
        // A hello with a cookie is the client's second message (RFC 6347 section 4.2.2).
        if hello.message != 1 {
            return Err(Failure::Protocol);
        }
        let by_chacha20 = hello.offers_chacha20();
        if !by_chacha20 && !hello.offers_aes_gcm() {
            return Err(Failure::NothingInCommon);
        }
        let config = if by_chacha20 { &rules.chacha20 } else { &rules.aes_gcm };
        let Identity { certificate, key } = identity.clone();
        let certificate = DtlsCertificate { certificate, private_key: key };
        let mut dtls = Dtls::new_12(config.clone(), certificate, now);
        with_cookie(cookie, || {
            dtls.handle_timeout(now)?;
            dtls.handle_packet(&hello.without_cookie())?;
            // The client has got this already, from nobody in particular.
            let mut answer = [0; MTU];
            while !matches!(dtls.poll_output(&mut answer), Output::Timeout(_)) {}
            dtls.handle_packet(datagram)
        })
        .map_err(Failure::from)?;
        // RFC 6347 section 4.2.1: the first record has the number of the hello. dimpl's has 1.
        let raised_by = hello.sequence.saturating_sub(1);
        let left = if by_chacha20 { u64::MAX } else { MOST_BY_AES_GCM };
        Ok(Self { dtls, random: hello.random, raised_by, next: hello.sequence, left })
    }

    /// Whether it began with this hello, or with one that is the same but for the cookie.
    pub(crate) fn began_with(&self, hello: &Hello<'_>) -> bool {
        self.random == hello.random
    }

    /// Takes a datagram of the client.
    pub(crate) fn receive(&mut self, datagram: &[u8], now: Instant) -> Result<(), Failure> {
        self.dtls.handle_timeout(now)?;
        Ok(self.dtls.handle_packet(datagram)?)
    }

    /// Does what is to be done by now: to send again what got no answer.
    pub(crate) fn pass_time(&mut self, now: Instant) -> Result<(), Failure> {
        Ok(self.dtls.handle_timeout(now)?)
    }

    /// Encrypts a message for the client: a datagram, by the next [`poll`](Self::poll).
    pub(crate) fn seal(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.left = self.left.checked_sub(1).ok_or(Failure::WornOut)?;
        self.dtls.send_application_data(message)?;
        Ok(())
    }

    /// Says that nothing more follows.
    pub(crate) fn close(&mut self) {
        // There is nothing that could be done otherwise.
        let _ = self.dtls.close();
    }

    /// The next thing to do; to be called until it is to wait. `buffer` takes what is sent or was heard.
    pub(crate) fn poll(&mut self, buffer: &mut Vec<u8>) -> Step {
        loop {
            match self.dtls.poll_output(buffer) {
                Output::Packet(packet) => {
                    let length = packet.len();
                    self.renumber(&mut buffer[..length]);
                    return Step::Send(length);
                }
                Output::ApplicationData(data) => return Step::Heard(data.len()),
                Output::Connected => return Step::Connected,
                Output::CloseNotify => return Step::Closed,
                Output::Timeout(at) => return Step::Wait(at),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                _ => {}
            }
        }
    }

    /// The last that a client hears whose handshake fails.
    pub(crate) fn alert(&self, alert: Alert) -> Vec<u8> {
        alert.record(self.next)
    }

    fn renumber(&mut self, datagram: &mut [u8]) {
        let clear: Vec<_> = hello::clear_numbers(datagram).collect();
        for number in clear {
            self.next = hello::raise(&mut datagram[number], self.raised_by) + 1;
        }
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Association")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout(_) => Self::TimedOut,
            Error::SecurityError(SecurityError::FatalAlert { .. }) => Self::Refused,
            Error::SecurityError(
                SecurityError::NoMutuallyAcceptableCipherSuite
                | SecurityError::ExtendedMasterSecretNotNegotiated
                | SecurityError::NoCommonKeyExchangeGroup
                | SecurityError::UnsupportedClientCompression,
            ) => Self::NothingInCommon,
            _ => Self::Protocol,
        }
    }
}
