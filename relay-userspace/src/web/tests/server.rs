//! A listener of the loopback for the router, until its connections end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use crate::config::{self, Host, Settings};
use crate::front::Visitor;
use crate::web::{self, Site, Web};

/// The keys of the tenants below.
pub(super) const KEY: &str = "key-of-the-app-0123456789";
pub(super) const OTHER_KEY: &str = "key-of-the-backend-012345";
pub(super) const TEST_KEY: &str = "key-of-the-test-page";

/// Two tenants, one of them with web pages, and the test page.
pub(super) const SETTINGS: &str = r#"
    listen = ["udp://127.0.0.1:3478", "udp://127.0.0.1:443"]
    realm = "example.org"
    auth = { secrets = ["north", "old"] }
    realms = [{ name = "other.example", origins = ["https://other.example"], secrets = ["south"] }]

    [ice]
    host = "turn.example.org"

    [[ice.tenants]]
    name = "app"
    key = "key-of-the-app-0123456789"
    origins = ["https://app.example", "https://app.example:8443"]
    lifetime = "10m"
    max-lifetime = "1h"

    [[ice.tenants]]
    name = "backend"
    key = "key-of-the-backend-012345"
    realm = "other.example"
    urls = ["turns:turn.other.example:443?transport=tcp", "wss://turn.other.example/turn"]

    [test-page]
    enabled = true
    key = "key-of-the-test-page"
"#;

pub(super) fn settings(text: &str) -> Settings {
    config::parse("t.toml".as_ref(), text).unwrap().resolve(&Host::default()).unwrap().settings
}

/// A server of these settings.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) web: Arc<Web>,
}

impl Server {
    pub(super) fn start(text: &str) -> Self {
        let web = Web::new(Site::new(&settings(text)));
        let router = web::router(web.clone(), false);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, client)) = listener.accept().await {
                    let router =
                        router.clone().layer(Extension(Visitor { client, listener: address, secure: false }));
                    let service = TowerToHyperService::new(router);
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        Self { address, web }
    }

    pub(super) fn standard() -> Self {
        Self::start(SETTINGS)
    }

    /// A connection from an address of the loopback, 127.0.`network`.1: networks are limited apart.
    pub(super) fn connect(&self, network: u8) -> TcpStream {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
        use std::os::fd::AsRawFd as _;
        let from = SockaddrIn::new(127, 0, network, 1, 0);
        let SocketAddr::V4(to) = self.address else { panic!("the server is at an IPv4 address") };
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(socket.as_raw_fd(), &from).unwrap();
        connect(socket.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(super) fn ask_from(&self, network: u8, request: &str) -> Answer {
        let mut stream = self.connect(network);
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(stream)
    }

    /// The answer to this method and path with these headers and this body.
    pub(super) fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        self.ask_from(0, &request(line, headers, body))
    }
}

pub(super) fn request(line: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nHost: turn.example.org\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    format!("{text}\r\n{body}")
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A refused request may end in a reset; what came before it counts.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.unwrap_or(0), head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}
