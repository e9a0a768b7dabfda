//! What can go wrong between a probe and its server, and what the likely reason is.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::client::PATIENCE;
use crate::auth::printable;
use crate::stun::ErrorCode;

/// Why there is no success response. Shown, it says what the likely reason is.
#[derive(Debug)]
pub(super) enum Failure {
    NoAnswer(SocketAddr),
    NotStun(SocketAddr),
    NothingListens(SocketAddr),
    Refused { code: ErrorCode, reason: String },
    Redirected { server: SocketAddr, domain: Option<String>, signed: bool },
    NotSigned,
    Malformed(String),
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
            Self::NoAnswer(server) => write!(
                f,
                "no answer from UDP {server} within {} s: is the server down, or a firewall in the way?",
                PATIENCE.as_secs()
            ),
            Self::NotStun(server) => {
                write!(f, "UDP {server} answers, but not in STUN: another service listens there")
            }
            Self::NothingListens(server) => {
                write!(f, "nothing listens on UDP {server} (ICMP port unreachable)")
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
