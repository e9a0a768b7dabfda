//! DTLS to a server: the handshake, and messages through the association that it makes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::connection::Lost;
use super::failure::Failure;
use super::tls::Trust;
use super::url::ServerUrl;
use crate::dtls::{Call, CallFailed, ToDo};

/// Room for any datagram.
const LONGEST: usize = 1 << 16;

/// Alerts that say what is wrong (RFC 5246 section 7.2).
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// An association with a server, for both directions at once.
#[derive(Clone, Debug)]
pub(super) struct Associated(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: UdpSocket,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    call: Call,
    /// To be sent.
    out: VecDeque<Vec<u8>>,
    /// From the server.
    heard: VecDeque<Vec<u8>>,
    is_closed: bool,
    certificate: Option<Vec<u8>>,
    /// When there is something to do again.
    wait: Instant,
}

/// Why there is no association. Shown, it says what the likely reason is.
#[derive(Debug, thiserror::Error)]
pub enum DtlsFailure {
    /// No answer.
    #[error(
        "no answer to the ClientHello within {0} s: is the server down, does it serve DTLS there, or is UDP blocked by a \
         firewall?"
    )]
    Silent(u64),
    /// The host says that the port is closed.
    #[error("nothing listens there (ICMP port unreachable)")]
    NothingListens,
    /// The server said no.
    #[error("the server refuses by DTLS alert {alert}{hint}", alert = .0, hint = hint(*.0))]
    Alert(u8),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

fn hint(alert: u8) -> &'static str {
    match alert {
        HANDSHAKE_FAILURE => {
            ": it has nothing in common with us. Is its certificate one of ECDSA, which is all that we know in DTLS?"
        }
        PROTOCOL_VERSION => ": it does not speak DTLS 1.2",
        _ => "",
    }
}

impl From<CallFailed> for DtlsFailure {
    fn from(failed: CallFailed) -> Self {
        match failed {
            CallFailed::Alert(alert) => Self::Alert(alert),
            failed => Self::Other(failed.to_string()),
        }
    }
}

/// A handshake with the server of a URL, to which the socket is connected. What it is, for a report, comes with it.
pub(super) async fn handshake(
    socket: UdpSocket,
    url: &ServerUrl,
    trust: &Trust,
    patience: Duration,
) -> Result<(Associated, String), Failure> {
    let deadline = Instant::now() + patience;
    let silent = || DtlsFailure::Silent(patience.as_secs());
    let call = Call::new(patience).map_err(DtlsFailure::from)?;
    let state = State {
        call,
        out: VecDeque::new(),
        heard: VecDeque::new(),
        is_closed: false,
        certificate: None,
        wait: deadline,
    };
    let associated = Associated(Arc::new(Inner { socket, state: Mutex::new(state) }));
    associated.state().take_steps();
    let mut is_trusted = false;
    loop {
        associated.send_waiting().await.map_err(of_socket)?;
        let (certificate, is_connected, wait) = {
            let mut state = associated.state();
            (state.certificate.take(), state.call.is_connected(), state.wait)
        };
        // Before anything is said that only the server may hear.
        if let Some(certificate) = certificate {
            trust.check(&certificate, &url.host)?;
            is_trusted = true;
        }
        if is_connected && !is_trusted {
            return Err(DtlsFailure::Other("the server has shown no certificate".into()).into());
        }
        if is_connected {
            let detail = format!("DTLS 1.2, the certificate is for {} and trusted", url.host);
            return Ok((associated, detail));
        }
        let mut datagram = vec![0; LONGEST];
        let received = timeout_at(wait.min(deadline).into(), associated.0.socket.recv(&mut datagram)).await;
        let taken = match received {
            Ok(received) => {
                let length = received.map_err(of_socket)?;
                associated.state().take(&datagram[..length])
            }
            Err(_) if Instant::now() >= deadline => return Err(silent().into()),
            Err(_) => associated.state().pass_time(),
        };
        match taken {
            Err(CallFailed::Silent) => return Err(silent().into()),
            taken => taken.map_err(DtlsFailure::from)?,
        }
        if associated.state().is_closed {
            return Err(DtlsFailure::Other("the server ended the handshake".into()).into());
        }
    }
}

fn of_socket(error: io::Error) -> DtlsFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => DtlsFailure::NothingListens,
        _ => DtlsFailure::Other(error.to_string()),
    }
}

impl Associated {
    /// Sends a message.
    pub(super) async fn send(&self, message: &[u8]) -> Result<(), Lost> {
        {
            let mut state = self.state();
            state.call.say(message)?;
            state.take_steps();
        }
        Ok(self.send_waiting().await?)
    }

    /// The next message. May be given up and called again: nothing is lost.
    pub(super) async fn receive(&self) -> Result<Vec<u8>, Lost> {
        let mut datagram = vec![0; LONGEST];
        loop {
            {
                let mut state = self.state();
                if let Some(message) = state.heard.pop_front() {
                    return Ok(message);
                }
                if state.is_closed {
                    return Err(Lost::Closed(String::new()));
                }
            }
            let length = self.0.socket.recv(&mut datagram).await?;
            self.state().take(&datagram[..length])?;
            self.send_waiting().await?;
        }
    }

    /// Ends the association.
    pub(super) async fn close(&self) {
        {
            let mut state = self.state();
            state.call.close();
            state.take_steps();
        }
        // The server forgets it in any case.
        let _ = self.send_waiting().await;
    }

    async fn send_waiting(&self) -> io::Result<()> {
        loop {
            let Some(datagram) = self.state().out.pop_front() else { return Ok(()) };
            self.0.socket.send(&datagram).await?;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, datagram: &[u8]) -> Result<(), CallFailed> {
        let taken = self.call.receive(datagram);
        self.take_steps();
        taken
    }

    fn pass_time(&mut self) -> Result<(), CallFailed> {
        let passed = self.call.pass_time();
        self.take_steps();
        passed
    }

    fn take_steps(&mut self) {
        loop {
            match self.call.poll() {
                ToDo::Send(datagram) => self.out.push_back(datagram),
                ToDo::Certificate(certificate) => self.certificate = Some(certificate),
                ToDo::Heard(message) => self.heard.push_back(message),
                ToDo::Connected => {}
                ToDo::Closed => self.is_closed = true,
                ToDo::Wait(at) => {
                    self.wait = at;
                    return;
                }
            }
        }
    }
}
