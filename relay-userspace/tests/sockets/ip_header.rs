//! What of its IP header a relayed datagram hands on: TTL less one, DSCP and ECN (RFC 8656 sections 13 and 14).

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use relay_common::reason::Reason;
use turnpike::net::Server;
use turnpike::stun::AddressFamily;

use super::client::{Client, socket, socket_at};
use super::server::{ANY_PORT, config, dual_stack_config, wait_for};

/// TTL or hop limit, and DSCP with ECN.
type Fields = (u8, u8);

fn send(socket: &UdpSocket, to: SocketAddr, payload: &[u8], (ttl, tos): Fields) {
    let (limit, class) = (i32::from(ttl), i32::from(tos));
    let control = if to.is_ipv4() {
        [ControlMessage::Ipv4Ttl(&limit), ControlMessage::Ipv4Tos(&tos)]
    } else {
        [ControlMessage::Ipv6HopLimit(&limit), ControlMessage::Ipv6TClass(&class)]
    };
    let to = SockaddrStorage::from(to);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(payload)], &control, MsgFlags::empty(), Some(&to)).unwrap();
}

fn watch(socket: &UdpSocket) {
    if socket.local_addr().unwrap().is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true).unwrap();
        setsockopt(socket, sockopt::IpRecvTos, &true).unwrap();
    } else {
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true).unwrap();
        setsockopt(socket, sockopt::Ipv6RecvTClass, &true).unwrap();
    }
}

fn receive(socket: &UdpSocket) -> Fields {
    let mut buffer = [0; 256];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let mut space = cmsg_space!(i32, i32);
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
    let (mut ttl, mut tos) = (None, None);
    for control in message.expect("a datagram comes").cmsgs().unwrap() {
        match control {
            ControlMessageOwned::Ipv4Ttl(n) | ControlMessageOwned::Ipv6HopLimit(n) => ttl = Some(n as u8),
            ControlMessageOwned::Ipv4Tos(n) => tos = Some(n),
            ControlMessageOwned::Ipv6TClass(n) => tos = Some(n as u8),
            other => panic!("{other:?}"),
        }
    }
    (ttl.expect("a TTL"), tos.expect("a DSCP"))
}

fn listener(server: &Server, ipv6: bool) -> SocketAddr {
    *server.listeners().iter().find(|address| address.is_ipv6() == ipv6).expect("one of each family")
}

/// A client and a peer of these families, both by channel and by indications.
fn hands_on(client_ipv6: bool, peer_ipv6: bool) {
    let server = Server::start(dual_stack_config()).unwrap();
    let at = listener(&server, client_ipv6);
    let mut client = Client::new(at);
    let family = if peer_ipv6 { AddressFamily::V6 } else { AddressFamily::V4 };
    let relayed = client.allocate_of(family).unwrap();
    let open = || socket_at(if peer_ipv6 { "[::1]:0" } else { "127.0.0.1:0" });
    let (by_channel, by_indication) = (open(), open());
    client.bind_channel(0x4000, by_channel.local_addr().unwrap());
    client.permit(by_indication.local_addr().unwrap());
    [&client.socket, &by_channel, &by_indication].into_iter().for_each(watch);
    let datagrams = [
        (client.channel_data(0x4000, b"there"), &by_channel),
        (client.send_indication(by_indication.local_addr().unwrap(), b"there"), &by_indication),
    ];

    // Every ECN, expedited forwarding, the lowest and the highest; several at once, so that they leave in one call.
    let fields = [(2, 0), (64, 0b1), (65, 0b10), (255, 0b11), (3, 46 << 2), (128, 0xff), (17, 46 << 2 | 1)];
    let less = fields.map(|(ttl, tos)| (ttl - 1, tos));
    for (datagram, peer) in &datagrams {
        fields.into_iter().for_each(|fields| send(&client.socket, at, datagram, fields));
        assert_eq!(fields.map(|_| receive(peer)), less, "to the peer");
        fields.into_iter().for_each(|fields| send(peer, relayed, b"back", fields));
        assert_eq!(fields.map(|_| receive(&client.socket)), less, "to the client");
        // The last hop.
        send(&client.socket, at, datagram, (1, 0));
        send(peer, relayed, b"back", (1, 0));
    }
    let stats = wait_for(&server, "the last hops", |s| s.reason(Reason::TtlExceeded).packets == 4);
    let relayed = 2 * fields.len() as u64;
    assert_eq!(stats.reason(Reason::ToPeer).packets, relayed);
    assert_eq!(stats.reason(Reason::ToClient).packets, relayed);

    // An answer is our own.
    let request = client.binding_request();
    send(&client.socket, at, &request, (1, 0xff));
    assert_eq!(receive(&client.socket), (64, 0));
}

#[test]
fn from_ipv4_to_ipv4() {
    hands_on(false, false);
}

#[test]
fn from_ipv4_to_ipv6() {
    hands_on(false, true);
}

#[test]
fn from_ipv6_to_ipv4() {
    hands_on(true, false);
}

#[test]
fn from_ipv6_to_ipv6() {
    hands_on(true, true);
}

/// The socket of a relayed transport address is set to a TTL that stays: what comes with another, or with a DSCP, and what
/// comes after that, must not go with it.
#[test]
fn a_ttl_that_stays_and_one_that_changes() {
    let server = Server::start(dual_stack_config()).unwrap();
    for (family, ip) in [(AddressFamily::V4, "127.0.0.1:0"), (AddressFamily::V6, "[::1]:0")] {
        let at = listener(&server, false);
        let (mut client, peer) = (Client::new(at), socket_at(ip));
        client.allocate_of(family).unwrap();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        watch(&peer);
        let datagram = client.channel_data(0x4000, b"there");
        let ttls = [50, 50, 50, 7, 50, 7, 7, 7, 255, 255, 2, 2, 2, 65, 65, 65];
        for ttl in ttls {
            for tos in [0, 46 << 2, 0b1, 0] {
                send(&client.socket, at, &datagram, (ttl, tos));
                assert_eq!(receive(&peer), (ttl - 1, tos));
            }
        }
        // Several in one call.
        ttls.into_iter().for_each(|ttl| send(&client.socket, at, &datagram, (ttl, ttl)));
        assert_eq!(ttls.map(|_| receive(&peer)), ttls.map(|ttl| (ttl - 1, ttl)));
    }
}

/// What one shard receives and another handles, as its client moved (RFC 8016), is as if that had received it.
#[test]
fn from_a_client_that_moved_to_another_shard() {
    const MOVES: u64 = 12;
    let mut config = config(4, ANY_PORT);
    Arc::get_mut(&mut config.core).expect("nobody else has it yet").mobility = true;
    let server = Server::start(config).unwrap();
    let (at, peer) = (server.listeners()[0], socket());
    watch(&peer);
    let mut client = Client::new(at);
    let (_, mut ticket) = client.allocate_mobile();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    // The kernel chooses a shard for each new port: with one of four for all of them this test would be an easy one.
    let mut left = Vec::new();
    for i in 0..MOVES as u8 {
        left.push(std::mem::replace(&mut client, Client::new(at)));
        ticket = client.move_here(&ticket);
        let fields = (2 + 20 * i, 0x10 + 17 * i);
        for datagram in [
            client.channel_data(0x4000, b"there"),
            client.send_indication(peer.local_addr().unwrap(), b"there"),
        ] {
            send(&client.socket, at, &datagram, (1, 0));
            send(&client.socket, at, &datagram, fields);
            assert_eq!(receive(&peer), (fields.0 - 1, fields.1), "move {i}");
        }
    }
    let stats = wait_for(&server, "the last hops", |s| s.reason(Reason::TtlExceeded).packets == 2 * MOVES);
    assert_eq!(stats.reason(Reason::ToPeer).packets, 2 * MOVES);
}
