//! Media through the relay.

use std::collections::HashSet;
use std::net::UdpSocket;

use relay_common::reason::Reason;
use turnpike::net::Server;

use super::client::{Client, Relayed, socket};
use super::server::{ANY_PORT, Recorder, config, start, wait_for};

#[test]
fn many_clients_on_several_shards_exchange_media_in_both_directions() {
    const CLIENTS: usize = 64;
    let recorder = Recorder::default();
    let mut config = config(4, ANY_PORT);
    config.fast_path = recorder.writers();
    let server = Server::start(config).unwrap();

    let mut sessions: Vec<_> = (0..CLIENTS)
        .map(|i| {
            let mut client = Client::new(server.listeners()[0]);
            let relayed = client.allocate().unwrap();
            let (by_channel, by_indication) = (socket(), socket());
            client.bind_channel(0x4000 + i as u16, by_channel.local_addr().unwrap());
            let bound = recorder.bound.lock().unwrap();
            assert!(bound.iter().any(|(_, b)| b.relayed.0 == relayed), "bound before the response is sent");
            drop(bound);
            client.permit(by_indication.local_addr().unwrap());
            (client, relayed, by_channel, by_indication)
        })
        .collect();
    for round in 0..10 {
        for (i, (client, ..)) in sessions.iter().enumerate() {
            client.send_on(0x4000 + i as u16, format!("channel {i} {round}").as_bytes());
        }
        for (i, (client, _, _, peer)) in sessions.iter_mut().enumerate() {
            client.send_to(peer.local_addr().unwrap(), format!("indication {i} {round}").as_bytes());
        }
        for (i, (client, relayed, by_channel, by_indication)) in sessions.iter().enumerate() {
            let mut buffer = [0; 64];
            for (peer, kind) in [(by_channel, "channel"), (by_indication, "indication")] {
                let (len, from) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..len], *format!("{kind} {i} {round}").as_bytes());
                assert_eq!(from, *relayed);
            }
            by_channel.send_to(format!("back {i} {round}").as_bytes(), relayed).unwrap();
            let back = format!("back {i} {round}").into_bytes();
            assert_eq!(client.receive(), Relayed::Channel(0x4000 + i as u16, back.clone()));
            by_indication.send_to(&back, relayed).unwrap();
            assert_eq!(client.receive(), Relayed::Data(by_indication.local_addr().unwrap(), back));
        }
    }

    let relayed = CLIENTS as u64 * 20;
    let stats = wait_for(&server, "all media", |s| s.reason(Reason::ToClient).packets == relayed);
    assert_eq!(stats.reason(Reason::ToPeer).packets, relayed);
    assert_eq!(stats.reason(Reason::SendFailed).packets, 0);
    // A channel each, and a permission, which serves both peers.
    assert_eq!((stats.allocations(), stats.bindings_installed), (CLIENTS as u64, 2 * CLIENTS as u64));
    assert_eq!(stats.responses("allocate", Some(401)), CLIENTS as u64);
    assert_eq!(stats.responses("channel_bind", None), CLIENTS as u64);
    let shards: HashSet<_> = recorder.bound.lock().unwrap().iter().map(|(shard, _)| *shard).collect();
    assert!(shards.len() > 1, "clients are spread over the shards");
}

#[test]
fn two_clients_of_one_server_reach_each_other_through_their_relayed_addresses() {
    let server = start(2);
    let (mut a, mut b) = (Client::new(server.listeners()[0]), Client::new(server.listeners()[0]));
    let (at_a, at_b) = (a.allocate().unwrap(), b.allocate().unwrap());
    a.bind_channel(0x4001, at_b);
    b.permit(at_a);
    a.send_on(0x4001, b"hello");
    assert_eq!(b.receive(), Relayed::Data(at_a, b"hello".to_vec()));
    b.send_to(at_a, b"and back");
    assert_eq!(a.receive(), Relayed::Channel(0x4001, b"and back".to_vec()));
}

#[test]
fn the_largest_datagrams_pass_whole_in_both_directions() {
    let server = start(1);
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().unwrap(), socket());
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    // 65,507 is all that fits in IPv4; ChannelData takes 4 of them.
    let payload: Vec<u8> = (0..65_503u32).map(|i| (i % 251) as u8).collect();
    client.send_on(0x4000, &payload);
    let mut buffer = vec![0; 1 << 16];
    let (len, _) = peer.recv_from(&mut buffer).unwrap();
    assert!(buffer[..len] == payload);
    peer.send_to(&payload, relayed).unwrap();
    assert!(client.receive() == Relayed::Channel(0x4000, payload.clone()));

    // One byte more than can be wrapped is a failed send, and no more than that.
    peer.send_to(&[&payload[..], b"x"].concat(), relayed).unwrap();
    peer.send_to(b"", relayed).unwrap();
    assert_eq!(client.receive(), Relayed::Channel(0x4000, vec![]));
    wait_for(&server, "the failed send", |s| s.reason(Reason::SendFailed).packets == 1);
}

#[test]
fn a_peer_that_is_not_there_does_not_disturb_the_others() {
    let server = start(1);
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().unwrap(), socket());
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    client.bind_channel(0x4000, gone);
    client.bind_channel(0x4001, peer.local_addr().unwrap());
    for i in 0..20 {
        client.send_on(0x4000, b"port unreachable");
        client.send_on(0x4001, &[i]);
        let mut buffer = [0; 16];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], i);
        peer.send_to(&[i], relayed).unwrap();
        assert_eq!(client.receive_data(), Relayed::Channel(0x4001, vec![i]));
    }
    let stats = wait_for(&server, "all media", |s| s.reason(Reason::ToClient).packets == 20);
    assert_eq!(stats.reason(Reason::SendFailed).packets, 0);
}
