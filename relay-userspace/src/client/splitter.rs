//! A stream from the server, cut into messages.

use crate::framing::{First, NotTurn, first};

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
        if let First::Whole { length, space } = first(rest, false)? {
            let message = rest[..length].to_vec();
            self.taken += space;
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
    use crate::framing::padding;
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
    fn a_stream_begins_with_stun() {
        for text in ["HTTP/1.1 400 Bad Request", "G"] {
            let mut splitter = Splitter::default();
            splitter.buffer().extend(text.bytes());
            assert_eq!(splitter.take(), Err(NotTurn), "{text}");
        }
    }
}
