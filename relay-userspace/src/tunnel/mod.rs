//! `turnpike tunnel`: a local TURN endpoint for clients that cannot use a web proxy.
//!
//! Each client, by its UDP address or its TCP connection, gets a connection of its own to the server, a WebSocket as a rule.
//! TURN messages are carried as they are, both ways, one a frame: the tunnel knows no credentials, changes no address and keeps
//! no allocation. The server sees one client a connection, as it would without the tunnel, so an allocation ends with its
//! connection, and what the client then asks is answered with 437 (Allocation Mismatch).

mod backoff;
mod journal;
mod listen;
mod queue;
mod session;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::backoff::Pace;
use self::journal::Journal;
use crate::client::Connector;

/// Where local clients come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Local {
    /// `udp://ADDRESS:PORT`
    Udp(SocketAddr),
    /// `tcp://ADDRESS:PORT`
    Tcp(SocketAddr),
}

impl FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write udp://ADDRESS:PORT or tcp://ADDRESS:PORT";
        let (scheme, address) = text.split_once("://").ok_or(FORM)?;
        let address: SocketAddr =
            address.parse().map_err(|_| format!("{address:?} is no ADDRESS:PORT: {FORM}"))?;
        match scheme {
            "udp" => Ok(Self::Udp(address)),
            "tcp" => Ok(Self::Tcp(address)),
            _ => Err(FORM.into()),
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// What a tunnel holds itself to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most clients at once.
    pub clients: usize,
    /// How long a client may be silent, and be sent nothing, before its connection is closed.
    pub idle: Duration,
}

impl Limits {
    /// The default: longer than an allocation lasts that nobody refreshes (RFC 8656 section 3.2 recommends ten minutes).
    pub const IDLE: Duration = Duration::from_secs(15 * 60);

    /// The default number of clients.
    pub const CLIENTS: usize = 1000;
}

/// What all clients of a tunnel have in common.
struct Shared {
    connector: Connector,
    limits: Limits,
    pace: Pace,
    /// One for each client that may come.
    places: Arc<Semaphore>,
    journal: Journal,
    /// Turns true when the tunnel is to stop.
    stop: watch::Receiver<bool>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

/// A tunnel whose sockets are open.
pub struct Tunnel {
    sockets: Vec<Socket>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

/// A socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {local}: {cause}")]
pub struct CannotListen {
    local: Local,
    cause: io::Error,
}

/// How long clients have to say goodbye to the server when the tunnel stops.
const GOODBYE: Duration = Duration::from_secs(2);

impl Tunnel {
    /// Opens the sockets.
    pub async fn open(listen: &[Local], connector: Connector, limits: Limits) -> Result<Self, CannotListen> {
        Self::with_pace(listen, connector, limits, Pace::default()).await
    }

    async fn with_pace(
        listen: &[Local],
        connector: Connector,
        limits: Limits,
        pace: Pace,
    ) -> Result<Self, CannotListen> {
        let mut sockets = Vec::new();
        for &local in listen {
            let opened = match local {
                Local::Udp(address) => UdpSocket::bind(address).await.map(Socket::Udp),
                Local::Tcp(address) => TcpListener::bind(address).await.map(Socket::Tcp),
            };
            sockets.push(opened.map_err(|cause| CannotListen { local, cause })?);
        }
        let (stop, stopped) = watch::channel(false);
        let shared = Shared {
            connector,
            limits,
            pace,
            places: Arc::new(Semaphore::new(limits.clients)),
            journal: Journal::default(),
            stop: stopped,
        };
        Ok(Self { sockets, shared: shared.into(), stop })
    }

    /// Where it listens.
    pub fn listening(&self) -> io::Result<Vec<Local>> {
        let address = |socket: &Socket| match socket {
            Socket::Udp(socket) => socket.local_addr().map(Local::Udp),
            Socket::Tcp(listener) => listener.local_addr().map(Local::Tcp),
        };
        self.sockets.iter().map(address).collect()
    }

    /// Carries messages until `stop` is there; then closes all connections and returns.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut listeners = JoinSet::new();
        for socket in self.sockets {
            let shared = self.shared.clone();
            match socket {
                Socket::Udp(socket) => listeners.spawn(listen::udp(socket, shared)),
                Socket::Tcp(listener) => listeners.spawn(listen::tcp(listener, shared)),
            };
        }
        stop.await;
        listeners.abort_all();
        // Somebody listens: `shared` does.
        let _ = self.stop.send(true);
        let all = u32::try_from(self.shared.limits.clients).unwrap_or(u32::MAX);
        let _ = timeout(GOODBYE, self.shared.places.acquire_many(all)).await;
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("to", self.shared.connector.url()).finish_non_exhaustive()
    }
}
