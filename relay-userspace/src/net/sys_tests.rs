use std::net::UdpSocket;

use super::super::receiving::ReceiveBuffers;
use super::super::sockets;

use super::*;

const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn socket(at: &str) -> UdpSocket {
    sockets::open_relay(at.parse().unwrap()).unwrap()
}

fn exchange(at: &str, merged: bool) {
    let (a, b) = (socket(at), socket(at));
    if merged {
        sockets::have_merged(&b);
    }
    let big = vec![7; 65_000];
    let ip = |ttl, tos| Some(IpFields { ttl, tos });
    let datagrams = [
        ("", &b"whole"[..], None),
        ("head", b"body", ip(1, 0xff)),
        ("", b"", ip(255, 0)),
        ("big", &big, ip(17, 0xb9)),
        ("", b"after", None),
        ("", b"", None),
    ];
    let to = b.local_addr().unwrap();
    let send = datagrams.iter().map(|&(head, body, ip)| Datagram { to, head: head.as_bytes(), body, ip });
    assert_eq!(Sender::new(8).send(&a, None, merged, send).unwrap(), 6);

    let mut buffers = ReceiveBuffers::new(7);
    assert_eq!(buffers.put(b"of another shard"), 0);
    assert_eq!(buffers.receive(&b, 7).unwrap(), 1..7);
    assert_eq!(buffers.datagram(0), b"of another shard");
    for (slot, (head, body, sent)) in (1..).zip(datagrams) {
        let received = buffers.received(slot);
        assert_eq!(received.from, a.local_addr().unwrap());
        assert_eq!(received.datagram, [head.as_bytes(), body].concat());
        assert_eq!((received.said.socket_drops, received.said.to), (None, None));
        assert_eq!(received.said.ip, sent.or(ip(64, 0)));
    }
    assert_eq!(buffers.room(), 0);
    buffers.clear();
    assert_eq!(buffers.receive(&b, 7).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn datagrams_of_any_size_pass_in_order_with_their_ttl_and_dscp() {
    for at in LOOPBACK {
        exchange(at, false);
        exchange(at, true);
    }
}

/// Datagrams of these sizes, none like another.
fn of_sizes(sizes: &[usize]) -> Vec<Vec<u8>> {
    (0..).zip(sizes).map(|(n, size)| (0..*size).map(|at| (n * 31 + at) as u8).collect()).collect()
}

/// Sends them with joining, and receives them where they are merged: how many messages that took, and what came.
fn joined(sender: &mut Sender, from: &UdpSocket, to: &UdpSocket, bytes: &[Vec<u8>]) -> (usize, Vec<Vec<u8>>) {
    sockets::have_merged(to);
    let address = to.local_addr().unwrap();
    let mut rest = bytes;
    while !rest.is_empty() {
        // The head is what a channel has.
        let datagrams = rest.iter().map(|bytes| {
            let (head, body) = bytes.split_at(bytes.len().min(4));
            Datagram { to: address, head, body, ip: None }
        });
        let sent = sender.send(from, None, true, datagrams).unwrap();
        assert!(sent > 0);
        rest = &rest[sent..];
    }
    let mut buffers = ReceiveBuffers::new(256);
    while buffers.receive(to, 256).is_ok() {}
    let came = (0..buffers.datagrams()).map(|slot| buffers.datagram(slot).to_vec()).collect();
    (256 - buffers.room(), came)
}

#[test]
fn neighbours_of_one_size_and_a_shorter_last_one_are_one_message_and_are_cut_apart_again() {
    for (at, largest) in [(LOOPBACK[0], 1_252), (LOOPBACK[1], 1_232)] {
        for (sizes, messages) in [
            (&[100; 8][..], 1),
            (&[100, 100, 100, 40], 1),
            (&[100, 100, 40, 40, 100, 100], 3),
            (&[40, 100, 100], 2),
            (&[1, 1, 1, 1], 1),
            (&[100, 0, 100, 100], 3),
            (&[0, 0], 2),
            (&[100; 64], 1),
            (&[100; 65], 2),
            (&[100; 200], 4),
            (&[1_200; 60], 2),
            (&[largest; 3], 1),
            // What would have to be fragmented.
            (&[largest + 1; 3], 3),
            (&[largest + 1, 100, 100], 2),
        ] {
            let (from, to) = (socket(at), socket(at));
            let bytes = of_sizes(sizes);
            let (count, came) = joined(&mut Sender::new(8), &from, &to, &bytes);
            assert_eq!(came, bytes, "{at} {sizes:?}");
            assert_eq!(count, messages, "{at} {sizes:?}");
        }
    }
}

#[test]
fn only_neighbours_with_one_destination_and_one_ip_header_are_joined() {
    let (from, to, other) = (socket(LOOPBACK[0]), socket(LOOPBACK[0]), socket(LOOPBACK[0]));
    [&to, &other].into_iter().for_each(sockets::have_merged);
    let ip = |ttl, tos| Some(IpFields { ttl, tos });
    let (here, there) = (to.local_addr().unwrap(), other.local_addr().unwrap());
    let sent = [
        (here, ip(9, 0)),
        (here, ip(9, 0)),
        (there, ip(9, 0)),
        (there, ip(9, 0)),
        (here, ip(9, 0)),
        (here, ip(8, 0)),
        (here, ip(8, 0xb9)),
        (here, ip(8, 0xb9)),
        (here, None),
    ];
    let bodies: Vec<[u8; 1]> = (0..sent.len() as u8).map(|n| [n]).collect();
    let datagrams = sent.iter().zip(&bodies).map(|(&(to, ip), body)| Datagram { to, head: b"", body, ip });
    assert_eq!(Sender::new(16).send(&from, None, true, datagrams).unwrap(), sent.len());
    for (socket, at, messages) in [(&to, here, 5), (&other, there, 1)] {
        let mut buffers = ReceiveBuffers::new(16);
        let received = buffers.receive(socket, 16).unwrap();
        let due = sent.iter().zip(&bodies).filter(|((to, _), _)| *to == at);
        let came: Vec<_> = received.map(|slot| buffers.received(slot)).collect();
        assert_eq!(came.len(), due.clone().count());
        for (received, ((_, ip), body)) in came.iter().zip(due) {
            assert_eq!(received.datagram, body);
            assert_eq!(received.said.ip, ip.or(Some(IpFields { ttl: 64, tos: 0 })));
        }
        assert_eq!(16 - buffers.room(), messages);
    }
}

/// A socket without UDP checksums is one whose messages the kernel does not cut, whatever the route.
#[test]
fn what_the_kernel_does_not_cut_goes_alone_and_once() {
    for at in LOOPBACK {
        let (from, to) = (socket(at), socket(at));
        let mut sender = Sender::new(8);
        let bytes = of_sizes(&[100; 20]);
        if at == LOOPBACK[0] {
            set_option(&from, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        } else {
            /// In no libc yet.
            const UDP_NO_CHECK6_TX: c_int = 101;
            set_option(&from, libc::SOL_UDP, UDP_NO_CHECK6_TX, 1).unwrap();
            /// Or nobody takes them.
            const UDP_NO_CHECK6_RX: c_int = 102;
            set_option(&to, libc::SOL_UDP, UDP_NO_CHECK6_RX, 1).unwrap();
        }
        let (count, came) = joined(&mut sender, &from, &to, &bytes);
        assert_eq!((count, came == bytes), (20, true), "{at}");
        // Another route may be better, later.
        let able = socket(at);
        assert_eq!(joined(&mut sender, &able, &to, &bytes).0, 20, "{at}: not tried again at once");
        sender.pause = 0;
        assert_eq!(joined(&mut sender, &able, &to, &bytes).0, 1, "{at}");
    }
}

#[test]
fn an_error_that_is_the_datagrams_own_is_told_and_does_not_end_joining() {
    let from = socket(LOOPBACK[0]);
    let mut sender = Sender::new(8);
    // Nobody can be sent to at port 0.
    let to = "127.0.0.1:0".parse().unwrap();
    let datagrams = [b"one", b"two"].iter().map(|body| Datagram { to, head: b"", body: &body[..], ip: None });
    assert_eq!(sender.send(&from, None, true, datagrams).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(sender.pause, 0);
}

#[test]
fn an_address_with_a_scope_survives_the_kernels_format() {
    let mut raw = RawAddr::default();
    for addr in ["[fe80::1%7]:65535", "192.0.2.1:1", "[2001:db8::1]:443"] {
        let addr: SocketAddr = addr.parse().unwrap();
        raw.set(addr);
        assert_eq!(raw.get(), addr);
    }
}
