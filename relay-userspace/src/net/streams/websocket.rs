//! WebSocket frames of clients (RFC 6455), after the HTTP upgrade. Headers and opcodes are tungstenite's; the rules for what
//! follows what are here, as nothing may be buffered twice or kept while a client is idle.

use std::io::Cursor;
use std::mem;
use std::ops::Range;

use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{FrameHeader, coding};

use crate::framing::LONGEST;

/// Longest payload of a control frame (RFC 6455 section 5.5).
const LONGEST_CONTROL: u64 = 125;

/// Longest header of a frame that a server sends: it masks nothing.
pub(super) const LONGEST_HEADER: usize = 10;

/// The connection is to be closed with this code.
pub(super) type Refused = CloseCode;

/// What a client sent, and where in the input it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// A whole binary message.
    Message(Range<usize>),
    /// A whole binary message that came in several frames.
    Assembled(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Range<usize>),
    /// The client ends the connection.
    Close,
    /// A part of a message, or a pong.
    Nothing,
}

/// What is known of the message that is coming in.
#[derive(Default, Debug)]
pub(super) struct WebSocket {
    /// What came of it.
    message: Vec<u8>,
    /// More of it follows.
    open: bool,
}

impl WebSocket {
    /// Takes the first frame of `input`, if it is whole, and unmasks it there; says how many bytes it took. A message may
    /// have at most `longest` bytes.
    pub(super) fn next(
        &mut self,
        input: &mut [u8],
        longest: usize,
    ) -> Result<Option<(usize, Frame)>, Refused> {
        let mut cursor = Cursor::new(&*input);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| CloseCode::Protocol)?;
        let start = cursor.position() as usize;
        let Some((header, length)) = parsed else { return Ok(None) };
        let FrameHeader { is_final, rsv1, rsv2, rsv3, opcode, mask } = header;
        // RFC 6455 section 5.1: a server closes the connection upon a frame that is not masked.
        let Some(mask) = mask.filter(|_| !(rsv1 || rsv2 || rsv3)) else { return Err(CloseCode::Protocol) };
        match opcode {
            OpCode::Control(_) if length > LONGEST_CONTROL || !is_final => return Err(CloseCode::Protocol),
            OpCode::Control(_) => {}
            // Nothing that TURN has to say is text.
            OpCode::Data(Data::Text) => return Err(CloseCode::Unsupported),
            OpCode::Data(Data::Continue) if !self.open => return Err(CloseCode::Protocol),
            OpCode::Data(Data::Binary) if self.open => return Err(CloseCode::Protocol),
            OpCode::Data(_) if length > (longest - self.message.len().min(longest)) as u64 => {
                return Err(CloseCode::Size);
            }
            OpCode::Data(_) => {}
        }
        let end = start + length as usize;
        let Some(payload) = input.get_mut(start..end) else { return Ok(None) };
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        let frame = match opcode {
            OpCode::Control(Control::Ping) => Frame::Ping(start..end),
            OpCode::Control(Control::Pong) => Frame::Nothing,
            OpCode::Control(Control::Close) => {
                check_close(payload)?;
                Frame::Close
            }
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                return Err(CloseCode::Protocol);
            }
            OpCode::Data(_) if is_final && !self.open => Frame::Message(start..end),
            OpCode::Data(_) => {
                self.message.extend_from_slice(payload);
                self.open = !is_final;
                if is_final { Frame::Assembled(mem::take(&mut self.message)) } else { Frame::Nothing }
            }
        };
        Ok(Some((end, frame)))
    }
}

/// What a client says by closing (RFC 6455 section 5.5.1): nothing, or a code that may be sent (section 7.4) and a text.
fn check_close(payload: &[u8]) -> Result<(), Refused> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(()),
        None => Err(CloseCode::Protocol),
        Some((code, _)) if !CloseCode::from(u16::from_be_bytes(*code)).is_allowed() => {
            Err(CloseCode::Protocol)
        }
        // Section 8.1.
        Some((_, reason)) if std::str::from_utf8(reason).is_err() => Err(CloseCode::Invalid),
        Some(_) => Ok(()),
    }
}

/// Writes the header of a frame.
pub(super) fn write_header(out: &mut Vec<u8>, opcode: OpCode, length: usize) {
    debug_assert!(length <= LONGEST);
    let header = FrameHeader { opcode, is_final: true, ..FrameHeader::default() };
    header.format(length as u64, out).expect("a Vec takes all that is written to it");
}

/// The opcode of a message that carries TURN.
pub(super) const BINARY: OpCode = OpCode::Data(coding::Data::Binary);

/// The frame that ends a connection.
pub(super) fn write_close(out: &mut Vec<u8>, code: CloseCode) {
    write_header(out, OpCode::Control(Control::Close), 2);
    out.extend(u16::from(code).to_be_bytes());
}

/// The answer to a ping (RFC 6455 section 5.5.3).
pub(super) fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_header(out, OpCode::Control(Control::Pong), payload.len());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a client.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = vec![first];
        match payload.len() {
            0..126 => frame.push(0x80 | payload.len() as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((payload.len() as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn a_message_is_read_from_one_frame_or_many() {
        for length in [0, 1, 125, 126, 4000, 65_536] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut whole = frame(0x82, &payload);
            for end in [0, 1, 5, whole.len() - 1] {
                let part = &mut whole.clone()[..end];
                assert_eq!(WebSocket::default().next(part, LONGEST), Ok(None), "{length}, {end}");
            }
            let taken = whole.len();
            let (space, Frame::Message(range)) =
                WebSocket::default().next(&mut whole, LONGEST).unwrap().unwrap()
            else {
                panic!("{length}")
            };
            assert_eq!((space, &whole[range]), (taken, &payload[..]));
        }
        let mut socket = WebSocket::default();
        let mut next = |first, payload: &[u8]| {
            let mut bytes = frame(first, payload);
            socket.next(&mut bytes, LONGEST).map(|taken| taken.unwrap().1)
        };
        assert_eq!(next(0x02, b"one, "), Ok(Frame::Nothing));
        assert!(matches!(next(0x89, b"in between"), Ok(Frame::Ping(_))));
        assert_eq!(next(0x00, b"two, "), Ok(Frame::Nothing));
        assert_eq!(next(0x80, b"three"), Ok(Frame::Assembled(b"one, two, three".into())));
        assert_eq!(next(0x80, b"four"), Err(CloseCode::Protocol));
    }

    #[test]
    fn what_the_protocol_forbids_is_refused_with_the_code_for_it() {
        let refused = |bytes: &[u8], longest| {
            let mut bytes = bytes.to_vec();
            WebSocket::default().next(&mut bytes, longest).unwrap_err()
        };
        assert_eq!(refused(&[0x82, 1, 7], 10), CloseCode::Protocol, "not masked");
        assert_eq!(refused(&frame(0x81, b"text"), 10), CloseCode::Unsupported);
        assert_eq!(refused(&frame(0x82, &[0; 11]), 10), CloseCode::Size);
        assert_eq!(refused(&frame(0xc2, b"compressed"), 10), CloseCode::Protocol);
        assert_eq!(refused(&frame(0x83, b"reserved"), 10), CloseCode::Protocol);
        assert_eq!(refused(&frame(0x8b, b"reserved"), 10), CloseCode::Protocol);
        assert_eq!(refused(&frame(0x09, b"a part of a ping"), 10), CloseCode::Protocol);
        assert_eq!(refused(&frame(0x89, &[0; 126]), 10), CloseCode::Protocol);
        let huge = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(refused(&huge, LONGEST), CloseCode::Size);
    }

    #[test]
    fn a_close_that_says_nothing_or_something_is_one_and_any_other_is_wrong() {
        let taken = |payload: &[u8]| {
            let taken = WebSocket::default().next(&mut frame(0x88, payload), LONGEST);
            taken.map(|taken| taken.unwrap().1)
        };
        assert_eq!(taken(b""), Ok(Frame::Close));
        for code in [1000_u16, 1001, 1003, 1011, 3000, 3999, 4000, 4999] {
            assert_eq!(taken(&code.to_be_bytes()), Ok(Frame::Close), "{code}");
            assert_eq!(taken(&[&code.to_be_bytes(), "über".as_bytes()].concat()), Ok(Frame::Close), "{code}");
        }
        assert_eq!(taken(&[3]), Err(CloseCode::Protocol), "half of a code");
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert_eq!(taken(&code.to_be_bytes()), Err(CloseCode::Protocol), "{code}");
        }
        assert_eq!(taken(b"\x03\xe8\xff"), Err(CloseCode::Invalid));
    }

    #[test]
    fn the_parts_of_a_message_are_no_longer_together_than_one() {
        let mut socket = WebSocket::default();
        for _ in 0..10 {
            assert!(socket.next(&mut frame(0x02 & if socket.open { 0 } else { 0xff }, &[0]), 10).is_ok());
        }
        assert_eq!(socket.next(&mut frame(0x00, &[0]), 10), Err(CloseCode::Size));
        assert_eq!(socket.next(&mut frame(0x00, &[0]), 5), Err(CloseCode::Size), "a lower bound since");
    }
}
