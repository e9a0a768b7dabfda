//! Where the messages of a stream begin and end (RFC 8656 section 12.5, RFC 8489 section 6.2.2).

use relay_common::channel::{HEADER_LEN, is_channel};
use relay_common::wire::stun::MAGIC_COOKIE;

/// Longest message, in bytes: what a receive buffer of the shard holds. More than a UDP datagram carries is of no use.
pub(super) const LONGEST: usize = 1 << 16;

/// Longest message of a client that has no allocation yet: a stranger makes nobody keep more than that.
pub(super) const LONGEST_OF_STRANGER: usize = 4096;

/// Bytes of a STUN header.
const STUN_HEADER: usize = 20;

/// What a stream goes on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    /// A whole message of `length` bytes, which takes `space` with the padding behind it.
    Whole { length: usize, space: usize },
    /// Part of one. If it is known by now, with its padding it takes so many bytes.
    Part(Option<usize>),
}

/// A stream that is not, or no longer, one of TURN messages. Where the next would begin nobody can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotTurn;

/// Finds the end of the first message in `bytes`. Where `ends`, nothing follows, and the padding of ChannelData may be
/// missing, as in a datagram.
pub(super) fn first(bytes: &[u8], ends: bool) -> Result<First, NotTurn> {
    // The two top bits tell STUN from ChannelData; more of them would be neither (RFC 8656 section 12).
    let &[first, ..] = bytes else { return Ok(First::Part(None)) };
    if first >= 0x40 && !is_channel(u16::from_be_bytes([first, 0])) {
        return Err(NotTurn);
    }
    let &[_, _, l0, l1, ref rest @ ..] = bytes else { return Ok(First::Part(None)) };
    let payload = usize::from(u16::from_be_bytes([l0, l1]));
    let length = if first < 0x40 {
        let same = rest.iter().zip(MAGIC_COOKIE.to_ne_bytes()).all(|(&byte, expected)| byte == expected);
        if !payload.is_multiple_of(4) || !same {
            return Err(NotTurn);
        }
        STUN_HEADER + payload
    } else {
        HEADER_LEN + payload
    };
    let padded = length.next_multiple_of(4);
    if padded > LONGEST {
        return Err(NotTurn);
    }
    Ok(match bytes.len() {
        there if there >= padded => First::Whole { length, space: padded },
        there if ends && there >= length => First::Whole { length, space: there },
        _ => First::Part(Some(padded)),
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
}
