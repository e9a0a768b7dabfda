//! What can go wrong between a probe and its server, and what the likely reason is.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::client::PATIENCE;
use crate::auth::printable;
use crate::client::{Carrier, Lost};
use crate::stun::ErrorCode;

/// Who does not do what it should, and by what it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) carrier: Carrier,
    /// The proxy's, where there is one.
    pub(super) address: SocketAddr,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.carrier, self.address)
    }
}

/// Why there is no success response. Shown, it says what the likely reason is.
#[derive(Debug)]
pub(super) enum Failure {
    NoAnswer(Server),
    NotStun(Server),
    NothingListens(Server),
    Refused { code: ErrorCode, reason: String },
    Redirected { server: SocketAddr, domain: Option<String>, signed: bool },
    NotSigned,
    Malformed(String),
    Lost(Server, Lost),
    Socket(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(server) => {
                write!(f, "no answer from {server} within {} s: ", PATIENCE.as_secs())?;
                f.write_str(if server.carrier.is_datagram() {
                    "is the server down, or UDP blocked by a firewall? Then turns: or wss:// may get through"
                } else if server.carrier.is_web_socket() {
                    "does this WebSocket carry TURN?"
                } else {
                    "it is no TURN server, or a firewall that lets only HTTP pass is in the way. wss:// may get through"
                })
            }
            Self::NotStun(server) => {
                write!(f, "{server} answers, but not in STUN: another service listens there")
            }
            Self::NothingListens(server) => {
                write!(f, "nothing listens on {server} (ICMP port unreachable)")
            }
            Self::Lost(server, lost) => {
                write!(f, "{server}: {lost}")?;
                match (lost, server.carrier) {
                    (Lost::NotTurn(_), _) => f.write_str(": another service listens there"),
                    (Lost::Io(error), Carrier::Udp) if error.kind() == io::ErrorKind::PermissionDenied => {
                        f.write_str(": a firewall of this host forbids it")
                    }
                    (_, Carrier::Tcp | Carrier::Tls) => f.write_str(
                        ": it does not serve TURN there, or a firewall that lets only HTTP pass is in the way; wss:// may get through",
                    ),
                    _ => Ok(()),
                }
            }
            Self::Refused { code, reason } => {
                write!(f, "error {code}")?;
                if !reason.is_empty() && reason != code.reason() {
                    write!(f, " ({})", printable(reason))?;
                }
                f.write_str(match *code {
                    ErrorCode::UNAUTHENTICATED => {
                        ": the user or the password is wrong, or the credential has expired"
                    }
                    ErrorCode::FORBIDDEN => ": the server's rules forbid it",
                    ErrorCode::ALLOCATION_QUOTA_REACHED => ": this user holds as many allocations as it may",
                    ErrorCode::INSUFFICIENT_CAPACITY => {
                        ": the server has no relay port left or drains; its log says why else"
                    }
                    ErrorCode::BAD_REQUEST => ": is this a TURN server?",
                    _ => "",
                })
            }
            Self::Redirected { server, domain, signed } => {
                write!(f, "the server sends its clients to {server}")?;
                if let Some(domain) = domain {
                    write!(f, " ({})", printable(domain))?;
                }
                f.write_str(": probe that one")?;
                // RFC 8489 section 14.8: receivers must validate the integrity of a 300.
                if *signed {
                    Ok(())
                } else {
                    f.write_str("; this is not signed, and careful clients will not go")
                }
            }
            Self::NotSigned => f.write_str(
                "the answer is not signed with this password: something in between answers instead",
            ),
            Self::Malformed(what) => f.write_str(what),
            Self::Socket(error) => write!(f, "{error}"),
        }
    }
}
