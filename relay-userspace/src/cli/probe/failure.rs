//! What can go wrong between a probe and its server, and what the likely reason is.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::client::PATIENCE;
use crate::auth::printable;
use crate::client::{Carrier, Connection, Connector, Lost};
use crate::stun::ErrorCode;

/// Who does not do what it should, and by what it was asked.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) carrier: Carrier,
    /// Its address; behind a proxy, which alone knows that, its name and port.
    place: String,
}

impl Server {
    /// That of this connector, to which there is this connection.
    pub(super) fn new(connector: &Connector, connection: &Connection) -> Self {
        let place = match connector.proxy() {
            Some(_) => connector.url().authority(),
            None => connection.remote.to_string(),
        };
        Self { carrier: connector.url().carrier, place }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.carrier, self.place)
    }
}

/// Why there is no success response. Shown, it says what the likely reason is.
#[derive(Debug)]
pub(super) enum Failure {
    NoAnswer(Server),
    NotStun(Server),
    NothingListens(Server),
    Refused {
        code: ErrorCode,
        reason: String,
    },
    Redirected {
        server: SocketAddr,
        domain: Option<String>,
        signed: bool,
    },
    NotSigned,
    Malformed(String),
    Lost {
        server: Server,
        lost: Lost,
        /// Whether it had answered in TURN before.
        answered: bool,
    },
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
            Self::Lost { server, lost, answered } => {
                write!(f, "{server}: {lost}")?;
                match (lost, server.carrier) {
                    (Lost::NotTurn(_), _) => f.write_str(": another service listens there"),
                    (Lost::Io(error), Carrier::Udp) if error.kind() == io::ErrorKind::PermissionDenied => {
                        f.write_str(": a firewall of this host forbids it")
                    }
                    (_, Carrier::Tcp | Carrier::Tls) if !answered => f.write_str(
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

#[cfg(test)]
mod tests {
    use super::super::Identity;
    use super::super::client::Client;
    use super::*;
    use crate::client::fakes::{FakeProxy, FakeServer, Speaks};

    #[tokio::test]
    async fn through_a_proxy_it_is_the_server_that_is_named() {
        let server = FakeServer::start(Speaks::Always("HTTP/1.1 400 Bad Request\r\n\r\n"), None).await;
        let port = server.address.port();
        let proxy = FakeProxy::start(None, port).await;
        for (proxy, named) in
            [(None, server.address.to_string()), (Some(proxy.url("")), format!("localhost:{port}"))]
        {
            let url = format!("turn:localhost:{port}?transport=tcp").parse().unwrap();
            let connector = Connector::new(url, proxy, None).unwrap();
            let connection = connector.connect(&mut |_| {}).await.unwrap();
            let identity = Identity { username: "alice".into(), password: "secret".into() };
            let mut client = Client::new(connection, &connector, &identity);
            let said = client.binding().await.map(drop).expect_err("it is no TURN server").to_string();
            let expected = format!("TCP {named}: what arrives is neither STUN nor ChannelData");
            assert!(said.starts_with(&expected), "{said}");
        }
    }
}
