//! A stream whose first bytes were looked at, and are still to be read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Most bytes that are kept: a ClientHello has two kilobytes, a PROXY header less.
const MOST_KEPT: usize = 16 * 1024;

/// How much is read at once to look at.
const LOOK: usize = 1024;

/// A stream and what is kept of it.
#[derive(Debug)]
pub(super) struct Head<S> {
    io: S,
    kept: Vec<u8>,
    /// How much of it was read again.
    at: usize,
    recording: bool,
}

impl<S> Head<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, kept: Vec::new(), at: 0, recording: false }
    }

    /// The stream itself.
    pub(super) fn get_ref(&self) -> &S {
        &self.io
    }

    /// What has been looked at and not been read.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept[self.at..]
    }

    /// Leaves out the first of it.
    pub(super) fn skip(&mut self, len: usize) {
        self.at = self.kept.len().min(self.at + len);
        self.forget();
    }

    /// Keeps what is read from now on, for [`Head::rewind`].
    pub(super) fn record(&mut self) {
        self.forget();
        self.recording = true;
    }

    /// Has everything since [`Head::record`] read again.
    pub(super) fn rewind(&mut self) {
        (self.at, self.recording) = (0, false);
    }

    /// Keeps nothing any more that was read.
    pub(super) fn forget(&mut self) {
        self.kept.drain(..self.at);
        (self.at, self.recording) = (0, false);
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
    }

    /// The stream, and what was kept and not read.
    pub(super) fn into_parts(mut self) -> (S, Vec<u8>) {
        self.forget();
        (self.io, self.kept)
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.kept.len() + bytes.len() > MOST_KEPT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too long a beginning"));
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Head<S> {
    /// Looks further: how many bytes came, 0 at the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; LOOK];
        let len = self.io.read(&mut bytes).await?;
        self.keep(&bytes[..len])?;
        Ok(len)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Head<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at < this.kept.len() {
            let len = buffer.remaining().min(this.kept.len() - this.at);
            buffer.put_slice(&this.kept[this.at..this.at + len]);
            this.at += len;
            if this.at == this.kept.len() && !this.recording {
                this.forget();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.io).poll_read(context, buffer);
        if this.recording && matches!(result, Poll::Ready(Ok(()))) {
            let new = &buffer.filled()[before..];
            if let Err(error) = this.keep(new) {
                return Poll::Ready(Err(error));
            }
            this.at = this.kept.len();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Head<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_read_once_and_what_was_recorded_twice() {
        let mut head = Head::new(&b"PROXYhello, world"[..]);
        while head.kept().len() < 5 {
            head.fill().await.unwrap();
        }
        head.skip(5);
        head.record();
        let mut five = [0; 5];
        head.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"hello");
        head.rewind();
        let mut all = String::new();
        head.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "hello, world");
        assert_eq!(head.into_parts().1, b"");

        let mut head = Head::new(&b"hello, world"[..]);
        head.record();
        head.read_exact(&mut five).await.unwrap();
        head.forget();
        head.rewind();
        let mut rest = String::new();
        head.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, ", world");
    }

    #[tokio::test]
    async fn no_client_fills_the_memory_with_a_beginning() {
        let mut head = Head::new(tokio::io::repeat(1));
        head.record();
        let mut buffer = vec![0; 1000];
        for _ in 0..16 {
            head.read_exact(&mut buffer).await.unwrap();
        }
        assert!(head.read_exact(&mut buffer).await.is_err());
        assert!(head.kept.len() <= MOST_KEPT);
    }
}
