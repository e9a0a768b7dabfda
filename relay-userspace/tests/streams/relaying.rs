//! Data both ways over every kind of stream.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::Arc;

use relay_common::reason::Reason;
use turnpike::net::{ConnectionKind, Framing, Server};
use turnpike::stun::{Class, Message, Method};

use super::client::{Client, KINDS, PATIENCE, channel_data, pair, stream};
use super::server::{ANY_PORT, Recorder, config, start, wait_for};

const CHANNEL: u16 = 0x4001;

pub(crate) fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn received(peer: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    let (length, _) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn data_of_any_length_passes_both_ways_over_every_kind_of_stream() {
    let recorder = Recorder::default();
    let mut config = config(2, ANY_PORT);
    config.fast_path = recorder.writers();
    let server = Server::start(config).unwrap();
    let peer = peer();
    let at = peer.local_addr().unwrap();
    for kind in KINDS {
        let mut client = Client::new(&server, kind);
        let relayed = client.allocate();
        client.bind_channel(CHANNEL, at);
        for length in (0..9).chain([1200, 16_384, 60_000]) {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            client.send(&channel_data(CHANNEL, &payload));
            assert_eq!(received(&peer), payload, "{kind:?}");
            let send = client.send_indication(at, &payload);
            client.send(&send);
            assert_eq!(received(&peer), payload, "{kind:?}");
            peer.send_to(&payload, relayed).unwrap();
            assert_eq!(client.receive(), Some(channel_data(CHANNEL, &payload)), "{kind:?}, {length}");
        }
        let other = self::peer();
        client.permit(other.local_addr().unwrap());
        other.send_to(b"indicated", relayed).unwrap();
        let indication = client.receive().unwrap();
        assert_eq!(Message::parse(&indication).unwrap().data(), Some(&b"indicated"[..]));
        assert_eq!(server.stats().connections(kind).open(), 1);
    }
    let stats = wait_for(&server, "the end of all", |s| s.allocations() == 0);
    for kind in KINDS {
        assert_eq!((stats.connections(kind).opened, stats.connections(kind).open()), (1, 0), "{kind:?}");
    }
    assert_eq!(stats.reason(Reason::ToPeer).packets, 4 * 12 * 2);
    assert_eq!(stats.reason(Reason::ToClient).packets, 4 * 13);
    assert!(recorder.bound.lock().unwrap().is_empty(), "XDP knows nothing of streams");
}

#[test]
fn a_message_may_come_byte_by_byte_and_many_in_one_segment() {
    let server = start(1);
    let peer = peer();
    for kind in KINDS {
        let mut client = Client::new(&server, kind);
        client.allocate();
        client.bind_channel(CHANNEL, peer.local_addr().unwrap());
        let messages: Vec<u8> =
            (0..50).flat_map(|n: u8| client.framed(&channel_data(CHANNEL, &vec![n; n.into()]))).collect();
        client.wire.write_all(&messages).unwrap();
        (0..50).for_each(|n: u8| assert_eq!(received(&peer), vec![n; n.into()], "{kind:?}"));
        for byte in &messages[..300] {
            client.wire.write_all(std::slice::from_ref(byte)).unwrap();
        }
        client.wire.write_all(&messages[300..]).unwrap();
        (0..50).for_each(|n: u8| assert_eq!(received(&peer), vec![n; n.into()], "{kind:?}"));
    }
}

#[test]
fn what_was_read_before_the_stream_was_handed_over_counts_too() {
    let server = start(1);
    let (accepted, wire) = pair();
    let mut client = Client::over(Box::new(wire), false);
    let request = client.binding_request();
    let mut stream = stream(accepted, None, Framing::Turn);
    let at = stream.client;
    stream.early = request[..7].to_vec();
    server.streams().admit(stream);
    client.wire.write_all(&request[7..]).unwrap();
    let answer = client.receive().unwrap();
    let message = Message::parse(&answer).unwrap();
    assert_eq!((message.method(), message.class()), (Method::BINDING, Class::Success));
    assert_eq!(message.xor_mapped_address().unwrap(), Some(at));
}

#[test]
fn an_allocation_ends_when_its_client_closes_or_half_closes_and_what_it_asked_is_answered() {
    let server = start(1);
    for kind in KINDS {
        let mut client = Client::new(&server, kind);
        client.allocate();
        let request = client.binding_request();
        client.send(&request);
        client.wire.socket().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.receive().is_some(), "{kind:?}");
        assert_eq!(client.receive(), None, "{kind:?}");
        wait_for(&server, "the end", |s| s.allocations() == 0);
    }
    let mut client = Client::new(&server, ConnectionKind::Tcp);
    client.allocate();
    drop(client);
    wait_for(&server, "the end", |s| s.allocations() == 0);
}

/// A batch of a peer's datagrams is one write, in order and without loss, also while others send.
#[test]
fn bursts_of_peers_arrive_in_order() {
    let server = Arc::new(start(2));
    let threads: Vec<_> = KINDS
        .into_iter()
        .map(|kind| {
            let server = Arc::clone(&server);
            std::thread::spawn(move || {
                let peer = peer();
                let mut client = Client::new(&server, kind);
                let relayed = client.allocate();
                client.bind_channel(CHANNEL, peer.local_addr().unwrap());
                for round in 0..100_u32 {
                    for n in 0..20_u32 {
                        peer.send_to(&[round.to_be_bytes(), n.to_be_bytes()].concat().repeat(100), relayed)
                            .unwrap();
                    }
                    for n in 0..20_u32 {
                        let expected = [round.to_be_bytes(), n.to_be_bytes()].concat().repeat(100);
                        assert_eq!(client.receive(), Some(channel_data(CHANNEL, &expected)), "{kind:?}");
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(server.stats().reason(Reason::SlowReader).packets, 0);
}
