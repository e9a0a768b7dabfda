//! Sockets towards peers: a relayed transport address is listened on, and connections leave from it all the same.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::super::limits;
use super::{Happening, Incoming, Shard};
use crate::turn::{ConnectionId, PeerAddr, RelayAddr};

/// Most connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 64;

/// Most connections of a relayed transport address that wait for the shard's decision. The next ones wait in the kernel, so
/// that a flood of them fills no mailbox.
const UNDECIDED: usize = 16;

/// How long nothing is accepted when there is no descriptor for it.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens a relayed transport address of TCP.
///
/// It is bound with `SO_REUSEADDR` alone, which another program's listener on the port refuses, and which connections that
/// ended a moment ago do not (`TIME_WAIT`). `SO_REUSEPORT` is set afterwards: it lets sockets of this process alone, which
/// have it too, connect from the port.
pub(super) fn open(relayed: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if relayed.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    limits::leave_reserve(&fd)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if relayed.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(relayed))?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// Accepts what peers connect, and asks the shard about each. RFC 6062 section 5.3: "The server MUST accept the connection",
/// whoever it is from.
pub(super) async fn accept(listener: Arc<TcpListener>, relayed: RelayAddr, opening: u64, shard: Shard) {
    let places = Arc::new(Semaphore::new(UNDECIDED));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = match listener.accept().await {
            Ok((socket, peer)) => ready(&socket).map(|()| (socket, peer)),
            Err(error) => Err(error),
        };
        match accepted {
            Ok((socket, peer)) => {
                let peer = PeerAddr(peer);
                shard.tell(Happening::Incoming(Incoming { relayed, peer, opening, socket, _place: place }));
            }
            // The peer's own doing, or no descriptor: it may be better in a moment.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Connects to a peer, and tells the shard how it went.
pub(super) async fn connect(
    connection: ConnectionId,
    relayed: SocketAddr,
    peer: SocketAddr,
    shard: &Shard,
) -> Option<TcpStream> {
    match connect_from(relayed, peer).await {
        Ok(socket) => {
            shard.tell(Happening::Connected(connection));
            Some(socket)
        }
        Err(error) => {
            tracing::debug!(%connection, relayed = %relayed, %peer, %error, "no connection to a peer");
            shard.tell(Happening::Failed(connection));
            None
        }
    }
}

async fn connect_from(relayed: SocketAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = if relayed.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(relayed)?;
    let socket = socket.connect(peer).await?;
    ready(&socket)?;
    Ok(socket)
}

/// What holds for every connection with a peer: none takes the last descriptors, and one whose peer is gone without a word is
/// noticed.
fn ready(socket: &TcpStream) -> io::Result<()> {
    limits::leave_reserve(socket)?;
    socket.set_nodelay(true)?;
    setsockopt(&socket.as_fd(), sockopt::KeepAlive, &true)?;
    Ok(())
}
