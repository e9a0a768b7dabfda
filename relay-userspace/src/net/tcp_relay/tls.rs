//! A TLS connection whose handshake another part has done, as a stream of bytes. `tokio-rustls` takes its own apart
//! (`into_inner`) but does not put one together.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that wait to be sent: beyond, the writer waits.
const BUFFER: usize = 64 << 10;

pub(super) struct TlsStream {
    socket: TcpStream,
    tls: Box<ServerConnection>,
    closing: bool,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, mut tls: Box<ServerConnection>) -> Self {
        tls.set_buffer_limit(Some(BUFFER));
        Self { socket, tls, closing: false }
    }

    /// Sends what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.tls.write_tls(&mut Socket(&self.socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => _ = sent?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what came, and decrypts it.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.tls.read_tls(&mut Socket(&self.socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => {
                    taken?;
                    let processed = self.tls.process_new_packets();
                    // An alert, or the answer to a key update; what does not fit goes with the next data.
                    let _ = self.poll_send(cx)?;
                    processed.map_err(io::Error::other)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.tls.reader().read(to.initialize_unfilled()) {
                Ok(read) => {
                    to.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_take(cx))?,
                // The connection ended without close_notify: what came so far may not be all, so it is no end.
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.tls.writer().write(data)?;
            let sent = self.poll_send(cx)?;
            if taken > 0 || data.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            // The buffer is full.
            ready!(sent);
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.tls.send_close_notify();
            self.closing = true;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A socket that says it has nothing, or takes nothing, instead of waiting.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(to)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
