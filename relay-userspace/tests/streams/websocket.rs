//! What a WebSocket does beside carrying messages (RFC 6455).

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use turnpike::net::{ConnectionKind, Server, SessionQuery};
use turnpike::stun::{ErrorCode, Message, Method};
use turnpike::turn::TcpRelay;

use super::client::{Client, KINDS, PATIENCE, channel_data, frame};
use super::relaying::peer;
use super::server::{ANY_PORT, config, start, wait_for};

const CHANNEL: u16 = 0x4001;
const BOTH: [ConnectionKind; 2] = [ConnectionKind::Ws, ConnectionKind::Wss];

/// The code that the server closes a connection with; it ends once the client has said goodbye.
fn closed_with(server: &Server, client: &mut Client, kind: ConnectionKind) -> u16 {
    let closed = server.stats().connections(kind).closed;
    let (first, payload) = client.receive_frame().expect("a close frame");
    assert_eq!(first, 0x88);
    let start = Instant::now();
    let _ = client.wire.write_all(&frame(0x88, &payload));
    assert_eq!(client.receive_frame(), None);
    client.wire.socket().shutdown(std::net::Shutdown::Both).unwrap();
    wait_for(server, "the end", |s| s.connections(kind).closed > closed);
    assert!(start.elapsed() < PATIENCE / 2, "nobody was waited for");
    u16::from_be_bytes(payload.try_into().unwrap())
}

#[test]
fn several_messages_in_one_frame_and_one_in_several_are_tolerated() {
    let server = start(1);
    for kind in BOTH {
        let peer = peer();
        let mut client = Client::new(&server, kind);
        client.allocate();
        client.bind_channel(CHANNEL, peer.local_addr().unwrap());
        let padded = [channel_data(CHANNEL, b"12345"), vec![0; 3]].concat();
        let last = channel_data(CHANNEL, b"6");
        client.wire.write_all(&frame(0x82, &[&padded[..], &padded, &last].concat())).unwrap();
        client.wire.write_all(&frame(0x02, &padded[..3])).unwrap();
        client.wire.write_all(&frame(0x89, b"are you there?")).unwrap();
        client.wire.write_all(&frame(0x00, &padded[3..7])).unwrap();
        client.wire.write_all(&frame(0x80, &padded[7..])).unwrap();
        client.wire.write_all(&frame(0x82, b"")).unwrap();
        client.wire.write_all(&frame(0x8a, b"an unasked pong")).unwrap();
        let mut buffer = [0; 64];
        for expected in [&b"12345"[..], b"12345", b"6", b"12345"] {
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected, "{kind:?}");
        }
        assert_eq!(client.receive_frame(), Some((0x8a, b"are you there?".to_vec())));
        let request = client.binding_request();
        client.send(&request);
        assert!(Message::parse(&client.receive().unwrap()).is_ok());
    }
}

#[test]
fn what_is_not_served_is_refused_with_its_code_and_the_allocation_ends() {
    let server = start(1);
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("text", frame(0x81, b"hello"), 1003),
        ("not masked", vec![0x82, 4, 1, 2, 3, 4], 1002),
        ("compressed", frame(0xc2, b"1234"), 1002),
        ("too long", frame(0x82, &vec![0; (1 << 16) + 4]), 1009),
        ("no TURN", frame(0x82, &[0xff; 16]), 1007),
        ("half a message", frame(0x82, &[0x40, 1, 0, 9, 1]), 1007),
        ("half of a code", frame(0x88, &[3]), 1002),
        ("a code that nobody may send", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("goodbye", frame(0x88, &1001_u16.to_be_bytes()), 1000),
    ];
    for kind in BOTH {
        for (what, bytes, code) in &cases {
            let mut client = Client::new(&server, kind);
            client.allocate();
            let before = server.stats().reason(Reason::Malformed).packets;
            client.wire.write_all(bytes).unwrap();
            assert_eq!(closed_with(&server, &mut client, kind), *code, "{what}");
            let stats = wait_for(&server, "the end", |s| s.allocations() == 0);
            let malformed = stats.reason(Reason::Malformed).packets - before;
            assert_eq!(malformed, u64::from(*code != 1000), "{what}");
        }
    }
    let mut stranger = Client::new(&server, ConnectionKind::Ws);
    stranger.wire.write_all(&frame(0x82, &[0; 5000])[..100]).unwrap();
    assert_eq!(closed_with(&server, &mut stranger, ConnectionKind::Ws), 1009);
}

/// The operator is not told that a WebSocket is plain TCP.
#[test]
fn a_walk_says_of_each_client_what_its_connection_is_made_of() {
    let server = start(2);
    for kind in KINDS {
        let mut client = Client::new(&server, kind);
        client.allocate();
        let query = SessionQuery { user: None, most: 10 };
        let found = server.sessions(&query).wait(PATIENCE).expect("an answer of each shard");
        let kinds: Vec<_> = found.iter().flat_map(|f| &f.sessions).map(|s| s.connection).collect();
        assert_eq!(kinds, [Some(kind)]);
        drop(client);
        wait_for(&server, "the end", |s| s.allocations() == 0);
    }
}

/// RFC 6062 has bytes follow the answer: a WebSocket is refused before anything is answered, and goes on.
#[test]
fn a_websocket_does_not_become_the_connection_of_a_peer() {
    let mut config = config(2, ANY_PORT);
    let idle = Duration::from_secs(60);
    Arc::get_mut(&mut config.core).unwrap().tcp_relay =
        Some(TcpRelay { allocation_connections: 4, user_connections: 4, total_connections: 4, idle });
    let server = Server::start(config).unwrap();
    let mut control = Client::new(&server, ConnectionKind::Tcp);
    control.request(Method::ALLOCATE, |b| _ = b.requested_transport(6)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let answer = control.request(Method::CONNECT, |b| _ = b.xor_peer_address(at)).unwrap();
    let connection = Message::parse(&answer).unwrap().connection_id().unwrap().unwrap();
    let bind = |client: &mut Client| {
        client.request(Method::CONNECTION_BIND, |b| _ = b.connection_id(connection)).map(drop)
    };
    for kind in BOTH {
        for _ in 0..3 {
            let mut client = Client::new(&server, kind);
            assert_eq!(bind(&mut client), Err(ErrorCode::BAD_REQUEST));
            client.allocate();
        }
    }
    assert_eq!(bind(&mut Client::new(&server, ConnectionKind::Tcp)), Ok(()));
}
