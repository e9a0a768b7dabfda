//! A client's first message, read without keeping anything, and the short answers that it may get without that.

use std::ops::Range;

use super::cookie::Cookie;

/// Content types of records (RFC 6347 section 4.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Handshake messages (RFC 6347 section 4.3.2).
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// DTLS 1.0 and 1.2; versions count down.
const DTLS10: [u8; 2] = [0xfe, 0xff];
const DTLS12: [u8; 2] = [0xfe, 0xfd];

/// Bytes of a record's header, and of a handshake message's.
const RECORD: usize = 13;
const MESSAGE: usize = 12;

/// Extension `server_name` (RFC 6066 section 3).
const SERVER_NAME: u16 = 0;

/// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256` (RFC 7905 section 2).
const CHACHA20_POLY1305: [u8; 2] = [0xcc, 0xa9];

/// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, and with 256 and SHA-384 (RFC 5289 section 3.2).
const AES_GCM: [[u8; 2]; 2] = [[0xc0, 0x2b], [0xc0, 0x2c]];

/// A well-formed ClientHello of DTLS 1.2, alone in its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello<'a> {
    /// The record's number.
    pub(super) sequence: u64,
    /// The message's number: 0 at first, 1 with a cookie.
    pub(super) message: u16,
    /// What the client drew.
    pub(super) random: [u8; 32],
    pub(super) cookie: &'a [u8],
    /// Version, random and session before the cookie; suites and compressions behind it.
    said: [&'a [u8]; 2],
    extensions: &'a [u8],
    suites: &'a [u8],
}

/// Why a datagram is no ClientHello that can be answered with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoHello {
    /// It is something else, or a part of one: what is not whole would have to be kept.
    Malformed,
    /// The client knows only DTLS 1.0; its record had this number.
    OldVersion(u64),
}

/// Most bytes of a datagram with a hello. All of it is kept while the association lasts, and hashed more than once in a handshake.
pub(crate) const LONGEST_HELLO: usize = 2 << 10;

/// Most records that are taken of a datagram. A client's flight has three; dimpl keeps five kilobytes for each that it cannot
/// handle at once, however short.
const MOST_RECORDS: usize = 4;

/// Whether a datagram is made of few records, all of kinds that there are in DTLS 1.2 (RFC 5246 section 6.2.1).
pub(crate) fn is_ordinary(datagram: &[u8]) -> bool {
    let is_known = |header: &[u8]| (20..=23).contains(&header[0]);
    let count = headers(datagram).take(MOST_RECORDS + 1).count();
    (1..=MOST_RECORDS).contains(&count) && headers(datagram).all(is_known)
}

/// Whether there is an alert in the clear among the records of a datagram: anybody can have written it.
pub(crate) fn has_clear_alert(datagram: &[u8]) -> bool {
    headers(datagram).any(|header| header[0] == ALERT && header[3..5] == [0, 0])
}

/// The headers of the records of a datagram. Behind one that claims more than there is nothing follows.
fn headers(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (header, behind) = rest.split_at_checked(RECORD)?;
        rest = behind.get(number(&header[11..]) as usize..).unwrap_or_default();
        Some(header)
    })
}

/// Whether a datagram begins with a ClientHello in the clear, whatever follows.
pub(crate) fn is_hello(datagram: &[u8]) -> bool {
    matches!(datagram, [HANDSHAKE, 0xfe, _, 0, 0, _, _, _, _, _, _, _, _, CLIENT_HELLO, ..])
}

impl<'a> Hello<'a> {
    /// Reads a datagram.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, NoHello> {
        Self::read(datagram).unwrap_or(Err(NoHello::Malformed))
    }

    fn read(datagram: &'a [u8]) -> Option<Result<Self, NoHello>> {
        if !is_hello(datagram) {
            return None;
        }
        let sequence = number(datagram.get(5..11)?);
        let mut record = Reader(datagram.get(11..)?);
        let message = record.vector(2)?;
        if !record.0.is_empty() || message.len() < MESSAGE {
            return None;
        }
        let (header, body) = message.split_at(MESSAGE);
        let whole = number(&header[1..4]) == body.len() as u64
            && number(&header[6..9]) == 0
            && number(&header[9..12]) == body.len() as u64;
        if !whole {
            return None;
        }
        let mut reader = Reader(body);
        let version = reader.take(2)?;
        let random: [u8; 32] = reader.take(32)?.try_into().ok()?;
        let session = reader.vector(1)?;
        let before = &body[..body.len() - reader.0.len()];
        let cookie = reader.vector(1)?;
        let rest = reader.0;
        let suites = reader.vector(2)?;
        let compressions = reader.vector(1)?;
        let after = &rest[..rest.len() - reader.0.len()];
        let extensions = if reader.0.is_empty() { &[][..] } else { reader.vector(2)? };
        let odd = session.len() > 32 || suites.is_empty() || suites.len() % 2 == 1 || compressions.is_empty();
        if odd || !reader.0.is_empty() {
            return None;
        }
        if version[0] != 0xfe || version[1] > DTLS12[1] {
            return Some(Err(NoHello::OldVersion(sequence)));
        }
        let message = number(&header[4..6]) as u16;
        Some(Ok(Self { sequence, message, random, cookie, said: [before, after], extensions, suites }))
    }

    /// The number of its record, which the first answer has as well.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the client says again when it brings a cookie (RFC 6347 section 4.2.1).
    pub(super) fn said_again(&self) -> [&'a [u8]; 2] {
        self.said
    }

    /// The name in SNI, in lower case.
    pub(crate) fn server_name(&self) -> Option<String> {
        let mut extensions = Reader(self.extensions);
        while !extensions.0.is_empty() {
            let kind = number(extensions.take(2)?) as u16;
            let value = extensions.vector(2)?;
            if kind == SERVER_NAME {
                let mut names = Reader(Reader(value).vector(2)?);
                let is_name = names.take(1)? == [0];
                let name = std::str::from_utf8(names.vector(2)?).ok()?;
                return is_name.then(|| name.to_ascii_lowercase());
            }
        }
        None
    }

    /// Whether the client can encrypt by ChaCha20-Poly1305.
    pub(super) fn offers_chacha20(&self) -> bool {
        self.suites.as_chunks().0.contains(&CHACHA20_POLY1305)
    }

    /// Whether the client can encrypt by AES-GCM. dimpl waits for another hello where there is no suite that it knows.
    pub(super) fn offers_aes_gcm(&self) -> bool {
        self.suites.as_chunks().0.iter().any(|suite| AES_GCM.contains(suite))
    }

    /// The hello as it was before the client had a cookie, as far as it matters.
    pub(super) fn without_cookie(&self) -> Vec<u8> {
        let [before, after] = self.said;
        let length = before.len() + 1 + after.len();
        let mut out = record(HANDSHAKE, DTLS10, 0, MESSAGE + length);
        message(&mut out, CLIENT_HELLO, length);
        out.extend_from_slice(before);
        out.push(0);
        out.extend_from_slice(after);
        out
    }

    /// The answer to a hello without a good cookie. It is shorter than any hello, and keeps the numbers of the hello (RFC 6347
    /// section 4.2.1), so that nothing has to be known of the client.
    pub(crate) fn verify_request(&self, cookie: Cookie) -> Vec<u8> {
        let length = DTLS10.len() + 1 + cookie.len();
        let mut out = record(HANDSHAKE, DTLS10, self.sequence, MESSAGE + length);
        message(&mut out, HELLO_VERIFY_REQUEST, length);
        // Whatever version will be agreed on.
        out.extend(DTLS10);
        out.push(cookie.len() as u8);
        out.extend(cookie);
        out
    }
}

/// An alert in the clear, which ends the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Alert {
    /// Nothing that both know: suites, curves, signatures.
    HandshakeFailure = 40,
    /// Only old versions.
    ProtocolVersion = 70,
}

impl Alert {
    /// The record, with this number.
    pub(crate) fn record(self, sequence: u64) -> Vec<u8> {
        let mut out = record(ALERT, DTLS12, sequence, 2);
        // Fatal.
        out.extend([2, self as u8]);
        out
    }
}

/// Where in a datagram of ours the numbers of its records in the clear are.
pub(super) fn clear_numbers(datagram: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let header = datagram.get(at..at + RECORD)?;
            let number_at = at + 5..at + 11;
            at += RECORD + number(&header[11..]) as usize;
            if header[3..5] == [0, 0] {
                return Some(number_at);
            }
        }
    })
}

/// Adds to a record's number, and returns what it is then.
pub(super) fn raise(bytes: &mut [u8], by: u64) -> u64 {
    let raised = number(bytes).wrapping_add(by) & ((1 << 48) - 1);
    bytes.copy_from_slice(&raised.to_be_bytes()[2..]);
    raised
}

fn record(kind: u8, version: [u8; 2], sequence: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD + length);
    out.push(kind);
    out.extend(version);
    // Nothing is encrypted yet: epoch 0.
    out.extend([0, 0]);
    out.extend(&sequence.to_be_bytes()[2..]);
    out.extend((length as u16).to_be_bytes());
    out
}

/// The header of a whole message, the first in its direction.
fn message(out: &mut Vec<u8>, kind: u8, length: usize) {
    let length = &(length as u32).to_be_bytes()[1..];
    out.push(kind);
    out.extend(length);
    out.extend([0, 0]);
    out.extend([0, 0, 0]);
    out.extend(length);
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes behind their length, which takes so many bytes itself.
    fn vector(&mut self, prefix: usize) -> Option<&'a [u8]> {
        let length = number(self.take(prefix)?) as usize;
        self.take(length)
    }
}
