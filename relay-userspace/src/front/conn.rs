//! A connection at the desk, and what is handed over of it.

use std::io::{self, Read as _};
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::head::Head;

/// How long a client has to take what it must have before its connection is handed over, or closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection that a client has, decrypted.
#[derive(Debug)]
pub(super) enum Conn {
    Plain(Head<TcpStream>),
    Tls(Box<Head<TlsStream<Head<TcpStream>>>>),
}

/// A connection taken apart.
pub(super) struct Parts {
    pub(super) socket: StdStream,
    pub(super) tls: Option<Box<ServerConnection>>,
    /// All that was read and decrypted.
    pub(super) early: Vec<u8>,
}

impl Conn {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Which server the client named in its ClientHello.
    pub(super) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(head) => head.get_ref().get_ref().1.server_name(),
        }
    }

    /// Takes it apart; `read` was read from it already. What TLS had to send (session tickets) has gone by then.
    pub(super) async fn take_apart(mut self, read: &[u8]) -> io::Result<Parts> {
        timeout(FAREWELL, self.flush()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let mut early = read.to_vec();
        match self {
            Self::Plain(head) => {
                let (socket, kept) = head.into_parts();
                early.extend(kept);
                Ok(Parts { socket: socket.into_std()?, tls: None, early })
            }
            Self::Tls(head) => {
                let (stream, kept) = head.into_parts();
                early.extend(kept);
                let (below, mut tls) = stream.into_inner();
                let (socket, encrypted) = below.into_parts();
                decrypt(&mut tls, &encrypted, &mut early)?;
                Ok(Parts { socket: socket.into_std()?, tls: Some(Box::new(tls)), early })
            }
        }
    }

    /// Says goodbye as the protocols have it: close_notify (RFC 8446 section 6.1), then FIN.
    pub(super) async fn close(mut self) {
        // Whoever does not listen is not waited for.
        let _ = timeout(FAREWELL, self.shutdown()).await;
    }
}

/// Reads what TLS holds decrypted, and what came encrypted after that.
fn decrypt(tls: &mut ServerConnection, mut encrypted: &[u8], early: &mut Vec<u8>) -> io::Result<()> {
    loop {
        match tls.reader().read_to_end(early) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if encrypted.is_empty() {
            return Ok(());
        }
        tls.read_tls(&mut encrypted)?;
        tls.process_new_packets().map_err(io::Error::other)?;
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(head) => Pin::new(head).poll_read(context, buffer),
            Self::Tls(head) => Pin::new(head).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(head) => Pin::new(head).poll_write(context, bytes),
            Self::Tls(head) => Pin::new(head).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(head) => Pin::new(head).poll_write_vectored(context, slices),
            Self::Tls(head) => Pin::new(head).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(head) => head.is_write_vectored(),
            Self::Tls(head) => head.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(head) => Pin::new(head).poll_flush(context),
            Self::Tls(head) => Pin::new(head).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(head) => Pin::new(head).poll_shutdown(context),
            Self::Tls(head) => Pin::new(head).poll_shutdown(context),
        }
    }
}
