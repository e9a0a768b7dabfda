//! Any frames, and any bytes, as what a client sends by a WebSocket: the same messages come out as another reader of the protocol
//! finds, however they arrive, and nothing that it refuses.
#![no_main]

#[path = "../../../relay-userspace/src/net/streams/websocket.rs"]
mod websocket;

use std::io::{self, ErrorKind, Read, Write};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};
use turnpike::framing::{self, LONGEST};
use websocket::{BINARY, Frame, LONGEST_HEADER, WebSocket};

/// The bound of clients that are not known yet is lower.
const SHORT: usize = 300;

#[derive(Arbitrary, Debug)]
enum Piece {
    Frame {
        first: u8,
        masked: bool,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
    /// A header that says what may not be so.
    Header {
        first: u8,
        second: u8,
        length: u64,
        mask: [u8; 4],
    },
    Raw(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Message(Vec<u8>),
    Ping(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// More may come.
    Open,
    Closed,
    Refused(CloseCode),
}

fuzz_target!(|input: (bool, Vec<u8>, Vec<Piece>)| {
    let (known, lengths, pieces) = input;
    let longest = if known { LONGEST } else { SHORT };
    let bytes: Vec<u8> = pieces.iter().flat_map(written).collect();
    let at_once = read(&bytes, &[], longest);
    assert_eq!(read(&bytes, &lengths, longest), at_once);

    let (events, end) = at_once;
    let (others, others_end) = reference(&bytes, longest);
    match end {
        End::Open => assert_eq!((&events, End::Open), (&others, others_end)),
        // The other looks into the frame, for a code that is none, before it closes.
        End::Closed => {
            assert_eq!(events, others);
            assert_ne!(others_end, End::Open);
        }
        // Text is fine with the other, and it waits for the end of what is too long. What it goes on to read does not matter.
        End::Refused(_) => assert!(others.starts_with(&events), "{events:?} {others:?}"),
    }
    for event in &events {
        answered(event);
    }
});

/// As the server reads it, in pieces of these lengths.
fn read(bytes: &[u8], lengths: &[u8], longest: usize) -> (Vec<Event>, End) {
    let (mut socket, mut input, mut events) = (WebSocket::default(), Vec::new(), Vec::new());
    let mut rest = bytes;
    let mut lengths = lengths.iter();
    loop {
        let length = lengths.next().map_or(rest.len(), |length| usize::from(*length).min(rest.len()));
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        input.extend_from_slice(piece);
        loop {
            let (space, event) = match socket.next(&mut input, longest) {
                Err(code) => return (events, End::Refused(code)),
                Ok(None) => break,
                Ok(Some((_, Frame::Close))) => return (events, End::Closed),
                Ok(Some((space, Frame::Nothing))) => (space, None),
                Ok(Some((space, Frame::Message(range)))) => {
                    (space, Some(Event::Message(input[range].to_vec())))
                }
                Ok(Some((space, Frame::Assembled(message)))) => (space, Some(Event::Message(message))),
                Ok(Some((space, Frame::Ping(range)))) => (space, Some(Event::Ping(input[range].to_vec()))),
            };
            if let Some(Event::Message(message)) = &event {
                assert!(message.len() <= longest);
            }
            assert!(space >= 6 && space <= input.len(), "a client's frame has two bytes and a mask");
            events.extend(event);
            input.drain(..space);
        }
        if rest.is_empty() && lengths.len() == 0 {
            return (events, End::Open);
        }
    }
}

/// What the library makes of it.
fn reference(bytes: &[u8], longest: usize) -> (Vec<Event>, End) {
    let config = WebSocketConfig::default().max_frame_size(Some(longest)).max_message_size(Some(longest));
    let mut socket = tungstenite::WebSocket::from_raw_socket(Wire(bytes), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Binary(message)) => events.push(Event::Message(message.to_vec())),
            Ok(Message::Ping(payload)) => events.push(Event::Ping(payload.to_vec())),
            Ok(Message::Pong(_) | Message::Text(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) => return (events, End::Closed),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return (events, End::Open),
            Err(_) => return (events, End::Refused(CloseCode::Protocol)),
        }
    }
}

/// Bytes that came, and nobody who reads answers.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the server answers, or would send on, is what a client reads.
fn answered(event: &Event) {
    let mut bytes = Vec::new();
    let expected = match event {
        Event::Ping(payload) => {
            websocket::write_pong(&mut bytes, payload);
            Message::Pong(payload.clone().into())
        }
        Event::Message(message) => {
            websocket::write_header(&mut bytes, BINARY, message.len());
            assert!(bytes.len() <= LONGEST_HEADER);
            bytes.extend_from_slice(message);
            Message::Binary(message.clone().into())
        }
    };
    let header = bytes[0];
    websocket::write_close(&mut bytes, CloseCode::Normal);
    let mut socket = tungstenite::WebSocket::from_raw_socket(Wire(&bytes), Role::Client, None);
    assert_eq!(socket.read().expect("a frame"), expected, "{header:#x}");
    assert!(matches!(socket.read(), Ok(Message::Close(Some(frame))) if frame.code == CloseCode::Normal));
}

fn written(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Raw(bytes) => bytes.clone(),
        Piece::Header { first, second, length, mask } => {
            let mut bytes = vec![*first, *second];
            match second & 0x7f {
                126 => bytes.extend((*length as u16).to_be_bytes()),
                127 => bytes.extend(length.to_be_bytes()),
                _ => {}
            }
            bytes.extend(mask);
            bytes
        }
        Piece::Frame { first, masked, mask, payload } => {
            // Mostly what there is: binary, its parts, ping, pong and the end.
            let opcodes = [0x82, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, *first];
            let mut bytes = vec![opcodes[usize::from(*first) % opcodes.len()]];
            let masked = *masked || first % 4 != 0;
            let top = if masked { 0x80 } else { 0 };
            match payload.len() {
                short @ 0..126 => bytes.push(top | short as u8),
                long => {
                    bytes.push(top | 126);
                    bytes.extend((long as u16).to_be_bytes());
                }
            }
            if masked {
                bytes.extend(mask);
            }
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
            bytes
        }
    }
}
