//! Clients that are no browsers, in the networks that are theirs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use turnpike::stun::{Builder, Class, ErrorCode, Message, MessageType, Method, TransactionId};

use super::echo::PEER;
use super::proxy::{PROXY_PASSWORD, PROXY_USER};
use super::topology::{NAME, PROXY};
use super::tries::Lab;
use crate::lab::{
    Host, PASSWORD, PATIENCE, Process, QUIET, Received, Totals, TurnClient, USER, Uclient, receive, turnpike,
    wait_for,
};

/// A channel.
const CHANNEL: u16 = 0x4001;

/// UDP, as REQUESTED-TRANSPORT has it.
const UDP: u8 = 17;

pub(super) fn stun_binding(lab: &Lab<'_>) -> Result<String, String> {
    let (client, server) = (&lab.net.client, lab.net.server.at(3478));
    let over_udp = TurnClient::new(client, server).binding();
    let mut request = Vec::new();
    Builder::new(&mut request, MessageType::new(Method::BINDING, Class::Request), TransactionId([7; 12]));
    let answer = client.enter(|| {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&request)?;
        let mut head = [0; 20];
        stream.read_exact(&mut head)?;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        stream.read_exact(&mut rest)?;
        Ok::<_, std::io::Error>([&head[..], &rest].concat())
    });
    let answer = answer.map_err(|e| format!("over TCP: {e}"))?;
    let answer = Message::parse(&answer).map_err(|e| format!("over TCP: {e}"))?;
    let over_tcp = answer.xor_mapped_address().ok().flatten();
    let both = [Some(over_udp), over_tcp].map(|address| address.map(|address| address.ip()));
    if both == [Some(client.address()); 2] {
        Ok("both answered".to_owned())
    } else {
        Err(format!("{both:?}"))
    }
}

pub(super) fn port_53(lab: &Lab<'_>) -> Result<String, String> {
    for transport in ["", "-t"] {
        uclient(lab, &lab.net.client, lab.net.server.at(53), transport)?;
    }
    Ok("every message came back".to_owned())
}

/// A client that thinks its server is on its own machine.
pub(super) fn tunnel(lab: &Lab<'_>) -> Result<String, String> {
    let client = lab.net.client.at_address(Ipv4Addr::LOCALHOST);
    let authority = client.keep("trusted.pem", &lab.net.pki.authority);
    let mut command = turnpike(&client);
    command.args(["tunnel", "--listen", "udp://127.0.0.1:3478", "--to", &format!("wss://{NAME}/turn")]);
    command
        .args(["--proxy", &format!("http://{PROXY_USER}:{PROXY_PASSWORD}@{PROXY}"), "--ca"])
        .arg(authority);
    let mut tunnel = Process::start(&mut command);
    tunnel.wait_for_output("listening at");
    let said = uclient(lab, &client, client.at(3478), "");
    if let Some(status) = tunnel.exited() {
        return Err(format!("the tunnel ended with {status}: {}", tunnel.output()));
    }
    said.map_err(|e| format!("{e}\nthe tunnel: {}", tunnel.output()))?;
    Ok("every message came back".to_owned())
}

/// coturn's client, to the echo elsewhere.
fn uclient(lab: &Lab<'_>, client: &Host, server: SocketAddr, flag: &str) -> Result<(), String> {
    const MESSAGES: u64 = 20;
    let peer = lab.net.elsewhere.at(PEER);
    let flags = format!(
        "-u {USER} -w {PASSWORD} -m 2 -n {MESSAGES} -z 10 -e {} -r {} {flag}",
        peer.ip(),
        peer.port()
    );
    let totals = Uclient::start(client, server, flags.split_whitespace()).end()?;
    let all = 2 * MESSAGES;
    let expected = Totals { sent: all, received: all };
    if totals == expected { Ok(()) } else { Err(format!("{flag}: {totals:?}")) }
}

/// Every port that the firewall has opened is used, media flows both ways through it, and one more client is told that
/// there is none left.
pub(super) fn four_ports(lab: &Lab<'_>) -> Result<String, String> {
    let (client, server) = (&lab.net.client, lab.net.server.at(3478));
    let peer = lab.net.colleague.udp(0);
    let at = peer.local_addr().expect("a bound socket");
    let mut clients: Vec<_> = (0..4).map(|_| TurnClient::new(client, server)).collect();
    let mut ports = Vec::new();
    for client in &mut clients {
        let relayed = client.allocate();
        client.bind(CHANNEL, at);
        client.send(CHANNEL, b"to the peer");
        let Some((data, from)) = receive(&peer, PATIENCE) else {
            return Err(format!("nothing comes from {relayed}"));
        };
        if from != relayed || data != b"to the peer" {
            return Err(format!("{data:?} comes from {from}, not from {relayed}"));
        }
        peer.send_to(b"to the client", relayed).map_err(|e| e.to_string())?;
        match client.receive(PATIENCE) {
            Some(Received::Channel(CHANNEL, data)) if data == b"to the client" => {}
            other => return Err(format!("from the peer by {relayed}: {other:?}")),
        }
        ports.push(relayed.port());
    }
    ports.sort_unstable();
    if ports != [34568, 34569, 34570, 34571] {
        return Err(format!("relayed from {ports:?}"));
    }
    let mut fifth = TurnClient::new(client, server);
    let mut allocate = || {
        fifth.request(Method::ALLOCATE, |request| {
            request.requested_transport(UDP);
        })
    };
    match allocate() {
        Err(ErrorCode::INSUFFICIENT_CAPACITY) => {}
        other => return Err(format!("the fifth is answered {other:?}")),
    }
    clients[0].end();
    // The port is free once what belongs to it is gone, which may be a moment after the answer.
    wait_for("a port that is free again", || allocate().ok());
    Ok("34568 to 34571, then 508".to_owned())
}

/// A pair of ports for RTP and RTCP, and two streams that nobody answers, over a firewall that forgets fast: the one out of
/// the client, the other in.
pub(super) fn pairs_and_one_way_streams(lab: &Lab<'_>) -> Result<String, String> {
    const PACKETS: u32 = 500;
    const BETWEEN: Duration = Duration::from_millis(20);
    let net = lab.net;
    for timeout in ["udp_timeout", "udp_timeout_stream"] {
        net.router.set(&format!("netfilter/nf_conntrack_{timeout}"), "3");
    }
    let server = net.server.at(3478);
    let mut clients = [0, 1].map(|_| TurnClient::new(&net.client, server));
    let [rtp, rtcp] = &mut clients;
    let answer = rtp.request(Method::ALLOCATE, |request| {
        request.requested_transport(UDP).even_port(true);
    });
    let answer = answer.map_err(|code| format!("EVEN-PORT: {code}"))?;
    let answer = Message::parse(&answer).expect("parsed before");
    let token = answer.reservation_token().ok().flatten().ok_or("no RESERVATION-TOKEN")?;
    let first = answer.xor_relayed_address().ok().flatten().ok_or("no XOR-RELAYED-ADDRESS")?;
    let answer = rtcp.request(Method::ALLOCATE, |request| {
        request.requested_transport(UDP).reservation_token(token);
    });
    let answer = answer.map_err(|code| format!("RESERVATION-TOKEN: {code}"))?;
    let answer = Message::parse(&answer).expect("parsed before");
    let second = answer.xor_relayed_address().ok().flatten().ok_or("no XOR-RELAYED-ADDRESS")?;
    if first.port() % 2 != 0 || second.port() != first.port() + 1 || second.ip() != first.ip() {
        return Err(format!("{first} and {second} are no pair"));
    }

    let peers = [0, 1].map(|_| net.elsewhere.udp(0));
    let at = [0, 1].map(|n: usize| peers[n].local_addr().expect("a bound socket"));
    for (client, peer) in clients.iter_mut().zip(at) {
        client.bind(CHANNEL, peer);
    }
    let [sender, receiver] = &mut clients;
    let (out, inward) = thread::scope(|scope| {
        let streams = scope.spawn(|| {
            for n in 0..PACKETS {
                sender.send(CHANNEL, &n.to_be_bytes());
                peers[1].send_to(&n.to_be_bytes(), second).expect("a way to the relay");
                thread::sleep(BETWEEN);
            }
        });
        let arrives =
            scope.spawn(|| (0..PACKETS).take_while(|_| receiver.receive(PATIENCE).is_some()).count());
        let mut out = 0;
        while let Some((_, from)) = receive(&peers[0], if streams.is_finished() { QUIET } else { PATIENCE }) {
            assert_eq!(from, first, "who sends");
            out += 1;
            if out == PACKETS {
                break;
            }
        }
        (out, arrives.join().expect("it ends"))
    });
    if (out, inward) != (PACKETS, PACKETS as usize) {
        return Err(format!("of {PACKETS} packets {out} arrive outside and {inward} inside"));
    }
    Ok(format!("{} and {}, {PACKETS} packets each way", first.port(), second.port()))
}
