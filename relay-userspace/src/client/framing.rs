//! Where a TURN message ends in what a stream or a WebSocket brought (RFC 8656 section 12.5).

use relay_common::channel;

use crate::stun;

/// How long a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Bytes of the message itself.
    pub len: usize,
    /// The same with the padding that follows ChannelData on a stream.
    pub padded: usize,
}

/// The bytes are not the beginning of a TURN message. On a stream there is no way to go on after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what arrives is neither STUN nor ChannelData")]
pub struct NotTurn;

/// Bytes by which both kinds of messages tell their length.
const LENGTHS: usize = 4;

/// Bytes by which a STUN message shows its magic cookie.
const COOKIE: usize = 8;

/// The extent of the message that begins here; `None` while too little of it is there to tell.
pub fn extent(bytes: &[u8]) -> Result<Option<Extent>, NotTurn> {
    let Some((&[a, b, c, d], _)) = bytes.split_first_chunk::<LENGTHS>() else { return Ok(None) };
    let (first, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
    if channel::is_channel(first) {
        let len = channel::HEADER_LEN + length;
        // RFC 8656 section 12.5: over TCP and TLS-over-TCP, ChannelData is padded to a multiple of four bytes, and the length
        // field does not say so.
        return Ok(Some(Extent { len, padded: len.next_multiple_of(4) }));
    }
    // RFC 8489 section 5: the two top bits are zero, the length is a multiple of four.
    if a & 0xc0 != 0 || !length.is_multiple_of(4) {
        return Err(NotTurn);
    }
    let Some(cookie) = bytes.get(LENGTHS..COOKIE) else { return Ok(None) };
    if cookie != stun::MAGIC_COOKIE {
        return Err(NotTurn);
    }
    let len = stun::HEADER_LEN + length;
    Ok(Some(Extent { len, padded: len }))
}

/// Bytes to add to a message of this length on a stream.
pub fn padding(len: usize) -> usize {
    len.next_multiple_of(4) - len
}

/// The messages of one WebSocket frame, or of one datagram, without padding. What is cut off or no message ends them.
pub fn messages(mut frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let extent = extent(frame).ok()??;
        let message = frame.get(..extent.len)?;
        frame = frame.get(extent.padded..).unwrap_or_default();
        Some(message)
    })
}

/// Cuts a stream into messages, however it arrives.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// How much of the buffer was handed out.
    taken: usize,
    /// Whether there was a message.
    begun: bool,
}

impl Splitter {
    /// The next message without its padding, `None` when more has to arrive first.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, NotTurn> {
        let rest = &self.buffer[self.taken..];
        // Both sides begin with STUN, as a channel has to be bound first. `HTTP` and `GET ` would be channel numbers.
        if !self.begun && rest.first().is_some_and(|first| first & 0xc0 != 0) {
            return Err(NotTurn);
        }
        if let Some(Extent { len, padded }) = extent(rest)?
            && rest.len() >= padded
        {
            let message = rest[..len].to_vec();
            self.taken += padded;
            self.begun = true;
            return Ok(Some(message));
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        Ok(None)
    }

    /// Where to read more into. Never longer than one message and one read, when [`take`](Self::take) gave `None` before.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Builder, Class, MessageType, Method, TransactionId};

    fn binding() -> Vec<u8> {
        let mut message = Vec::new();
        let kind = MessageType::new(Method::BINDING, Class::Request);
        Builder::new(&mut message, kind, TransactionId([7; 12])).fingerprint();
        message
    }

    fn channel_data(payload: &[u8]) -> Vec<u8> {
        [&[0x40, 0x01, 0, payload.len() as u8], payload].concat()
    }

    #[test]
    fn a_stream_is_cut_into_messages_wherever_its_segments_end() {
        let wanted = [binding(), channel_data(b"abcde"), channel_data(b""), binding(), channel_data(b"four")];
        let mut stream = Vec::new();
        for message in &wanted {
            stream.extend(message);
            stream.extend(vec![0; padding(message.len())]);
        }
        for segment in 1..=stream.len() {
            let mut splitter = Splitter::default();
            let mut got = Vec::new();
            for part in stream.chunks(segment) {
                splitter.buffer().extend(part);
                while let Some(message) = splitter.take().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, wanted, "segments of {segment}");
            assert!(splitter.buffer().is_empty());
        }
    }

    #[test]
    fn what_is_not_turn_is_seen_by_its_first_bytes() {
        for junk in [&b"\x80\0\0\0"[..], b"\0\x01\0\x03", b"\0\x01\0\0\xff\xff\xff\xff"] {
            assert_eq!(extent(junk), Err(NotTurn), "{junk:?}");
        }
        for text in ["HTTP/1.1 400 Bad Request", "G"] {
            let mut splitter = Splitter::default();
            splitter.buffer().extend(text.bytes());
            assert_eq!(splitter.take(), Err(NotTurn), "{text}");
        }
        assert_eq!(extent(b"\0\x01\0"), Ok(None));
        assert_eq!(extent(b"\0\x01\0\x04\x21\x12\xa4"), Ok(None));
    }

    #[test]
    fn a_frame_may_have_several_messages_and_padding_or_none() {
        let (one, two) = (channel_data(b"abcde"), binding());
        let padded = [&one[..], &[0; 3], &two, &one].concat();
        assert_eq!(messages(&padded).collect::<Vec<_>>(), [&one[..], &two, &one]);
        assert_eq!(messages(&one[..7]).count(), 0);
        assert_eq!(messages(b"hello").count(), 0);
    }
}
