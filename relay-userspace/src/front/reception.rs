//! What a connection is, from its first byte to the one who serves it.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::conn::{Conn, Parts};
use super::counts::{Kind, Outcome};
use super::demux::{self, Spoken};
use super::desk::{Desk, HTTP, Rules, STUN_DISCOVERY, TURN};
use super::head::Head;
use super::http;
use super::limits::Ticket;
use super::patient::Patient;
use super::proxy_header::{self, Header};
use super::upstream::{complain, connect};
use crate::config::{Endpoint, Listen};
use crate::lobby::Seat;
use crate::net::{ClientStream, Framing, Place};
use crate::turn::Transport;

/// What a connection turned out to be.
enum Found {
    Turn(Conn),
    Http(Conn),
    /// TLS of another server, from its first byte on.
    Foreign(Head<TcpStream>, Endpoint),
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// As a trusted proxy told it, if one did.
    pub(super) client: SocketAddr,
    /// The address that was connected to.
    pub(super) listener: SocketAddr,
}

/// Serves a connection, or finds somebody who does.
pub(super) async fn receive(
    desk: Arc<Desk>,
    rules: Arc<Rules>,
    listen: Listen,
    (socket, peer): (TcpStream, SocketAddr),
    mut ticket: Ticket,
    mut seat: Seat,
) {
    let mut ends = Ends { client: peer, listener: listen.address };
    let limits = rules.streams.limits;
    let found = tokio::select! {
        found = timeout(limits.handshake_time, look(&desk, &rules, listen, socket, &mut ends, &mut ticket)) => {
            found.unwrap_or(Err(Outcome::TooSlow))
        }
        () = seat.is_taken() => Err(Outcome::Displaced),
    };
    drop(seat);
    match found {
        Ok(Found::Turn(conn)) => {
            let outcome = if conn.is_tls() { Outcome::TurnTls } else { Outcome::TurnTcp };
            hand_over(&desk, conn, &[], Framing::Turn, ends, ticket, outcome).await;
        }
        Ok(Found::Http(conn)) => {
            desk.counts.add(Outcome::Http);
            ticket.is(Kind::Http);
            http::serve(desk, rules, conn, ends, ticket).await;
        }
        Ok(Found::Foreign(client, to)) => {
            let server = match connect(&to).await {
                Ok(server) => server,
                Err(error) => {
                    complain(&to, &error);
                    return desk.counts.add(Outcome::PassThroughFailed);
                }
            };
            desk.counts.add(Outcome::PassedThrough);
            ticket.is(Kind::PassedThrough);
            let mut client = Patient::new(client, limits.idle_time);
            let mut server = Patient::new(server, limits.idle_time);
            // Either end may go as it likes.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        Err(outcome) => desk.counts.add(outcome),
    }
}

/// Reads as much as it takes to know what a connection is.
async fn look(
    desk: &Desk,
    rules: &Rules,
    listen: Listen,
    socket: TcpStream,
    ends: &mut Ends,
    ticket: &mut Ticket,
) -> Result<Found, Outcome> {
    let mut head = Head::new(socket);
    if rules.is_proxy(ends.client.ip())
        && let Some(client) = read_proxy_header(&mut head).await?
    {
        ends.client = client;
    }
    ticket.belongs_to(ends.client.ip(), &rules.streams.limits)?;
    if !listen.scheme.is_tls() {
        return match demux::listen(&mut head).await.unwrap_or(Spoken::Gone) {
            Spoken::Turn => Ok(Found::Turn(Conn::Plain(head))),
            Spoken::Http => Ok(Found::Http(Conn::Plain(head))),
            Spoken::Garbage => Err(Outcome::Garbage),
            Spoken::Gone => Err(Outcome::Gone),
        };
    }

    head.record();
    let hello = LazyConfigAcceptor::new(Acceptor::default(), head);
    let mut start = hello.await.map_err(|_| Outcome::TlsFailed)?;
    let passed_to = start.client_hello().server_name().and_then(|name| rules.passed_to(name)).cloned();
    if let Some(to) = passed_to {
        start.io.rewind();
        return Ok(Found::Foreign(start.io, to));
    }
    start.io.forget();
    let stream = start.into_stream(desk.tls.clone()).await.map_err(|_| Outcome::TlsFailed)?;
    let alpn = stream.get_ref().1.alpn_protocol().map(Vec::from);
    let mut head = Head::new(stream);
    if alpn.as_deref() == Some(HTTP) {
        return Ok(Found::Http(Conn::Tls(Box::new(head))));
    }
    let is_turn = alpn.is_some_and(|name| name == TURN || name == STUN_DISCOVERY);
    let spoken = demux::listen(&mut head).await.unwrap_or(Spoken::Gone);
    let conn = Conn::Tls(Box::new(head));
    let outcome = match spoken {
        Spoken::Turn => return Ok(Found::Turn(conn)),
        Spoken::Http if !is_turn => return Ok(Found::Http(conn)),
        Spoken::Http | Spoken::Garbage => Outcome::Garbage,
        Spoken::Gone => Outcome::Gone,
    };
    conn.close().await;
    Err(outcome)
}

/// The client that a proxy speaks for; nobody if it speaks for itself. A proxy must send the header: the specification
/// forbids to guess, because a client behind a proxy that sends none could write one itself.
async fn read_proxy_header(head: &mut Head<TcpStream>) -> Result<Option<SocketAddr>, Outcome> {
    loop {
        match proxy_header::read(head.kept()) {
            Header::Whole { len, client } => {
                head.skip(len);
                return Ok(client);
            }
            Header::Bad => return Err(Outcome::NoProxyHeader),
            Header::More if head.fill().await.unwrap_or(0) == 0 => return Err(Outcome::Gone),
            Header::More => {}
        }
    }
}

/// Gives a connection to a shard; `read` was read from it already.
pub(super) async fn hand_over(
    desk: &Desk,
    conn: Conn,
    read: &[u8],
    framing: Framing,
    ends: Ends,
    mut ticket: Ticket,
    outcome: Outcome,
) {
    let transport = if conn.is_tls() { Transport::Tls } else { Transport::Tcp };
    // It has gone meanwhile.
    let Ok(Parts { socket, tls, early }) = conn.take_apart(read).await else {
        return desk.counts.add(Outcome::Gone);
    };
    desk.counts.add(outcome);
    ticket.is(Kind::Turn);
    let place = Place::new(ticket);
    let Ends { client, listener } = ends;
    (desk.admit)(ClientStream { socket, tls, framing, client, listener, transport, early, place });
}
