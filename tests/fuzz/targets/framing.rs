//! Any bytes as a stream of TURN messages, in any pieces: they end where RFC 8656 section 12.5 says, however they arrive,
//! for the server and for the client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::client::Splitter;
use turnpike::framing::{First, LONGEST, first, messages, padding};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (pieces, bytes) = input;
    look(&bytes);
    let (whole, is_turn) = cut(&bytes);

    // Both begin with STUN, the client's side checks it.
    let begins_with_stun = bytes.first().is_none_or(|first| first >> 6 == 0);
    let mut splitter = Splitter::default();
    let (mut taken, mut still_turn) = (Vec::new(), true);
    for piece in in_pieces(&bytes, &pieces) {
        splitter.buffer().extend_from_slice(piece);
        loop {
            match splitter.take() {
                Ok(Some(message)) => taken.push(message),
                Ok(None) => break,
                Err(_) => {
                    still_turn = false;
                    break;
                }
            }
        }
        if !still_turn {
            break;
        }
        assert!(splitter.buffer().len() <= LONGEST, "no more is kept than a message");
    }
    assert_eq!(still_turn, is_turn && begins_with_stun);
    if begins_with_stun {
        assert_eq!(taken, whole);
    } else {
        assert!(taken.is_empty());
    }

    // A datagram or a WebSocket's message: the same, but for the padding of the last.
    let mut rest = &bytes[..];
    for message in messages(&bytes) {
        assert_eq!(&rest[..message.len()], message);
        assert_eq!(first(message, true), Ok(First::Whole { length: message.len(), space: message.len() }));
        rest = &rest[(message.len() + padding(message.len())).min(rest.len())..];
    }
    assert!(messages(&bytes).zip(&whole).all(|(one, other)| one == other));
    assert!(messages(&bytes).count() - whole.len() <= 1);
});

/// What a prefix is said to be may not be otherwise once more has come.
fn look(bytes: &[u8]) {
    for end in 0..=bytes.len().min(64) {
        let (part, all) = (first(&bytes[..end], false), first(bytes, false));
        match part {
            Err(_) => assert!(all.is_err()),
            Ok(First::Whole { length, space }) => {
                assert!(length <= space && space <= end && space - length < 4);
                assert_eq!(all, part);
                assert_eq!(first(&bytes[..end], true), part);
            }
            Ok(First::Part(Some(space))) => {
                assert!(end < space && space <= LONGEST && space % 4 == 0);
                match all {
                    Ok(First::Whole { space: later, .. }) => assert_eq!(later, space),
                    Ok(First::Part(later)) => assert_eq!(later, Some(space)),
                    Err(_) => assert!(end < 8, "a cookie was waited for"),
                }
            }
            Ok(First::Part(None)) => assert!(end < 4),
        }
    }
}

/// The RFC's words, once more: the messages, and whether what is behind them may become one.
fn cut(mut bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    loop {
        let Some(&kind) = bytes.first() else { return (found, true) };
        let is_stun = kind >> 6 == 0;
        if kind >> 6 > 1 {
            return (found, false);
        }
        let Some(&[_, _, high, low]) = bytes.first_chunk() else { return (found, true) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let length = if is_stun { 20 + length } else { 4 + length };
        let cookie = [0x21, 0x12, 0xa4, 0x42];
        let is_cookie = bytes[4..].iter().zip(cookie).all(|(byte, expected)| *byte == expected);
        if is_stun && (length % 4 != 0 || !is_cookie) || length.next_multiple_of(4) > LONGEST {
            return (found, false);
        }
        let Some(message) = bytes.get(..length.next_multiple_of(4)) else { return (found, true) };
        found.push(message[..length].to_vec());
        bytes = &bytes[message.len()..];
    }
}

/// All of the bytes, in pieces of these lengths and a last one.
fn in_pieces<'a>(mut bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(bytes.len(), |length| usize::from(*length).min(bytes.len()));
        let (piece, rest) = bytes.split_at(length);
        let was_last = lengths.len() == 0 && bytes.is_empty();
        bytes = rest;
        (!was_last).then_some(piece)
    })
}
