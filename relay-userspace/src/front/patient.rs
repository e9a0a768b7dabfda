//! A stream with an end to patience: slow-loris clients, readers that do not read, peers that are gone.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that fails once it has carried nothing, in either direction, for some time while somebody waited for it.
#[derive(Debug)]
pub(super) struct Patient<S> {
    io: S,
    limit: Duration,
    /// When it last carried something.
    last: Instant,
    /// Never beyond `last + limit`, often before: it is only set again once it is over.
    alarm: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub(super) fn new(io: S, limit: Duration) -> Self {
        Self { io, limit, last: Instant::now(), alarm: Box::pin(sleep(limit)) }
    }

    pub(super) fn into_inner(self) -> S {
        self.io
    }

    /// What came of a step, or the end of patience.
    fn judge<T>(&mut self, context: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.last = Instant::now();
            return step;
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            let end = self.last + self.limit;
            if end <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.io).poll_read(context, buffer);
        this.judge(context, step)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.io).poll_write(context, bytes);
        this.judge(context, step)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.judge(context, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_flush(context) {
            // To have nothing to send is no sign of life.
            Poll::Ready(flushed) => Poll::Ready(flushed),
            Poll::Pending => this.judge(context, Poll::Pending),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.io).poll_shutdown(context);
        this.judge(context, step)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_silent_client_and_one_that_does_not_read_come_to_an_end() {
        let (_client, server) = duplex(8);
        let mut server = Patient::new(server, LIMIT);
        let start = Instant::now();
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= LIMIT);
        let error = timeout(10 * LIMIT, server.write_all(&[0; 9])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn whoever_goes_on_may_take_as_long_as_it_takes() {
        let (mut client, server) = duplex(8);
        let mut server = Patient::new(server, LIMIT);
        let sending = tokio::spawn(async move {
            for _ in 0..6 {
                sleep(LIMIT / 2).await;
                client.write_all(&[7]).await.unwrap();
            }
            client
        });
        let mut six = [0; 6];
        server.read_exact(&mut six).await.unwrap();
        drop(sending.await.unwrap());
    }
}
