//! Copying between the connection of a client and that of a peer (RFC 6062 sections 5.4 and 5.5).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::super::streams::{ClientStream, Framing};
use super::tls::TlsStream;
use super::{Happening, REPORT, Shard};
use crate::time::Timestamp;
use crate::turn::{Carried, ConnectionId, Direction, Pace};

/// A client's connection after its ConnectionBind request was answered.
#[derive(Debug)]
pub(in super::super) struct Client {
    /// The connection; what the client sent after the request is in `early`.
    pub(in super::super) stream: ClientStream,
    /// What is still to be sent to the client before all else, of the answer: as it goes into the TLS of the connection, if
    /// it has one.
    pub(in super::super) unsent: Vec<u8>,
    /// How fast to copy.
    pub(in super::super) pace: Pace,
    /// How long nothing may come before both connections are closed.
    pub(in super::super) idle: Duration,
    /// Where to count what goes on. The core takes the last of it when the connection ends, whichever side ends it.
    pub(in super::super) carried: Carried,
}

/// Bytes that are on their way from one connection to the other, at most, for each direction.
const BUFFER: usize = 32 << 10;

/// The pieces in which limited data is taken: a meter of datagrams lets these pass.
const PIECE: usize = 1200;

/// How long data waits that the limits do not let pass.
const WAIT: Duration = Duration::from_millis(5);

/// How long the other direction may be silent once one has ended.
const HALF_CLOSED: Duration = Duration::from_secs(60);

/// Copies until both directions have ended, or either fails, or nothing came for too long.
pub(super) async fn carry(connection: ConnectionId, peer: TcpStream, client: Client, shard: &Shard) {
    let Client { stream, unsent, pace, idle, carried } = client;
    let traffic = Traffic { carried, half_closed: AtomicBool::new(false) };
    let joined = async {
        // The core joins no WebSocket: it carries messages.
        if stream.framing != Framing::Turn {
            return Err(io::ErrorKind::Unsupported.into());
        }
        stream.socket.set_nonblocking(true)?;
        let socket = TcpStream::from_std(stream.socket)?;
        match stream.tls {
            None => both_ways(socket, unsent, peer, stream.early, &pace, &traffic).await,
            Some(tls) => {
                both_ways(TlsStream::new(socket, tls), unsent, peer, stream.early, &pace, &traffic).await
            }
        }
    };
    tokio::select! {
        copied = joined => if let Err(error) = copied {
            tracing::debug!(%connection, %error, "a connection of a TCP allocation ended");
        },
        () = watch(connection, &traffic, idle, shard) => {}
    }
}

async fn both_ways(
    client: impl AsyncRead + AsyncWrite,
    unsent: Vec<u8>,
    mut peer: TcpStream,
    early: Vec<u8>,
    pace: &Pace,
    traffic: &Traffic,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_peer, mut to_peer) = peer.split();
    let forth = async {
        let mut way = Copying { direction: Direction::ToPeer, pace, traffic };
        way.send(&early, &mut to_peer).await?;
        way.copy(&mut from_client, &mut to_peer).await
    };
    let back = async {
        to_client.write_all(&unsent).await?;
        to_client.flush().await?;
        Copying { direction: Direction::ToClient, pace, traffic }.copy(&mut from_peer, &mut to_client).await
    };
    tokio::try_join!(forth, back).map(|_| ())
}

/// One direction.
struct Copying<'a> {
    direction: Direction,
    pace: &'a Pace,
    traffic: &'a Traffic,
}

impl Copying<'_> {
    /// Copies to the end, and passes the end on: the other direction may have more to carry.
    async fn copy(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                self.traffic.half_closed.store(true, Relaxed);
                return to.shutdown().await;
            }
            self.send(&buffer[..read], to).await?;
        }
    }

    async fn send(&mut self, data: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let most = if self.pace.is_limited() { PIECE } else { BUFFER };
        for piece in data.chunks(most) {
            while !self.pace.take(self.direction, Timestamp::now(), piece.len()) {
                sleep(WAIT).await;
            }
            // The task is aborted where it waits next, and it may not have to wait.
            if self.traffic.carried.is_over() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            to.write_all(piece).await?;
            self.traffic.carried.add(self.direction, piece.len());
        }
        to.flush().await
    }
}

/// What both directions and the watch know of each other.
struct Traffic {
    carried: Carried,
    half_closed: AtomicBool,
}

/// Reports what is carried, and returns when nothing was for too long.
async fn watch(connection: ConnectionId, traffic: &Traffic, idle: Duration, shard: &Shard) {
    let mut last = Instant::now();
    loop {
        sleep(REPORT).await;
        if traffic.carried.any() {
            shard.tell(Happening::Carried(connection));
            last = Instant::now();
        }
        let most = if traffic.half_closed.load(Relaxed) { HALF_CLOSED.min(idle) } else { idle };
        if last.elapsed() >= most {
            return;
        }
    }
}
