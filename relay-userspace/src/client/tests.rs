//! The way to a server, against fakes: every carrier gets there, and what does not says at which step and why.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::net::{TcpListener, UdpSocket};

use super::fakes::{FakeCa, FakeProxy, FakeServer, Speaks, binding};
use super::*;
use crate::stun::Message;

fn connector(url: &str, proxy: Option<Proxy>, ca: &FakeCa) -> Connector {
    let trust = Trust::file(&ca.file).unwrap();
    Connector::new(url.parse().unwrap(), proxy, Some(trust)).unwrap()
}

/// The steps that were told of, with what was said.
async fn go(connector: &Connector) -> (Result<Connection, Failed>, Vec<(Step, String)>) {
    let mut steps = Vec::new();
    let outcome = connector
        .connect(&mut |done| {
            let said = done.outcome.map(str::to_owned).unwrap_or_else(ToString::to_string);
            steps.push((done.step, said));
        })
        .await;
    (outcome, steps)
}

async fn message(connection: &mut Connection) -> Vec<u8> {
    loop {
        if let Incoming::Message(message) = connection.receiver.receive().await.unwrap() {
            return message;
        }
    }
}

/// "me:secret"
const ENCODED: &str = "bWU6c2VjcmV0";

#[tokio::test]
async fn every_carrier_brings_messages_there_and_back_with_and_without_a_proxy() {
    let ca = FakeCa::new("every-carrier");
    for (scheme, end, speaks, tls) in [
        ("turn:", "?transport=tcp", Speaks::Turn, false),
        ("turns:", "", Speaks::Turn, true),
        ("ws://", "/turn", Speaks::WebSocket, false),
        ("wss://", "/turn", Speaks::WebSocket, true),
    ] {
        let server = FakeServer::start(speaks, tls.then(|| ca.server(&["localhost"]))).await;
        let url = format!("{scheme}localhost:{}{end}", server.address.port());
        let proxy = FakeProxy::start(Some(ENCODED), server.address.port()).await;
        for through in [None, Some(proxy.url("me:secret@"))] {
            let proxied = through.is_some();
            let connector = connector(&url, through, &ca);
            let (connection, steps) = go(&connector).await;
            let mut connection = connection.unwrap_or_else(|failed| panic!("{url}: {failed}"));
            let taken: Vec<Step> = steps.iter().map(|(step, _)| *step).collect();
            assert_eq!(taken, connector.plan(), "{url}");
            assert_eq!(proxy.connected.load(Ordering::Relaxed), usize::from(proxied), "{url}");

            connection.sender.send(&binding(1)).await.unwrap();
            let answer = message(&mut connection).await;
            let mapped = Message::parse(&answer).unwrap().xor_mapped_address().unwrap().unwrap();
            assert!(mapped.ip().is_loopback() && (mapped != connection.remote), "{url}");
            // Of five bytes, and so padded on a stream.
            let data = b"\x40\x00\0\x05hello";
            connection.sender.feed(data).await.unwrap();
            connection.sender.send(data).await.unwrap();
            assert_eq!(message(&mut connection).await, data, "{url}");
            assert_eq!(message(&mut connection).await, data, "{url}");
        }
        assert_eq!(server.received().len(), 6, "{url}: unpadded, one by one");
        assert_eq!(server.received()[1], b"\x40\x00\0\x05hello");
    }
}

#[tokio::test]
async fn udp_brings_datagrams_there_and_back_and_uses_no_proxy() {
    let ca = FakeCa::new("udp");
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let url = format!("turn:{}", server.local_addr().unwrap());
    let connector = connector(&url, Some("http://127.0.0.1:1".parse().unwrap()), &ca);
    assert!(connector.proxy().is_none());
    let mut connection = connector.connect(&mut |_| {}).await.unwrap();
    connection.sender.send(b"ping").await.unwrap();
    let mut buffer = [0; 10];
    let (len, from) = server.recv_from(&mut buffer).await.unwrap();
    server.send_to(&buffer[..len], from).await.unwrap();
    assert_eq!(message(&mut connection).await, b"ping");
}

#[tokio::test]
async fn several_messages_of_a_frame_come_one_by_one_and_without_padding() {
    let ca = FakeCa::new("several");
    let server = FakeServer::start(Speaks::Twice, None).await;
    let connector = connector(&format!("ws://{}/turn", server.address), None, &ca);
    let mut connection = connector.connect(&mut |_| {}).await.unwrap();
    for data in [&b"\x40\x00\0\x05hello"[..], b"\x40\x00\0\0"] {
        connection.sender.send(data).await.unwrap();
        assert_eq!(message(&mut connection).await, data);
        assert_eq!(message(&mut connection).await, data);
    }
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn assert_fails(connector: &Connector, at: Step, why: &str) {
    let (outcome, steps) = go(connector).await;
    let failed = outcome.expect_err(why);
    assert_eq!(failed.step, at, "{failed}");
    let said = failed.why.to_string();
    assert!(said.contains(why), "{said:?} and not {why:?}");
    assert_eq!(steps.last().unwrap(), &(at, said), "it was told as well");
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_at_tcp() {
    let ca = FakeCa::new("not-there");
    let nobody = nobody().await;
    for url in [format!("turn:{nobody}?transport=tcp"), format!("wss://{nobody}/turn")] {
        let refused = format!("{nobody} refuses the connection: nothing listens there");
        assert_fails(&connector(&url, None, &ca), Step::Connect, &refused).await;
    }
    let closed = connector(&format!("turns:{nobody}?transport=udp"), None, &ca);
    assert_fails(&closed, Step::Dtls, "nothing listens there").await;
}

#[tokio::test]
async fn a_proxy_that_refuses_fails_at_connect_with_what_it_wants() {
    let ca = FakeCa::new("proxy");
    let server = FakeServer::start(Speaks::Turn, None).await;
    let url = format!("turn:{}?transport=tcp", server.address);
    let proxy = FakeProxy::start(Some(ENCODED), server.address.port()).await;
    let strict = FakeProxy::start(None, 443).await;
    for (proxy, why) in [
        (proxy.url(""), "the proxy asks for a password"),
        (proxy.url("me:guess@"), "refuses this user or password"),
        (strict.url(""), "most allow port 443 only"),
    ] {
        assert_fails(&connector(&url, Some(proxy), &ca), Step::Proxy, why).await;
    }
    for (speaks, why) in [
        (Speaks::Always("220 mail.example ESMTP\r\n"), "this is no HTTP proxy"),
        (Speaks::Hangs, "closes the connection in place of an answer"),
    ] {
        let other = FakeServer::start(speaks, None).await;
        let proxy = format!("http://{}", other.address).parse().unwrap();
        assert_fails(&connector(&url, Some(proxy), &ca), Step::Proxy, why).await;
    }
    assert_eq!(server.accepted(), 0);
    let nobody = nobody().await;
    let gone = format!("http://{nobody}").parse().unwrap();
    let refused = format!("the proxy {nobody} refuses the connection");
    assert_fails(&connector(&url, Some(gone), &ca), Step::Connect, &refused).await;
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_named() {
    let ca = FakeCa::new("tls");
    let other_ca = FakeCa::new("tls-other");
    let cases = [
        (Speaks::Hangs, None, Step::Tls, "closed after the ClientHello: no TLS is spoken on this port"),
        (Speaks::Always("HTTP/1.1 400 Bad Request\r\n\r\n"), None, Step::Tls, "does not speak TLS"),
        (
            Speaks::Turn,
            Some(ca.server(&["other.example"])),
            Step::Certificate,
            "the certificate is for other.example",
        ),
        (Speaks::Turn, Some(ca.server_until(&["localhost"], 2020)), Step::Certificate, "has expired"),
        (
            Speaks::Turn,
            Some(other_ca.server(&["localhost"])),
            Step::Certificate,
            "is there no proxy that intercepts TLS?",
        ),
    ];
    for (speaks, tls, step, why) in cases {
        let server = FakeServer::start(speaks, tls).await;
        for url in [
            format!("turns:localhost:{}", server.address.port()),
            format!("wss://localhost:{}", server.address.port()),
        ] {
            assert_fails(&connector(&url, None, &ca), step, why).await;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_web_socket_is_named() {
    let ca = FakeCa::new("websocket");
    let cases = [
        (
            Speaks::Always("HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n"),
            "no WebSocket at this path; Turnpike's is /turn (answered by nginx)",
        ),
        (
            Speaks::Always("HTTP/1.1 403 Forbidden\r\nVia: 1.1 corp\r\n\r\n"),
            "HTTP 403 in place of the upgrade: it does not allow this",
        ),
        (Speaks::NoSubprotocol, "not for the subprotocol \"turn\""),
        (Speaks::Hangs, "closed during the upgrade"),
        (Speaks::Turn, "closed during the upgrade"),
    ];
    for (speaks, why) in cases {
        let server = FakeServer::start(speaks, None).await;
        let connector = connector(&format!("ws://{}/turn", server.address), None, &ca);
        assert_fails(&connector, Step::WebSocket, why).await;
    }
}

#[tokio::test]
async fn an_end_of_the_connection_and_junk_are_told_apart() {
    let ca = FakeCa::new("end");
    for (speaks, why) in [
        (Speaks::Always("HTTP/1.1 400 Bad Request\r\n\r\n"), "neither STUN nor ChannelData"),
        (Speaks::Always(""), "the server closed the connection"),
    ] {
        let server = FakeServer::start(speaks, None).await;
        let connector = connector(&format!("turn:{}?transport=tcp", server.address), None, &ca);
        let mut connection = connector.connect(&mut |_| {}).await.unwrap();
        connection.sender.send(&binding(1)).await.unwrap();
        let lost = connection.receiver.receive().await.expect_err(why).to_string();
        assert!(lost.contains(why), "{lost}");
    }
}

/// Without TLS's own goodbye, the WebSocket's, or in the middle of a message.
#[tokio::test]
async fn a_connection_that_is_cut_is_told_in_our_words() {
    let ca = FakeCa::new("cut");
    for (scheme, speaks, tls) in [
        ("turns:", Speaks::Hangs, true),
        ("ws://", Speaks::Vanishes, false),
        ("wss://", Speaks::Vanishes, true),
    ] {
        let server = FakeServer::start(speaks, tls.then(|| ca.server(&["localhost"]))).await;
        let connector = connector(&format!("{scheme}localhost:{}", server.address.port()), None, &ca);
        let mut connection = connector.connect(&mut |_| {}).await.unwrap();
        connection.sender.send(&binding(1)).await.unwrap();
        let lost = connection.receiver.receive().await.expect_err(scheme).to_string();
        assert!(lost.starts_with("the connection was cut") && !lost.contains("rustls"), "{scheme}: {lost}");
    }
}

#[test]
fn a_file_without_certificates_is_refused() {
    let path = std::env::temp_dir().join(format!("turnpike-test-{}-empty.pem", std::process::id()));
    std::fs::write(&path, "nothing").unwrap();
    let why = Trust::file(&path).expect_err("it is empty").to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(why.contains("there is none in it (PEM)"), "{why}");
    assert!(
        Trust::file(&path).expect_err("it is gone").to_string().contains("cannot read certificates from")
    );
}
