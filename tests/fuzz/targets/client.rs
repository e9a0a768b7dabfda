//! Any bytes as the answers of a proxy and of a server, to the client's side: it comes to an end, takes nothing for a TURN
//! message that is none, and writes nothing of theirs to a terminal that would steer it.
#![no_main]

use std::cell::RefCell;
use std::net::Ipv4Addr;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tungstenite::handshake::derive_accept_key;
use turnpike::client::{Connector, Incoming};
use turnpike::framing::{First, LONGEST, first};

#[derive(Arbitrary, Debug)]
struct Input {
    password: bool,
    proxy: Option<Answer>,
    web_socket: Option<Answer>,
    /// What the server sends once the client has what it wanted.
    rest: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Answer {
    /// As it should be.
    Good,
    /// Of HTTP, with this status and these headers.
    Status {
        status: u16,
        headers: Vec<(Header, String)>,
        body: Vec<u8>,
    },
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Header {
    ProxyAuthenticate,
    Accept,
    Connection,
    Protocol,
    Upgrade,
    Via,
}

struct World {
    runtime: Runtime,
    listener: TcpListener,
    /// Each connection goes to another address of the loopback: ports of those that ended are not free at once.
    next: u16,
}

thread_local!(static WORLD: RefCell<World> = RefCell::new({
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("a port");
    World { runtime, listener, next: 0 }
}));

fuzz_target!(|input: Input| WORLD.with_borrow_mut(|World { runtime, listener, next }| {
    *next = next.wrapping_add(1);
    let [high, low] = next.to_be_bytes();
    let at = format!("127.{}.{low}.1:{}", high % 200, listener.local_addr().expect("an address").port());
    let url = match input.web_socket {
        Some(_) => format!("ws://{}/turn", if input.proxy.is_some() { "turn.test" } else { &at }),
        None => format!("turn:{}?transport=tcp", if input.proxy.is_some() { "turn.test" } else { &at }),
    };
    let user = if input.password { "me:secret@" } else { "" };
    let proxy = input.proxy.is_some().then(|| format!("http://{user}{at}").parse().expect("a proxy"));
    let connector = Connector::new(url.parse().expect("a URL"), proxy, None).expect("no TLS");
    runtime.block_on(async {
        tokio::join!(use_server(&connector), async {
            let (stream, _) = listener.accept().await.expect("a client");
            // It may have gone.
            let _ = serve(stream, &input).await;
        });
    });
}));

async fn use_server(connector: &Connector) {
    let mut connection = match connector.connect(&mut |_| {}).await {
        Ok(connection) => connection,
        Err(failed) => return harmless(&failed.why.to_string()),
    };
    loop {
        match connection.receiver.receive().await {
            Ok(Incoming::Message(message)) => {
                assert!(message.len() <= LONGEST);
                let whole = First::Whole { length: message.len(), space: message.len() };
                assert_eq!(first(&message, true), Ok(whole));
            }
            Ok(Incoming::Alive) => {}
            Err(lost) => return harmless(&lost.to_string()),
        }
    }
}

/// What is shown to a person.
fn harmless(text: &str) {
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}

async fn serve(mut stream: TcpStream, input: &Input) -> std::io::Result<()> {
    for (answer, is_proxy) in [(&input.proxy, true), (&input.web_socket, false)] {
        let Some(answer) = answer else { continue };
        let request = head(&mut stream).await?;
        stream.write_all(&bytes(answer, is_proxy, &request)).await?;
        if !matches!(answer, Answer::Good) {
            // It waits for nothing more.
            stream.shutdown().await?;
            break;
        }
    }
    if input.proxy.as_ref().is_none_or(|a| matches!(a, Answer::Good)) {
        stream.write_all(&input.rest).await?;
        stream.shutdown().await?;
    }
    // Until the client has gone: a reset would take what it has not read yet.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).expect("a client writes text"))
}

fn bytes(answer: &Answer, is_proxy: bool, request: &str) -> Vec<u8> {
    let accept = || {
        let lines = request.lines().filter_map(|line| line.split_once(": "));
        let mut keys = lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        keys.next().map(|(_, key)| derive_accept_key(key.as_bytes())).unwrap_or_default()
    };
    match answer {
        Answer::Good if is_proxy => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
        Answer::Good => format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: turn\r\n\r\n",
            accept()
        )
        .into_bytes(),
        Answer::Raw(bytes) => bytes.clone(),
        Answer::Status { status, headers, body } => {
            let mut text = format!("HTTP/1.1 {status} What it says\r\n");
            for (header, value) in headers.iter().take(120) {
                let (name, usual) = match header {
                    Header::ProxyAuthenticate => ("Proxy-Authenticate", "Basic realm=\"a\"".to_owned()),
                    Header::Accept => ("Sec-WebSocket-Accept", accept()),
                    Header::Connection => ("Connection", "Upgrade".into()),
                    Header::Protocol => ("Sec-WebSocket-Protocol", "turn".into()),
                    Header::Upgrade => ("Upgrade", "websocket".into()),
                    Header::Via => ("Via", "1.1 a".into()),
                };
                let value = if value.is_empty() { usual } else { value.replace(['\r', '\n'], " ") };
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            [format!("{text}\r\n").as_bytes(), body].concat()
        }
    }
}
