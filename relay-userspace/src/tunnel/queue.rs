//! Messages that wait for a connection: bounded, and when there are too many the oldest media goes first.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::stun::{Class, MessageType, Method};

/// Most messages that wait.
const MOST_MESSAGES: usize = 512;

/// Most bytes that wait: a second of video.
const MOST_BYTES: usize = 256 << 10;

/// A queue between those who bring messages and one who takes them.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    /// What waited longer is not handed out any more.
    stale: Option<Duration>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

struct Waiting {
    message: Vec<u8>,
    media: bool,
    since: Instant,
}

impl Queue {
    /// An empty one.
    pub(super) fn new(stale: Option<Duration>) -> Self {
        Self { inner: Mutex::default(), changed: Notify::new(), stale }
    }

    /// Adds a message. Where there is no room, the oldest media makes it; requests and answers only when there is no media.
    pub(super) fn push(&self, message: Vec<u8>) {
        let mut inner = self.lock();
        inner.bytes += message.len();
        let media = is_media(&message);
        inner.waiting.push_back(Waiting { message, media, since: Instant::now() });
        while inner.waiting.len() > MOST_MESSAGES || inner.bytes > MOST_BYTES {
            let oldest = inner.waiting.iter().position(|waiting| waiting.media).unwrap_or(0);
            let Some(gone) = inner.waiting.remove(oldest) else { break };
            inner.bytes -= gone.message.len();
            inner.dropped += 1;
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits for a message without taking it; false when the queue was closed and is empty.
    pub(super) async fn ready(&self) -> bool {
        loop {
            {
                let mut inner = self.lock();
                inner.forget(self.stale);
                if !inner.waiting.is_empty() {
                    return true;
                }
                if inner.closed {
                    return false;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Takes the oldest message; `None` when the queue was closed and is empty. May be given up without a loss.
    pub(super) async fn pop(&self) -> Option<Vec<u8>> {
        loop {
            if !self.ready().await {
                return None;
            }
            if let Some(message) = self.try_pop() {
                return Some(message);
            }
        }
    }

    /// Takes the oldest message if there is one.
    pub(super) fn try_pop(&self) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        inner.forget(self.stale);
        let message = inner.waiting.pop_front()?.message;
        inner.bytes -= message.len();
        Some(message)
    }

    /// No more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// How many messages were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }
}

impl Inner {
    fn forget(&mut self, stale: Option<Duration>) {
        let Some(stale) = stale else { return };
        while self.waiting.front().is_some_and(|waiting| waiting.since.elapsed() > stale) {
            let gone = self.waiting.pop_front().expect("it was looked at");
            self.bytes -= gone.message.len();
            self.dropped += 1;
        }
    }
}

/// ChannelData, and Send and Data indications. Everything else is a request or an answer, which are few.
fn is_media(message: &[u8]) -> bool {
    let Some((&[a, b], _)) = message.split_first_chunk() else { return false };
    let first = u16::from_be_bytes([a, b]);
    if relay_common::channel::is_channel(first) {
        return true;
    }
    let kind = MessageType::from_bits(first);
    kind.class == Class::Indication && matches!(kind.method, Method::SEND | Method::DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(number: u16) -> Vec<u8> {
        [&[0x40, 0, 0, 2][..], &number.to_be_bytes()].concat()
    }

    const REQUEST: [u8; 4] = [0, 1, 0, 0];

    #[tokio::test]
    async fn the_oldest_media_makes_room_and_requests_stay() {
        let queue = Queue::new(None);
        queue.push(REQUEST.into());
        for number in 0..1000 {
            queue.push(media(number));
        }
        assert_eq!(queue.dropped(), 1001 - MOST_MESSAGES as u64);
        assert_eq!(queue.pop().await.unwrap(), REQUEST);
        assert_eq!(queue.pop().await.unwrap(), media(1001 - MOST_MESSAGES as u16), "the oldest that is left");
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_so_are_requests() {
        let queue = Queue::new(None);
        for _ in 0..100 {
            queue.push([&[0x40, 0, 0xff, 0][..], &vec![0; 0xff00]].concat());
        }
        assert!(queue.lock().bytes <= MOST_BYTES && queue.lock().waiting.len() == 4);
        let queue = Queue::new(None);
        for _ in 0..2000 {
            queue.push(REQUEST.into());
        }
        assert_eq!(queue.lock().waiting.len(), MOST_MESSAGES);
    }

    #[tokio::test]
    async fn what_waited_too_long_is_not_handed_out() {
        let queue = Queue::new(Some(Duration::from_secs(600)));
        for number in [1, 2] {
            queue.push(media(number));
        }
        for (n, seconds) in [601, 599].into_iter().enumerate() {
            queue.lock().waiting[n].since -= Duration::from_secs(seconds);
        }
        assert_eq!(queue.try_pop(), Some(media(2)));
        assert_eq!((queue.try_pop(), queue.dropped()), (None, 1));
        queue.close();
        assert_eq!(queue.pop().await, None);
    }

    #[test]
    fn media_is_told_from_requests() {
        assert!(is_media(&[0x40, 0, 0, 0]) && is_media(&[0x7f, 0xff]));
        // Send and Data indications: RFC 8656 section 17.
        assert!(is_media(&[0, 0x16]) && is_media(&[0, 0x17]));
        // Binding, Allocate, its answer, a Binding indication.
        assert!(![[0, 1], [0, 3], [1, 3], [0, 0x11]].iter().any(|first| is_media(first)));
    }
}
