//! What waits to be sent to one client over its stream: a bounded queue, so that a client who reads slowly, or not at all,
//! costs a little memory and nobody any time.
//!
//! When there is too much, the oldest data that has not begun to be sent goes first: of media, what is late is of no use.
//! Answers are never dropped. They go out before data that waits, as over UDP they might.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::websocket;
use super::{Framing, Whole};
use crate::framing::{LONGEST, padding};
use crate::net::counters::Counters;

/// Most bytes of data that wait: two seconds of a call with video (1 Mbit/s).
const MOST_BYTES: usize = 256 << 10;

/// Most messages of data that wait.
const MOST_MESSAGES: usize = 1024;

/// Bytes of answers from which on a client is not listened to: it is to read some of them first.
const MANY_ANSWERS: usize = 16 << 10;

/// Most bytes of data that are sealed at a time; only what is not sealed can be dropped.
const SEALED: usize = 32 << 10;

/// What is queued for a client.
#[derive(Default, Debug)]
pub(super) struct Outgoing {
    /// The rest of a message that the kernel has the beginning of.
    begun: Vec<u8>,
    /// Answers, and all else that must arrive.
    answers: Vec<u8>,
    data: Data,
}

/// Messages that may be dropped, oldest first.
#[derive(Default, Debug)]
struct Data {
    bytes: Vec<u8>,
    /// Where in `bytes` the oldest begins.
    start: usize,
    messages: VecDeque<Queued>,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    length: u32,
    fate: Fate,
}

/// What a message counts as once it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) reason: Reason,
    /// Bytes of the packet that brought it.
    pub(super) bytes: u32,
    /// Bytes of data, if they count for the connection's allocation.
    pub(super) relayed: Option<u32>,
}

impl Fate {
    /// Counts a message that is not sent.
    fn fails(self, reason: Reason, lost: &mut Count, counters: &Counters) {
        counters.datagram(reason, self.bytes.into());
        if let Some(bytes) = self.relayed {
            *lost += Count { packets: 1, bytes: bytes.into() };
        }
    }
}

impl Outgoing {
    /// Queues a message: data if it has a fate, else an answer.
    pub(super) fn push(&mut self, framing: Framing, message: Whole<'_>, fate: Option<Fate>) {
        let Some(fate) = fate else { return write(&mut self.answers, framing, message) };
        let before = self.data.bytes.len();
        write(&mut self.data.bytes, framing, message);
        let length = (self.data.bytes.len() - before) as u32;
        self.data.messages.push_back(Queued { length, fate });
    }

    /// What waits is of another allocation than what comes now: it counts for none any more.
    pub(super) fn disown(&mut self) {
        self.data.messages.iter_mut().for_each(|message| message.fate.relayed = None);
    }

    /// Where bytes that must arrive are written to.
    pub(super) fn answers(&mut self) -> &mut Vec<u8> {
        &mut self.answers
    }

    /// What must arrive, and the rest of what was begun.
    pub(super) fn into_answers(self) -> Vec<u8> {
        let mut waiting = self.begun;
        waiting.extend(self.answers);
        waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.answers.is_empty() && self.data.messages.is_empty()
    }

    /// Whether more data waits than may.
    pub(super) fn has_too_much(&self) -> bool {
        self.data.len() > MOST_BYTES || self.data.messages.len() > MOST_MESSAGES
    }

    /// Whether no more fits, of data or of answers: nobody reads.
    pub(super) fn is_full(&self) -> bool {
        let most_messages = self.data.messages.len() >= MOST_MESSAGES;
        // A message of another size might fit, but not one that any client may be sent.
        self.data.len() + LONGEST > MOST_BYTES || most_messages || self.has_many_answers()
    }

    /// Whether its client asks without reading the answers.
    pub(super) fn has_many_answers(&self) -> bool {
        self.answers.len() >= MANY_ANSWERS
    }

    /// Drops the oldest data until no more waits than may. What of it counts for the client's allocation.
    pub(super) fn make_room(&mut self, counters: &Counters) -> Count {
        let mut lost = Count::default();
        while self.has_too_much()
            && let Some(oldest) = self.data.pop()
        {
            oldest.fate.fails(Reason::SlowReader, &mut lost, counters);
        }
        lost
    }

    /// Sends as much as one call takes. Fails when it takes nothing.
    pub(super) fn send(&mut self, socket: &mut impl Write, counters: &Counters) -> io::Result<()> {
        let parts = [&self.begun[..], &self.answers, self.data.waiting()].map(IoSlice::new);
        let mut sent = socket.write_vectored(&parts)?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        for part in [&mut self.begun, &mut self.answers] {
            let taken = sent.min(part.len());
            part.drain(..taken);
            sent -= taken;
        }
        while let Some(oldest) = self.data.messages.front().filter(|_| sent > 0) {
            let length = oldest.length as usize;
            if sent < length {
                self.begun.extend_from_slice(&self.data.waiting()[sent..length]);
            }
            sent = sent.saturating_sub(length);
            self.data.sent(counters);
        }
        Ok(())
    }

    /// Seals the answers, and as much of the data as may be.
    pub(super) fn seal(&mut self, mut plaintext: impl Write, counters: &Counters) -> io::Result<()> {
        plaintext.write_all(&self.answers)?;
        self.answers.clear();
        let mut length = 0;
        let mut count = 0;
        for message in &self.data.messages {
            if count > 0 && length + message.length as usize > SEALED {
                break;
            }
            length += message.length as usize;
            count += 1;
        }
        plaintext.write_all(&self.data.waiting()[..length])?;
        for _ in 0..count {
            self.data.sent(counters);
        }
        Ok(())
    }

    /// Counts what will never be sent. What of it counts for the client's allocation.
    pub(super) fn give_up(&mut self, counters: &Counters) -> Count {
        let mut lost = Count::default();
        while let Some(message) = self.data.pop() {
            message.fate.fails(Reason::SendFailed, &mut lost, counters);
        }
        lost
    }

    /// Gives back the memory that was needed once, if nothing waits.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Data {
    /// Bytes that wait.
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes the oldest message away.
    fn pop(&mut self) -> Option<Queued> {
        let oldest = self.messages.pop_front()?;
        self.start += oldest.length as usize;
        // Each byte is moved once at most for every one that is queued.
        if self.start >= self.bytes.len() - self.start {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        Some(oldest)
    }

    /// Takes the oldest message away, which is sent.
    fn sent(&mut self, counters: &Counters) {
        if let Some(Queued { fate, .. }) = self.pop() {
            counters.datagram(fate.reason, fate.bytes.into());
        }
    }
}

/// Writes a message as its framing has it. ChannelData is padded in a WebSocket too, where it is one message of it all the
/// same: a client that takes the messages for a stream needs it, and RFC 8656 section 12.5 has the others tolerate it.
fn write(out: &mut Vec<u8>, framing: Framing, Whole { head, body }: Whole<'_>) {
    let length = head.len() + body.len();
    let padding = padding(length);
    out.reserve(websocket::LONGEST_HEADER + length + padding);
    if framing == Framing::WebSocket {
        websocket::write_header(out, websocket::BINARY, length + padding);
    }
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    out.extend_from_slice(&[0; 3][..padding]);
}
