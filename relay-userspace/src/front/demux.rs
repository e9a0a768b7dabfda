//! What a client speaks, from the first bytes that it sends.
//!
//! RFC 8489 section 5: the two most significant bits of a STUN message are zero, and its magic cookie is in bytes 4 to 7.
//! ChannelData cannot come first, as a channel must be bound before; so what begins with a letter is a method of HTTP. A TLS
//! ClientHello begins with 0x16, as a STUN message might, but has no cookie.

use std::io;

use tokio::io::AsyncRead;

use super::head::Head;
use crate::stun::MAGIC_COOKIE;

/// The longest method that HTTP has registered is UPDATEREDIRECTREF.
const LONGEST_METHOD: usize = 17;

/// What a PROXY header of version 1 begins with: it looks like a method, and is none.
const PROXY: &[u8] = b"PROXY ";

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spoken {
    /// TURN, or STUN, over a stream.
    Turn,
    /// HTTP, perhaps to speak WebSocket later.
    Http,
    /// Nothing of ours.
    Garbage,
    /// It has gone without a word that could be understood.
    Gone,
}

/// What it is, as soon as these first bytes tell.
pub(super) fn tell(first: &[u8]) -> Option<Spoken> {
    match first.first()? {
        0x00..=0x3f => {
            let cookie = first.get(4..).unwrap_or_default();
            let so_far = cookie.len().min(MAGIC_COOKIE.len());
            match cookie[..so_far] == MAGIC_COOKIE[..so_far] {
                false => Some(Spoken::Garbage),
                true => (so_far == MAGIC_COOKIE.len()).then_some(Spoken::Turn),
            }
        }
        b'A'..=b'Z' => match first.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'-') {
            Some(end) if end > LONGEST_METHOD || first[end] != b' ' || &first[..=end] == PROXY => {
                Some(Spoken::Garbage)
            }
            Some(_) => Some(Spoken::Http),
            None => (first.len() > LONGEST_METHOD).then_some(Spoken::Garbage),
        },
        _ => Some(Spoken::Garbage),
    }
}

/// Reads until it is known. What was read is still to be read afterwards.
pub(super) async fn listen<S: AsyncRead + Unpin>(head: &mut Head<S>) -> io::Result<Spoken> {
    loop {
        if let Some(spoken) = tell(head.kept()) {
            return Ok(spoken);
        }
        if head.fill().await? == 0 {
            return Ok(Spoken::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Binding request.
    const STUN: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    /// What the bytes are, and from how many on that is known.
    fn told(bytes: &[u8]) -> (Option<Spoken>, usize) {
        let known = (0..=bytes.len()).find_map(|len| Some((tell(&bytes[..len])?, len)));
        if let Some((spoken, len)) = known {
            // However many come with them.
            assert!((len..=bytes.len()).all(|len| tell(&bytes[..len]) == Some(spoken)), "{bytes:?}");
        }
        known.map_or((None, bytes.len()), |(spoken, len)| (Some(spoken), len))
    }

    #[test]
    fn turn_is_known_by_its_cookie_and_http_by_its_method() {
        assert_eq!(told(&STUN), (Some(Spoken::Turn), 8));
        assert_eq!(told(b"GET / HTTP/1.1\r\n"), (Some(Spoken::Http), 4));
        assert_eq!(told(b"UPDATEREDIRECTREF / HTTP/1.1\r\n"), (Some(Spoken::Http), 18));
        assert_eq!(told(b"VERSION-CONTROL / HTTP/1.1\r\n"), (Some(Spoken::Http), 16));
        assert_eq!(told(b""), (None, 0));
        assert_eq!(told(&STUN[..7]), (None, 7));
        assert_eq!(told(b"OPTIONS"), (None, 7));
    }

    #[test]
    fn everything_else_is_garbage_as_soon_as_that_is_certain() {
        let mut early = STUN;
        early[5] ^= 1;
        assert_eq!(told(&early), (Some(Spoken::Garbage), 6));
        // A ClientHello on a port without TLS.
        assert_eq!(told(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]), (Some(Spoken::Garbage), 5));
        assert_eq!(told(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), (Some(Spoken::Garbage), 6));
        assert_eq!(told(b"\r\n\r\n\0\r\nQUIT\n"), (Some(Spoken::Garbage), 5));
        assert_eq!(told(b"SSH-2.0-OpenSSH"), (Some(Spoken::Garbage), 5));
        assert_eq!(told(b"get / HTTP/1.1"), (Some(Spoken::Garbage), 1));
        assert_eq!(told(b"AAAAAAAAAAAAAAAAAA / HTTP/1.1"), (Some(Spoken::Garbage), 18));
        assert_eq!(told(&[0x40, 0, 0, 4, 1, 2, 3, 4]), (Some(Spoken::Garbage), 1));
        assert_eq!(told(&[0x80, 0x80]), (Some(Spoken::Garbage), 1));
        // ChannelData of channel 0x4745 is not taken for GET.
        assert_eq!(told(&[0x47, 0x45, 0, 4, 1, 2, 3, 4]), (Some(Spoken::Garbage), 3));
    }

    #[test]
    fn nothing_takes_more_than_eighteen_bytes_to_tell() {
        let mut state = 1u64;
        for _ in 0..100_000 {
            let bytes: [u8; 18] = std::array::from_fn(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                // Half of them letters.
                let byte = (state >> 33) as u8;
                if state >> 63 == 0 { byte } else { b'A' + byte % 26 }
            });
            assert!(told(&bytes).0.is_some(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn every_way_to_cut_the_first_bytes_is_read_the_same_and_none_is_lost() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for (message, expected) in
            [(&STUN[..], Spoken::Turn), (b"GET / HTTP/1.1\r\n", Spoken::Http), (&STUN[..6], Spoken::Gone)]
        {
            for first in 0..message.len() {
                for second in first..message.len() {
                    let (mut client, server) = tokio::io::duplex(64);
                    let mut head = Head::new(server);
                    let message = message.to_vec();
                    let whole = message.clone();
                    let sending = tokio::spawn(async move {
                        for part in [&message[..first], &message[first..second], &message[second..]] {
                            client.write_all(part).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    });
                    assert_eq!(listen(&mut head).await.unwrap(), expected, "{first} {second}");
                    let mut read = Vec::new();
                    head.read_to_end(&mut read).await.unwrap();
                    sending.await.unwrap();
                    assert_eq!(read, whole, "{first} {second}");
                }
            }
        }
    }
}
