//! Servers, proxies and certificates for tests: small, in this process, on the loopback.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};

use super::Splitter;
use crate::framing::{messages, padding};
use crate::stun::{Builder, Class, Message, MessageType, Method, TransactionId};

/// How a fake server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    /// TURN on the stream.
    Turn,
    /// TURN in a WebSocket.
    WebSocket,
    /// The same, each answer twice in a frame and padded.
    Twice,
    /// In a WebSocket, but after the first answer it reads nothing for two seconds.
    Stalls,
    /// In a WebSocket, of which nothing is left after the first message.
    Vanishes,
    /// A WebSocket for anything.
    NoSubprotocol,
    /// Whatever was asked, this.
    Always(&'static str),
    /// It reads a little and closes.
    Hangs,
}

/// A server on the loopback that answers Binding requests and sends everything else back.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listener: AbortHandle,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    received: Mutex<Vec<Vec<u8>>>,
    connections: Mutex<Vec<AbortHandle>>,
}

impl FakeServer {
    pub(crate) async fn start(speaks: Speaks, tls: Option<TlsAcceptor>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), speaks, tls).await
    }

    pub(crate) async fn start_at(address: SocketAddr, speaks: Speaks, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let to_serve = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, client)) = listener.accept().await {
                to_serve.accepted.fetch_add(1, Ordering::Relaxed);
                let (shared, tls) = (to_serve.clone(), tls.clone());
                let connection = tokio::spawn(async move {
                    // What fails is seen from the other side.
                    let _ = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, client, speaks, &shared).await,
                            Err(error) => Err(error),
                        },
                        None => serve(stream, client, speaks, &shared).await,
                    };
                });
                to_serve.connections.lock().unwrap().push(connection.abort_handle());
            }
        });
        Self { address, shared, listener: task.abort_handle() }
    }

    /// How many connections came.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.connections.lock().unwrap().iter().filter(|task| !task.is_finished()).count()
    }

    /// The messages that came.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Breaks all connections.
    pub(crate) fn break_connections(&self) {
        self.shared.connections.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.listener.abort();
        self.break_connections();
    }
}

/// The answer to a message: the sender's address, or the message itself.
fn answer(message: &[u8], client: SocketAddr) -> Vec<u8> {
    match Message::parse(message) {
        Ok(request) if request.method() == Method::BINDING && request.class() == Class::Request => {
            let mut answer = Vec::new();
            Builder::success(&mut answer, &request).xor_mapped_address(client);
            answer
        }
        _ => message.to_vec(),
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    speaks: Speaks,
    shared: &Shared,
) -> io::Result<()> {
    match speaks {
        Speaks::Turn => {
            let mut splitter = Splitter::default();
            while stream.read_buf(splitter.buffer()).await? > 0 {
                while let Some(message) = splitter.take().map_err(io::Error::other)? {
                    let mut answer = answer(&message, client);
                    shared.received.lock().unwrap().push(message);
                    answer.resize(answer.len() + padding(answer.len()), 0);
                    stream.write_all(&answer).await?;
                }
            }
            Ok(())
        }
        Speaks::WebSocket | Speaks::Twice | Speaks::Stalls | Speaks::Vanishes | Speaks::NoSubprotocol => {
            web_socket(stream, client, speaks, shared).await.map_err(io::Error::other)
        }
        Speaks::Always(text) => {
            let _ = stream.read(&mut [0; 4096]).await?;
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
        Speaks::Hangs => stream.read(&mut [0; 10]).await.map(drop),
    }
}

/// Agrees to the subprotocol.
struct Agree(bool);

impl Callback for Agree {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "turn");
        assert_eq!(request.uri().path(), "/turn");
        if self.0 {
            response.headers_mut().insert("Sec-WebSocket-Protocol", "turn".parse().unwrap());
        }
        Ok(response)
    }
}

async fn web_socket(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    speaks: Speaks,
    shared: &Shared,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut socket = accept_hdr_async(stream, Agree(speaks != Speaks::NoSubprotocol)).await?;
    while let Some(frame) = socket.next().await {
        let Frame::Binary(frame) = frame? else { continue };
        if speaks == Speaks::Vanishes {
            return Ok(());
        }
        assert_eq!(messages(&frame).count(), 1, "one message a frame");
        let answer = answer(&frame, client);
        shared.received.lock().unwrap().push(frame.to_vec());
        let padded = [&answer[..], &[0; 3][..padding(answer.len())]].concat();
        let frame = if speaks == Speaks::Twice { padded.repeat(2) } else { answer };
        socket.send(Frame::Binary(frame.into())).await?;
        if speaks == Speaks::Stalls && shared.received.lock().unwrap().len() == 1 {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
    Ok(())
}

/// An HTTP proxy on the loopback that wants this user and password if any, and allows these ports.
pub(crate) struct FakeProxy {
    pub(crate) address: SocketAddr,
    pub(crate) connected: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl FakeProxy {
    pub(crate) async fn start(credentials: Option<&'static str>, allowed: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connected = Arc::new(AtomicUsize::new(0));
        let count = connected.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, credentials, allowed, count.clone()));
            }
        });
        Self { address, connected, task: task.abort_handle() }
    }

    pub(crate) fn url(&self, credentials: &str) -> super::Proxy {
        format!("http://{credentials}{}", self.address).parse().unwrap()
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    mut stream: TcpStream,
    credentials: Option<&str>,
    allowed: u16,
    connected: Arc<AtomicUsize>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    if let Some(credentials) = credentials
        && !head.contains(&format!("Proxy-Authorization: Basic {credentials}\r\n"))
    {
        let refusal = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"corp\"\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).await;
    }
    if !target.ends_with(&format!(":{allowed}")) {
        return stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    }
    let mut server = TcpStream::connect(target).await?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    connected.fetch_add(1, Ordering::Relaxed);
    copy_bidirectional(&mut stream, &mut server).await.map(drop)
}

/// An authority with a file that clients can be given.
pub(crate) struct FakeCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl FakeCa {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = std::env::temp_dir().join(format!("turnpike-test-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server's side with a certificate for these names.
    pub(crate) fn server(&self, names: &[&str]) -> TlsAcceptor {
        self.server_until(names, 2100)
    }

    /// The same, that is good until the beginning of a year.
    pub(crate) fn server_until(&self, names: &[&str], year: i32) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Drop for FakeCa {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A Binding request.
pub(crate) fn binding(id: u8) -> Vec<u8> {
    let mut message = Vec::new();
    let kind = MessageType::new(Method::BINDING, Class::Request);
    Builder::new(&mut message, kind, TransactionId([id; 12])).fingerprint();
    message
}
