//! Whom a shard serves before others have their turn, by counting what one turn of it takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use super::rig;
use super::shard::Shard;
use super::streams::Framing;
use super::streams::patience_tests::client::{pair, stream};
use super::streams::patience_tests::server::{ANY_PORT, config};
use crate::stun::{Builder, Class, MessageType, Method, TransactionId};
use crate::time::Timestamp;

/// What each connection has to say at once.
const EACH: u32 = 100;

/// Connections with something to say.
const CONNECTIONS: usize = 20;

/// Connections that are served in a turn, and messages of each.
const OF_A_TURN: u64 = 8 * 32;

fn binding_request(number: u32) -> Vec<u8> {
    let mut id = [7; 12];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let mut out = Vec::new();
    Builder::new(&mut out, MessageType { method: Method::BINDING, class: Class::Request }, TransactionId(id))
        .finish();
    out
}

/// Requests that were answered so far, of connections and datagrams together.
fn answered(shard: &Shard) -> u64 {
    let mut stats = super::Stats::default();
    shard.counters.add_to(&mut stats);
    stats.responses("binding", None)
}

/// Connections whose requests all wait already.
fn backlog(shard: &mut Shard) -> Vec<TcpStream> {
    let connect = |shard: &mut Shard| {
        let (server, mut client) = pair();
        shard.admit(Timestamp::now(), stream(server, None, Framing::Turn));
        let said: Vec<_> = (0..EACH).flat_map(binding_request).collect();
        client.write_all(&said).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    (0..CONNECTIONS).map(|_| connect(shard)).collect()
}

fn datagram_client(listener: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(listener).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// However much connections have to say, a datagram waits for 32 messages of eight of them, and no more; and each connection has
/// its turn.
#[test]
fn a_turn_takes_a_few_messages_of_a_few_connections_and_all_datagrams() {
    let mut shard = rig::shard(config(1, ANY_PORT));
    let mut clients = backlog(&mut shard);
    let udp = datagram_client(shard.listeners[0].address);
    let (mut now, mut turns) = (Timestamp::now(), 0);
    let mut heard = vec![0; CONNECTIONS];
    while answered(&shard) < u64::from(EACH) * CONNECTIONS as u64 + turns {
        let before = answered(&shard);
        udp.send(&binding_request(u32::MAX)).unwrap();
        now = shard.turn(now).unwrap().expect("it goes on");
        turns += 1;
        let length = udp.recv(&mut [0; 2048]).expect("the datagram is answered in the same turn");
        assert!(length > 20);
        let of_connections = answered(&shard) - before - 1;
        assert!(of_connections <= OF_A_TURN, "turn {turns}: {of_connections}");
        if turns == 1 {
            assert_eq!(of_connections, OF_A_TURN, "all of them waited");
        }
        for (client, heard) in clients.iter_mut().zip(&mut heard) {
            *heard += client.read(&mut [0; 1 << 16]).unwrap_or(0);
        }
        if turns == CONNECTIONS.div_ceil(8) as u64 {
            assert!(heard.iter().all(|bytes| *bytes > 0), "each had its turn: {heard:?}");
        }
        assert!(turns < 100);
    }
    // Not one message more was taken in a turn than may be, and none was kept waiting for nothing.
    let least = (u64::from(EACH) * CONNECTIONS as u64).div_ceil(OF_A_TURN);
    assert!((least..=2 * least).contains(&turns), "{turns} turns");
}
