//! A client behind a router, which is the server's only default route, is answered by XDP; one on the link is not.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use turnpike::stun::{Builder, Class, Message, MessageType, Method, TransactionId};
use turnpike_tests::lab::{
    self, Host, OneNic, PATIENCE, Path, QUIET, Server, ServerOptions, receive, wait_for,
};

use crate::common::{Call, SettingsFile, moved, reload};

/// The client machine is also the router to these addresses of its own.
const BEHIND: [&str; 2] = ["198.51.100.7", "2001:db8:99::7"];

fn routed(net: &OneNic) {
    net.client.ip("addr add 198.51.100.7/32 dev lo");
    net.client.ip("link set lo up");
    net.client.ip("-6 addr add 2001:db8:99::7/128 dev lo nodad");
    net.server.ip("route add default via 10.77.0.2");
    net.server.ip(&format!("-6 route add default via {}", net.net.address_v6(2)));
}

fn client(host: &Host, ip: &str) -> UdpSocket {
    let at = SocketAddr::new(ip.parse().expect("an address"), 0);
    host.enter(|| UdpSocket::bind(at)).expect("an address of the machine")
}

fn request(method: Method, id: u8, fingerprint: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kind = MessageType::new(method, Class::Request);
    let mut request = Builder::new(&mut bytes, kind, TransactionId([id; 12]));
    if fingerprint {
        request.fingerprint();
    }
    bytes
}

/// Asks once, and must be answered.
fn asks(client: &UdpSocket, server: SocketAddr, fingerprint: bool) {
    client.send_to(&request(Method::BINDING, 7, fingerprint), server).expect("the server is reachable");
    let (answer, from) = receive(client, PATIENCE).expect("an answer");
    assert_eq!(from, server);
    let answer = Message::parse(&answer).expect("STUN");
    assert_eq!(answer.xor_mapped_address(), Ok(Some(client.local_addr().expect("bound"))));
    assert_eq!(answer.has(turnpike::stun::AttributeType::FINGERPRINT), fingerprint);
}

fn start(net: &OneNic, more: &[&str]) -> (Server, [SocketAddr; 2]) {
    let listeners = [net.server.at(3478), SocketAddr::new(net.net.address_v6(1).into(), 3478)];
    let mut options = ServerOptions::new("xdp").flag("--listen", format!("udp://{}", listeners[1]));
    options.flags.extend(more.iter().map(ToString::to_string));
    (Server::start(&net.server, &options), listeners)
}

#[test]
fn over_ipv4_and_ipv6_with_and_without_fingerprint() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    routed(&net);
    let (server, listeners) = start(&net, &[]);
    for (ip, listener) in BEHIND.into_iter().zip(listeners) {
        let client = client(&net.client, ip);
        asks_until_answered_by_xdp(&server, &client, listener);
        let moved = moved(&server, || asks(&client, listener, true));
        assert_eq!(moved.of(Path::Xdp, Reason::Answered), 1, "{moved:?}");
    }
    // On the link, the kernel knows the way.
    let near = net.client.udp(0);
    let moved = moved(&server, || asks(&near, listeners[0], false));
    assert_eq!(moved.of(Path::Xdp, Reason::Answered), 0, "{moved:?}");
}

/// Asks for two seconds, within the rate of strangers, and XDP must answer none of it.
fn asks_and_is_not_answered_by_xdp(server: &Server, client: &UdpSocket, listener: SocketAddr) {
    let moved = moved(server, || {
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            asks(client, listener, false);
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(moved.of(Path::Xdp, Reason::Answered), 0, "{moved:?}");
}

fn asks_until_answered_by_xdp(server: &Server, client: &UdpSocket, listener: SocketAddr) {
    wait_for("an answer by XDP", || {
        let moved = moved(server, || asks(client, listener, false));
        (moved.of(Path::Xdp, Reason::Answered) == 1).then_some(())
    });
}

#[test]
fn not_where_it_is_turned_off() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    routed(&net);
    let (server, listeners) = start(&net, &["--no-answer-bindings"]);
    asks_and_is_not_answered_by_xdp(&server, &client(&net.client, BEHIND[0]), listeners[0]);
}

fn reloaded(net: &OneNic, key: &str) {
    let (status, output) = reload(&net.server).wait(PATIENCE);
    assert!(status.success() && output.contains(key), "{output}");
}

#[test]
fn or_not_as_a_reload_says() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    routed(&net);
    let file = SettingsFile::new("answer-bindings", "");
    let (server, listeners) = start(&net, &["--config", &file.path().to_string()]);
    let client = client(&net.client, BEHIND[0]);
    asks_until_answered_by_xdp(&server, &client, listeners[0]);
    for answers in [false, true] {
        file.write(&format!("[datapath]\nanswer-bindings = {answers}\n"));
        reloaded(&net, "datapath.answer-bindings");
        match answers {
            false => asks_and_is_not_answered_by_xdp(&server, &client, listeners[0]),
            true => asks_until_answered_by_xdp(&server, &client, listeners[0]),
        }
    }
}

#[test]
fn strangers_are_limited_as_a_reload_says() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let file = SettingsFile::new("stranger-rate", "[limits]\nstranger-rate = 'off'\n");
    let (server, listeners) = start(&net, &["--config", &file.path().to_string()]);
    let flooder = net.client.udp(0);
    let limited = || {
        let moved = moved(&server, || {
            for id in 0..250 {
                flooder.send_to(&request(Method::ALLOCATE, id, false), listeners[0]).expect("sent");
            }
            // Veth hands frames over when it polls.
            std::thread::sleep(QUIET);
        });
        moved.of(Path::Xdp, Reason::StrangerLimited)
    };
    assert_eq!(limited(), 0, "without a limit");
    // Ten times as many may come at once; it takes seconds until they may again.
    for (rate, expected) in [("20", 20..=50), ("'off'", 0..=0), ("1", 240..=250)] {
        file.write(&format!("[limits]\nstranger-rate = {rate}\n"));
        reloaded(&net, "limits.stranger-rate");
        let limited = limited();
        assert!(expected.contains(&limited), "{limited} of 250 at {rate} a second");
    }
}

#[test]
fn a_flood_of_strangers_and_junk_ends_in_xdp_and_a_client_of_the_same_network_still_relays() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let (server, listeners) = start(&net, &["--stranger-rate", "20"]);
    // It holds an allocation; the flood comes from its own address.
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
    let flooder = net.client.udp(0);
    let flooded = moved(&server, || {
        for id in 0..=255 {
            for _ in 0..8 {
                flooder.send_to(&request(Method::ALLOCATE, id, false), listeners[0]).expect("sent");
                flooder.send_to(&[0xff; 32], listeners[0]).expect("sent");
            }
        }
        call.both_ways();
    });
    assert!(flooded.of(Path::Xdp, Reason::StrangerLimited) > 1_500, "{flooded:?}");
    assert!(flooded.of(Path::Xdp, Reason::Malformed) > 2_000, "{flooded:?}");
    assert_eq!(flooded.of(Path::Userspace, Reason::Malformed), 0, "{flooded:?}");
    // Signed requests are heard.
    call.client.bind(0x4002, net.peer.at(9));
    call.both_ways();
}
