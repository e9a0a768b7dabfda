//! Why a connection does not come about, and at which step.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::connect::Step;
use super::dtls::DtlsFailure;
use super::proxy::Refusal;
use super::tls::{TlsFailure, TrustError};
use super::websocket::UpgradeFailure;

/// The step that failed, and why.
#[derive(Debug)]
pub struct Failed {
    /// Where it ended.
    pub step: Step,
    /// Why.
    pub why: Failure,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.why)
    }
}

impl std::error::Error for Failed {}

/// Why a step failed. Shown, it says what the likely reason is and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The name is not known.
    #[error("the name {host} is not known here ({why}): is it written right, and does DNS work?{}", by_proxy(*.proxy))]
    Name {
        /// What was looked up.
        host: String,
        /// What the resolver said.
        why: String,
        /// Whether it is the proxy's name.
        proxy: bool,
    },
    /// A TCP connection was refused.
    #[error("{0} refuses the connection: nothing listens there, or a firewall rejects it")]
    Refused(Remote),
    /// There is no answer at all.
    #[error("{0} does not answer within {1} s: the host is down, or a firewall drops TCP to this port")]
    Silent(Remote, u64),
    /// There is no way there.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(Remote, io::Error),
    /// A proxy says no.
    #[error(transparent)]
    Proxy(#[from] Refusal),
    /// There is nobody to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The handshake failed.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// There is no WebSocket.
    #[error(transparent)]
    WebSocket(#[from] UpgradeFailure),
    /// The DTLS handshake failed.
    #[error(transparent)]
    Dtls(#[from] DtlsFailure),
    /// A socket cannot be had.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Who is connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Where.
    pub address: SocketAddr,
    /// Whether it is the proxy and not the server.
    pub is_proxy: bool,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.is_proxy { "the proxy " } else { "" };
        write!(f, "{who}{}", self.address)
    }
}

fn by_proxy(proxy: bool) -> &'static str {
    if proxy { " It is the proxy's name." } else { "" }
}
