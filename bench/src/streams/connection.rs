//! A client's connection: TURN messages in, TURN messages out, over TCP, TLS or a WebSocket, and over UDP for comparison.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};
use turnpike::framing::{First, first, padding};
use turnpike::stun::{Message, TransactionId};

use super::{Identity, NAME};
use crate::runs::setup::Transport;

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes read at once.
const READ: usize = 64 << 10;

/// The first byte of a WebSocket frame that is a whole binary message, and of one that closes (RFC 6455 section 5.2).
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// A connection, or what a client over UDP has in its place.
pub struct Connection {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    is_web: bool,
    /// What the socket has not taken yet, without TLS.
    out: Vec<u8>,
    /// What arrived, and how much of it was handed out.
    inbound: Vec<u8>,
    taken: usize,
}

impl Connection {
    /// Connects, up to where messages can be sent. It waits for what it does until it is [told](Self::wait) otherwise.
    pub fn open(
        client: SocketAddr,
        server: SocketAddr,
        transport: Transport,
        identity: &Identity,
    ) -> Result<Self> {
        let (kind, protocol) = match transport {
            Transport::Udp => (Type::DGRAM, Protocol::UDP),
            Transport::Tcp | Transport::Tls | Transport::WebSocket => (Type::STREAM, Protocol::TCP),
        };
        let mut socket = Socket::new(Domain::for_address(server), kind, Some(protocol))?;
        if transport != Transport::Udp {
            socket.set_reuse_address(true)?;
            socket.set_tcp_nodelay(true)?;
        }
        socket.bind(&client.into()).context("the client's address")?;
        socket.connect_timeout(&server.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let tls = if transport == Transport::Tls {
            let mut tls = ClientConnection::new(Arc::clone(&identity.trust), ServerName::try_from(NAME)?)?;
            while tls.is_handshaking() {
                tls.complete_io(&mut socket).context("the TLS handshake")?;
            }
            Some(Box::new(tls))
        } else {
            None
        };
        let is_web = transport == Transport::WebSocket;
        let mut made = Self { socket, tls, is_web, out: Vec::new(), inbound: Vec::new(), taken: 0 };
        if is_web {
            made.upgrade(server)?;
        }
        Ok(made)
    }

    /// Asks for a WebSocket (RFC 6455 section 4.1). Whether the server has understood the key is not looked at.
    fn upgrade(&mut self, server: SocketAddr) -> Result<()> {
        write!(
            self.socket,
            "GET /turn HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: turn\r\n\r\n"
        )?;
        loop {
            ensure!(self.fill()?, "no answer to the upgrade");
            if let Some(end) = self.inbound.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.inbound[..end]);
                ensure!(head.starts_with("HTTP/1.1 101 "), "no WebSocket, but {head}");
                self.taken = end + 4;
                return Ok(());
            }
        }
    }

    /// Whether reading and writing are to wait.
    pub fn wait(&self, waits: bool) -> io::Result<()> {
        self.socket.set_nonblocking(!waits)
    }

    /// How long reading waits at the most.
    pub fn wait_at_most(&self, time: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(time))
    }

    /// Sends a message, or as much of it as the socket takes; the rest goes before the next one.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        let mut framed = Vec::with_capacity(message.len() + 8);
        if self.is_web {
            framed.push(BINARY);
            match message.len() {
                len @ ..126 => framed.push(0x80 | len as u8),
                len => {
                    framed.push(0x80 | 126);
                    framed.extend_from_slice(&u16::try_from(len).context("a short message")?.to_be_bytes());
                }
            }
            // A mask of zeros is one, too, and leaves the data as it is.
            framed.extend_from_slice(&[0; 4]);
        }
        framed.extend_from_slice(message);
        if !self.is_web {
            framed.resize(message.len() + padding(message.len()), 0);
        }
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(&framed)?,
            None => self.out.extend_from_slice(&framed),
        }
        self.flush()
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> Result<()> {
        loop {
            let written = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket).map(|_| ()),
                None if !self.out.is_empty() => {
                    self.socket.write(&self.out).map(|written| drop(self.out.drain(..written)))
                }
                _ => return Ok(()),
            };
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                other => other?,
            }
        }
    }

    /// Reads once; whether anything was there.
    pub fn fill(&mut self) -> Result<bool> {
        let at = self.inbound.len();
        let read = match &mut self.tls {
            None => {
                self.inbound.resize(at + READ, 0);
                let read = self.socket.read(&mut self.inbound[at..]);
                self.inbound.truncate(at + read.as_ref().map_or(0, |read| *read));
                read
            }
            Some(tls) => tls.read_tls(&mut self.socket),
        };
        match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("the connection"),
        }
        if let Some(tls) = &mut self.tls {
            let state = tls.process_new_packets().context("TLS")?;
            self.inbound.resize(at + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut self.inbound[at..])?;
        }
        Ok(true)
    }

    /// The next whole message of what was read: where it is in [`bytes`](Self::bytes).
    pub fn next_message(&mut self) -> Result<Option<Range<usize>>> {
        loop {
            let rest = &self.inbound[self.taken..];
            let extent = if self.is_web { frame(rest)? } else { message(rest)? };
            let Some((message, end, counts)) = extent.filter(|(_, end, _)| *end <= rest.len()) else {
                self.inbound.drain(..self.taken);
                self.taken = 0;
                return Ok(None);
            };
            let at = self.taken;
            self.taken += end;
            if counts {
                return Ok(Some(at + message.start..at + message.end));
            }
        }
    }

    /// What was read, until it is read again.
    pub fn bytes(&self) -> &[u8] {
        &self.inbound
    }

    /// Sends a request, and waits for its answer.
    pub fn exchange(&mut self, request: &[u8], id: TransactionId) -> Result<Vec<u8>> {
        self.send(request)?;
        loop {
            while let Some(at) = self.next_message()? {
                let bytes = &self.inbound[at];
                // What else comes is data of an earlier load.
                if Message::parse(bytes).is_ok_and(|message| message.transaction_id() == id) {
                    return Ok(bytes.to_vec());
                }
            }
            ensure!(self.fill()?, "no answer");
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message, the end of what carries it, and whether it is one of TURN.
type Found = Option<(Range<usize>, usize, bool)>;

fn message(bytes: &[u8]) -> Result<Found> {
    Ok(match first(bytes, false)? {
        First::Whole { length, space } => Some((0..length, space, true)),
        First::Part(_) => None,
    })
}

/// What a WebSocket frame of the server carries, which is not masked (RFC 6455 section 5.1).
fn frame(bytes: &[u8]) -> Result<Found> {
    let (header, len) = match *bytes {
        [CLOSE, ..] => bail!("the server closes the WebSocket"),
        [_, len @ ..126, ..] => (2, usize::from(len)),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, 126, ..] | [_] | [] => return Ok(None),
        _ => bail!("a WebSocket frame of more than 64 KiB"),
    };
    Ok(Some((header..header + len, header + len, bytes[0] == BINARY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_web_socket_are_found_however_they_arrive() {
        let mut bytes = vec![BINARY, 3, 1, 2, 3, BINARY, 126, 0, 200];
        bytes.resize(9 + 200, 7);
        assert_eq!(frame(&bytes).expect("a frame"), Some((2..5, 5, true)));
        assert_eq!(frame(&bytes[5..]).expect("a frame"), Some((4..204, 204, true)));
        assert_eq!(frame(&bytes[5..8]).expect("the beginning of one"), None);
        assert_eq!(frame(&[0x89, 0]).expect("a ping"), Some((2..2, 2, false)));
        assert!(frame(&[CLOSE, 0]).is_err() && frame(&[BINARY, 127]).is_err());
    }
}
