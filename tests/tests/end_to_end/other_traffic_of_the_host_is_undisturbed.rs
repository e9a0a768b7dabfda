//! What is not the relay's passes: services of the host on ports in the relay range, answers to the host's own
//! questions, ping and TCP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use turnpike_tests::lab::{self, OneNic, PATIENCE, Path, Server, ServerOptions, Wire, receive};

use crate::common::{Call, Macs};

fn undisturbed(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    // Five ports, of which others hold two: the relay has to do with three.
    let service = net.server.udp(50_000);
    let asker = net.server.udp(50_001);
    let options = ServerOptions { relay_ports: "50000-50004", ..ServerOptions::new(mode) };
    let server = Server::start(&net.server, &options);
    let mut calls = [(); 3].map(|()| Call::new(&server, &net.client, &net.peer));

    for call in &mut calls {
        call.both_ways();
        assert!(![50_000, 50_001].contains(&call.relayed.port()), "{}", call.relayed);
        // The service answers the very peer that has a channel.
        call.peer.send_to(b"question", net.server.at(50_000)).expect("reachable");
        let (question, from) = receive(&service, PATIENCE).expect("the service is asked");
        assert_eq!(question, b"question");
        service.send_to(b"answer", from).expect("reachable");
        let answer = receive(&call.peer, PATIENCE);
        assert_eq!(answer, Some((b"answer".to_vec(), net.server.at(50_000))));
        // The host's own question is answered by it.
        asker.send_to(b"who are you?", call.peer_address()).expect("reachable");
        let (_, from) = receive(&call.peer, PATIENCE).expect("the peer is asked");
        call.peer.send_to(b"your peer", from).expect("reachable");
        let answer = receive(&asker, PATIENCE);
        assert_eq!(answer, Some((b"your peer".to_vec(), call.peer_address())));
    }
    // A question from a port that the kernel picks.
    let resolver = net.server.udp(0);
    let name_server = net.peer.udp(53);
    resolver.send_to(b"example.org?", net.peer.at(53)).expect("reachable");
    let (_, from) = receive(&name_server, PATIENCE).expect("the name server is asked");
    name_server.send_to(b"192.0.2.1", from).expect("reachable");
    assert!(receive(&resolver, PATIENCE).is_some(), "the name server's answer");

    tcp_works(&net);
    ping_works(&net);
    for call in &mut calls {
        call.both_ways();
    }
    let counters = server.counters();
    let relayed = [Path::Xdp, Path::Userspace].map(|path| counters.relayed(path));
    assert_eq!((relayed[0].0 + relayed[1].0, relayed[0].1 + relayed[1].1), (6, 6), "{counters:?}");
}

/// On a TCP port with the number of a relayed UDP port.
fn tcp_works(net: &OneNic) {
    let at = net.server.at(50_002);
    let listener = net.server.enter(|| TcpListener::bind(at)).expect("a free port");
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut text = [0; 5];
        stream.read_exact(&mut text).expect("five bytes");
        stream.write_all(&text).expect("five bytes");
    });
    let mut stream = net.client.enter(|| TcpStream::connect(at)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.write_all(b"hello").expect("five bytes");
    let mut text = [0; 5];
    stream.read_exact(&mut text).expect("five bytes");
    assert_eq!(&text, b"hello");
    echo.join().expect("the echo ends well");
}

fn ping_works(net: &OneNic) {
    let macs = Macs::of(net);
    let (client, server) = (net.net.address(2).octets(), net.net.address(1).octets());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(macs.client, macs.server)
        .ipv4(client, server, 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut frame, b"ping")
        .expect("a Vec takes it");
    let mut wire = Wire::open(&net.client, "eth0");
    wire.send(&frame);
    const ICMP_ECHO_REPLY: [u8; 2] = [0, 0];
    let reply = wire.find(Duration::from_secs(5), |frame| {
        let is_reply = frame.get(23) == Some(&1) && frame.get(34..36) == Some(&ICMP_ECHO_REPLY);
        (is_reply && frame.ends_with(b"ping")).then_some(())
    });
    assert!(reply.is_some(), "no answer to a ping");
}

#[test]
fn in_driver_mode() {
    undisturbed("xdp");
}

#[test]
fn in_generic_mode() {
    undisturbed("xdp-generic");
}

#[test]
fn in_userspace() {
    undisturbed("userspace");
}
