//! RFC 5780 on the wire: `turnutils_natdiscovery` finds out what stands between it and the server, and a client of ours
//! tries what that program does not.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use turnpike::stun::{Builder, ChangeRequest, Class, Message, MessageType, Method, TransactionId};
use turnpike_tests::lab::{self, OneNic, PATIENCE, Process, QUIET, Server, ServerOptions, receive};

const PORTS: [u16; 2] = [3478, 3479];

/// A server with listeners at 10.77.0.1 and 10.77.0.4.
fn start(net: &OneNic, datapath: &'static str) -> Server {
    net.server.ip("addr add 10.77.0.4/24 dev eth0");
    let [first, second] = addresses(net);
    let mut options = ServerOptions::new(datapath);
    for listener in [(first, PORTS[1]), (second, PORTS[0]), (second, PORTS[1])].map(SocketAddr::from) {
        options = options.flag("--listen", format!("udp://{listener}"));
    }
    options.flags.push("--nat-discovery".into());
    Server::start(&net.server, &options)
}

fn addresses(net: &OneNic) -> [Ipv4Addr; 2] {
    [net.net.address(1), net.net.address(4)]
}

/// What `turnutils_natdiscovery` says with these flags.
fn discover(net: &OneNic, flags: &str) -> String {
    let mut command = net.client.command("turnutils_natdiscovery");
    command.args(flags.split_whitespace()).args(["-L", &net.client.address().to_string()]);
    command.arg(addresses(net)[0].to_string());
    let (status, output) = Process::start(&mut command).wait(Duration::from_secs(60));
    assert!(status.success(), "{flags}: {status}\n{output}");
    output
}

#[test]
fn where_there_is_no_nat() {
    if lab::skipped() {
        return;
    }
    for datapath in ["xdp", "userspace"] {
        let net = OneNic::new();
        let _server = start(&net, datapath);
        for padding in ["", "-P"] {
            let said = discover(&net, &format!("-m -f {padding}"));
            for expected in [
                "No NAT! (Endpoint Independent Mapping)",
                "NAT with Endpoint Independent Filtering!",
                "No ALG: Mapped == XOR-Mapped",
                "Response origin: : 10.77.0.1:3478",
                "Response origin: : 10.77.0.4:3479",
                "Other addr: : 10.77.0.4:3479",
            ] {
                assert!(said.contains(expected), "{datapath}: no {expected:?} in\n{said}");
            }
        }
    }
}

/// A rule of the client's own host stands for the filter of a NAT.
#[test]
fn and_what_a_filter_lets_through() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let _server = start(&net, "userspace");
    // What is for this host is found first of all otherwise.
    net.client.ip("rule add priority 9 lookup local");
    net.client.ip("rule del priority 0");
    for (filter, expected) in [
        ("from 10.77.0.4", "NAT with Address Dependent Filtering!"),
        ("ipproto udp sport 3479", "NAT with Address and Port Dependent Filtering!"),
    ] {
        net.client.ip(&format!("rule add priority 5 {filter} blackhole"));
        let said = discover(&net, "-f");
        assert!(said.contains(expected), "{filter}: no {expected:?} in\n{said}");
        net.client.ip("rule del priority 5");
    }
}

#[test]
fn and_how_long_a_mapping_lives() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let _server = start(&net, "userspace");
    let said = discover(&net, "-t -T 1");
    // The second answer is to a request of another port, and came to the first.
    assert!(said.contains("RFC 5780 response 2"), "{said}");
}

/// Sends a Binding request.
fn ask(from: &UdpSocket, to: SocketAddr, id: u8, fill: impl FnOnce(&mut Builder<'_>)) {
    let mut request = Vec::new();
    let kind = MessageType::new(Method::BINDING, Class::Request);
    fill(&mut Builder::new(&mut request, kind, TransactionId([id; 12])));
    from.send_to(&request, to).expect("the server is reachable");
}

#[test]
fn from_every_listener_to_every_port_in_every_shard() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = start(&net, "xdp");
    let [first, second] = addresses(&net);
    // Several clients, as the kernel's hash gives each to one of the shards.
    for id in 0..8 {
        let (asker, hearer) = (net.client.udp(0), net.client.udp(0));
        let hearer_port = hearer.local_addr().expect("bound").port();
        for (change, from) in [
            ((false, false), (first, PORTS[0])),
            ((false, true), (first, PORTS[1])),
            ((true, false), (second, PORTS[0])),
            ((true, true), (second, PORTS[1])),
        ] {
            let change = ChangeRequest { ip: change.0, port: change.1 };
            ask(&asker, server.address(), id, |b| {
                b.change_request(change).response_port(hearer_port);
            });
            let (answer, origin) = receive(&hearer, PATIENCE).expect("an answer at the other port");
            assert_eq!(origin, SocketAddr::from(from));
            let answer = Message::parse(&answer).expect("STUN");
            assert_eq!(answer.response_origin(), Ok(Some(origin)));
            assert_eq!(answer.xor_mapped_address(), Ok(Some(asker.local_addr().expect("bound"))));
        }
        assert_eq!(receive(&asker, Duration::from_millis(1)), None, "nothing comes to where it was asked");
    }
}

#[test]
fn with_padding_the_answer_comes_in_fragments() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = start(&net, "xdp");
    let client = net.client.udp(0);
    ask(&client, server.address(), 1, |b| {
        b.padding(4000);
    });
    let (answer, _) = receive(&client, PATIENCE).expect("an answer");
    assert_eq!(answer.len(), 20 + 4 * 12 + 4 + 1500);
    ask(&client, server.address(), 2, |b| {
        b.padding(1500).response_port(5000);
    });
    let (answer, _) = receive(&client, PATIENCE).expect("a refusal");
    assert_eq!(Message::parse(&answer).expect("STUN").class(), Class::Error);
    assert_eq!(receive(&client, QUIET), None);
}
