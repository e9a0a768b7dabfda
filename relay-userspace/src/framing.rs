//! Where the messages of a stream, or of a WebSocket's message, begin and end (RFC 8656 section 12.5, RFC 8489 section 6.2.2).

use relay_common::channel::{self, is_channel};

use crate::stun::{self, MAGIC_COOKIE};

/// Longest message, in bytes, with its padding: more than a UDP datagram carries is of no use.
pub const LONGEST: usize = 1 << 16;

/// What a stream goes on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// A whole message.
    Whole {
        /// Bytes of the message itself.
        length: usize,
        /// The same with the padding behind it.
        space: usize,
    },
    /// Part of one. If it is known by now, with its padding it takes so many bytes.
    Part(Option<usize>),
}

/// A stream that is not, or no longer, one of TURN messages. Where the next would begin nobody can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what arrives is neither STUN nor ChannelData")]
pub struct NotTurn;

/// Finds the end of the first message in `bytes`. Where `ends`, nothing follows, and the padding of ChannelData may be
/// missing, as in a datagram.
pub fn first(bytes: &[u8], ends: bool) -> Result<First, NotTurn> {
    // The two top bits tell STUN from ChannelData; more of them would be neither (RFC 8656 section 12).
    let &[first, ..] = bytes else { return Ok(First::Part(None)) };
    if first >= 0x40 && !is_channel(u16::from_be_bytes([first, 0])) {
        return Err(NotTurn);
    }
    let &[_, _, l0, l1, ref rest @ ..] = bytes else { return Ok(First::Part(None)) };
    let payload = usize::from(u16::from_be_bytes([l0, l1]));
    let length = if first < 0x40 {
        let same = rest.iter().zip(MAGIC_COOKIE).all(|(byte, expected)| *byte == expected);
        if !payload.is_multiple_of(4) || !same {
            return Err(NotTurn);
        }
        stun::HEADER_LEN + payload
    } else {
        channel::HEADER_LEN + payload
    };
    let padded = length + padding(length);
    if padded > LONGEST {
        return Err(NotTurn);
    }
    Ok(match bytes.len() {
        there if there >= padded => First::Whole { length, space: padded },
        there if ends && there >= length => First::Whole { length, space: there },
        _ => First::Part(Some(padded)),
    })
}

/// Bytes that follow a message of `length` bytes on a stream (RFC 8656 section 12.5); its length field does not count them.
pub fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

/// The messages of one WebSocket message, or of one datagram, without padding. What is cut off or no message ends them.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let Ok(First::Whole { length, space }) = first(bytes, true) else { return None };
        let message = &bytes[..length];
        bytes = &bytes[space..];
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    #[test]
    fn messages_end_where_their_padding_does() {
        let five = [0x40, 1, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        assert_eq!(first(&five, false), Ok(First::Whole { length: 9, space: 12 }));
        assert_eq!(first(&five[..11], false), Ok(First::Part(Some(12))), "padding is required on a stream");
        for end in 9..12 {
            assert_eq!(first(&five[..end], true), Ok(First::Whole { length: 9, space: end }));
        }
        assert_eq!(first(&five[..8], true), Ok(First::Part(Some(12))));
        assert_eq!(first(&[&BINDING[..], &five].concat(), false), Ok(First::Whole { length: 20, space: 20 }));
        assert_eq!(first(&[0x4f, 0xff, 0, 0], false), Ok(First::Whole { length: 4, space: 4 }));
    }

    #[test]
    fn every_part_of_a_message_is_waited_for() {
        for end in 0..20 {
            let expected = if end < 4 { None } else { Some(20) };
            assert_eq!(first(&BINDING[..end], false), Ok(First::Part(expected)), "{end}");
        }
    }

    #[test]
    fn what_cannot_become_a_message_is_refused_with_its_first_wrong_byte() {
        let mut cookie = BINDING;
        cookie[5] = 0;
        assert_eq!(first(&cookie[..5], false), Ok(First::Part(Some(20))));
        assert_eq!(first(&cookie[..6], false), Err(NotTurn));
        for byte in 0x80..=0xff {
            assert_eq!(first(&[byte], false), Err(NotTurn), "{byte:#x}");
        }
        assert_eq!(first(&[0, 1, 0, 3], false), Err(NotTurn), "attributes fill words");
        assert_eq!(first(&[0, 1, 0xff, 0xfc], false), Err(NotTurn), "longer than any datagram");
        assert_eq!(first(&[0x40, 0, 0xff, 0xff], false), Err(NotTurn));
        assert_eq!(first(&[0x40, 0, 0xff, 0xfc], false), Ok(First::Part(Some(1 << 16))));
    }
    #[test]
    fn a_frame_may_have_several_messages_and_padding_or_none() {
        let five = [0x40, 1, 0, 5, b'a', b'b', b'c', b'd', b'e'];
        let padded = [&five[..], &[0; 3], &BINDING, &five].concat();
        assert_eq!(messages(&padded).collect::<Vec<_>>(), [&five[..], &BINDING, &five]);
        assert_eq!(messages(&five[..7]).count(), 0);
        assert_eq!(messages(b"hello").count(), 0);
    }
}
