//! ICMP errors of peers: the client is told, and nothing else suffers. A socket with an error queue fails one call for
//! each error that arrives, and epoll reports it until the queue is read.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use relay_common::reason::Reason;
use turnpike::net::Server;
use turnpike::stun::{AddressFamily, Icmp};

use super::client::{Client, Relayed, socket};
use super::load::slow_to_bind;
use super::server::{dual_stack_config, start, wait_for};

fn closed(ip: &str) -> SocketAddr {
    UdpSocket::bind(format!("{ip}:0")).unwrap().local_addr().unwrap()
}

#[test]
fn a_closed_port_is_told_in_both_families() {
    let server = Server::start(dual_stack_config()).unwrap();
    for (family, ip, kind, code) in
        [(AddressFamily::V4, "127.0.0.1", 3, 3), (AddressFamily::V6, "[::1]", 1, 4)]
    {
        let mut client = Client::new(server.listeners()[0]);
        client.allocate_of(family).unwrap();
        let closed = closed(ip);
        client.bind_channel(0x4000, closed);
        client.send_on(0x4000, b"by channel");
        assert_eq!(client.receive(), Relayed::Icmp(closed, Icmp { kind, code, data: 0 }));
        client.send_to(closed, b"by indication");
        assert_eq!(client.receive(), Relayed::Icmp(closed, Icmp { kind, code, data: 0 }));
    }
    wait_for(&server, "four errors", |s| s.reason(Reason::Icmp).packets == 4);
}

/// Errors arrive between the datagrams of one call, before it, and while the shard reads: none of the good datagrams
/// may be lost to them, and those that go nowhere count as sent too.
#[test]
fn errors_cost_none_of_the_media_that_follows() {
    const ROUNDS: u64 = 300;
    let server = start(1);
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, peer) = (client.allocate().unwrap(), socket());
    client.bind_channel(0x4000, closed("127.0.0.1"));
    client.bind_channel(0x4001, peer.local_addr().unwrap());
    let mut buffer = [0; 64];
    for i in 0..ROUNDS {
        for n in [0, 1] {
            client.send_on(0x4000, b"port unreachable");
            client.send_on(0x4001, &[i as u8, n]);
            client.send_on(0x4000, b"port unreachable");
            client.send_on(0x4001, &[i as u8, n, 1]);
            peer.send_to(&[i as u8, n], relayed).unwrap();
        }
        for n in [0, 1] {
            assert_eq!(peer.recv(&mut buffer).unwrap(), 2);
            assert_eq!(buffer[..2], [i as u8, n]);
            assert_eq!(peer.recv(&mut buffer).unwrap(), 3);
            assert_eq!(client.receive_data(), Relayed::Channel(0x4001, vec![i as u8, n]));
        }
    }
    let stats = wait_for(&server, "all media", |s| s.reason(Reason::ToClient).packets == 2 * ROUNDS);
    assert_eq!(stats.reason(Reason::SendFailed).packets, 0);
    assert_eq!(stats.reason(Reason::ToPeer).packets, 8 * ROUNDS);
    let errors = |s: &turnpike::net::Stats| {
        [Reason::Icmp, Reason::IcmpRate].iter().map(|reason| s.reason(*reason).packets).sum::<u64>()
    };
    let stats = wait_for(&server, "all errors", |s| errors(s) == 4 * ROUNDS);
    assert!(stats.reason(Reason::Icmp).packets >= 16 && stats.reason(Reason::IcmpRate).packets > 0);
}

/// More datagrams wait than a shard takes in one turn. An error about the last of one turn is pending when the next turn
/// begins to send, before epoll has reported it.
#[test]
fn an_error_that_is_pending_fails_no_datagram() {
    const DATAGRAMS: u64 = 600;
    let server = slow_to_bind(Duration::from_millis(300));
    let (mut client, peer) = (Client::new(server.listeners()[0]), socket());
    client.allocate().unwrap();
    client.bind_channel(0x4000, closed("127.0.0.1"));
    client.bind_channel(0x4001, peer.local_addr().unwrap());
    let mut other = Client::new(server.listeners()[0]);
    other.allocate().unwrap();
    // While the shard installs this binding, it serves nobody.
    thread::scope(|s| {
        s.spawn(|| other.bind_channel(0x4000, peer.local_addr().unwrap()));
        thread::sleep(Duration::from_millis(100));
        for i in 0..DATAGRAMS {
            let channel = if i % 2 == 0 { 0x4001 } else { 0x4000 };
            client.send_on(channel, &i.to_be_bytes());
        }
    });
    let mut buffer = [0; 8];
    for i in (0..DATAGRAMS).step_by(2) {
        assert_eq!((peer.recv(&mut buffer).unwrap(), u64::from_be_bytes(buffer)), (8, i));
    }
    let stats = wait_for(&server, "all datagrams", |s| s.reason(Reason::ToPeer).packets == DATAGRAMS);
    assert_eq!(stats.reason(Reason::SendFailed).packets, 0);
}
