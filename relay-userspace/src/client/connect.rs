//! The way to a server, step by step.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::connection::{Connection, Stream};
use super::dtls;
use super::failure::{Failed, Failure, Remote};
use super::proxy::{Proxy, Refusal};
use super::tls::{TlsFailure, Trust, TrustError};
use super::url::{Carrier, ServerUrl};
use super::websocket::{self, UpgradeFailure};

/// How long each address has for a TCP connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a proxy, a TLS handshake and an upgrade each may take. Proxies try to reach the server for a while.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long what was sent may wait for the other host's acknowledgement before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Most bytes that the kernel takes before it can send them.
const MOST_UNSENT: u32 = 64 << 10;

/// One step on the way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The name's addresses; the proxy's where there is one.
    Resolve,
    /// TCP to the server or the proxy.
    Connect,
    /// The proxy's consent.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// Whether the server is who it ought to be. A part of the handshake, and a step of its own only when it fails.
    Certificate,
    /// The DTLS handshake.
    Dtls,
    /// The upgrade from HTTP.
    WebSocket,
}

impl Step {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "TCP connect",
            Self::Proxy => "proxy CONNECT",
            Self::Tls => "TLS",
            Self::Certificate => "certificate",
            Self::Dtls => "DTLS",
            Self::WebSocket => "WebSocket",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A step that was taken.
#[derive(Debug)]
pub struct Done<'a> {
    /// Which.
    pub step: Step,
    /// How long it took.
    pub time: Duration,
    /// What there is to say about it, or why it failed.
    pub outcome: Result<&'a str, &'a Failure>,
}

/// Knows the way to one server.
#[derive(Clone, Debug)]
pub struct Connector {
    url: ServerUrl,
    proxy: Option<Proxy>,
    /// Looked at by those carriers only that need it.
    trust: Option<Trust>,
}

impl Connector {
    /// To this server, through this proxy if there is one; none is used for UDP. Without `trust` the server's certificate
    /// must come from an authority that this host trusts.
    pub fn new(url: ServerUrl, proxy: Option<Proxy>, trust: Option<Trust>) -> Result<Self, TrustError> {
        let trust = match trust {
            None if url.carrier.has_certificate() => Some(Trust::system()?),
            trust => trust,
        };
        let proxy = proxy.filter(|_| !url.carrier.is_datagram());
        Ok(Self { url, proxy, trust })
    }

    /// The server.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// The proxy on the way.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The steps that will be taken.
    pub fn plan(&self) -> Vec<Step> {
        let mut plan = vec![Step::Resolve];
        match self.url.carrier {
            Carrier::Udp => {}
            Carrier::Dtls => plan.push(Step::Dtls),
            carrier => {
                plan.push(Step::Connect);
                plan.extend(self.proxy.as_ref().map(|_| Step::Proxy));
                plan.extend(carrier.has_tls().then_some(Step::Tls));
                plan.extend(carrier.is_web_socket().then_some(Step::WebSocket));
            }
        }
        plan
    }

    /// Goes all steps until one fails; `seen` is told of each.
    pub async fn connect(&self, seen: &mut (dyn FnMut(Done<'_>) + Send)) -> Result<Connection, Failed> {
        let mut way = Way { seen };
        let addresses = way.step(Step::Resolve, self.resolve()).await?;
        match self.url.carrier {
            Carrier::Udp => {
                let socket = way.quiet(Step::Resolve, udp_socket(addresses[0])).await?;
                return Ok(Connection::udp(socket, addresses[0]));
            }
            Carrier::Dtls => {
                let socket = way.quiet(Step::Resolve, udp_socket(addresses[0])).await?;
                let trust = self.trust.as_ref().expect("new() sees to it where there is a certificate");
                let handshake = dtls::handshake(socket, &self.url, trust, PATIENCE);
                let associated = way.step(Step::Dtls, handshake).await?;
                return Ok(Connection::dtls(associated, addresses[0]));
            }
            Carrier::Tcp | Carrier::Tls | Carrier::Ws | Carrier::Wss => {}
        }
        let connecting = connect_to_one(&addresses, self.proxy.is_some());
        let (mut socket, remote) = way.step(Step::Connect, connecting).await?;
        if let Some(proxy) = &self.proxy {
            way.step(Step::Proxy, through(proxy, &mut socket, &self.url)).await?;
        }
        let stream: Stream = match &self.trust {
            Some(trust) if self.url.carrier.has_tls() => {
                let handshake = trust.handshake(socket, &self.url, PATIENCE);
                Box::new(way.step(Step::Tls, async { Ok(handshake.await?) }).await?)
            }
            _ => Box::new(socket),
        };
        if !self.url.carrier.is_web_socket() {
            return Ok(Connection::stream(stream, remote));
        }
        let socket = way.step(Step::WebSocket, upgrade(stream, &self.url)).await?;
        Ok(Connection::web_socket(socket, remote))
    }

    /// The addresses of the server, or of the proxy: those of IPv4 first, which relays have more often than not.
    async fn resolve(&self) -> Result<(Vec<SocketAddr>, String), Failure> {
        let (host, port) = match &self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&self.url.host, self.url.port),
        };
        let unknown = |why: String| Failure::Name { host: host.clone(), why, proxy: self.proxy.is_some() };
        let addresses = match timeout(PATIENCE, lookup_host((host.as_str(), port))).await {
            Ok(addresses) => addresses.map_err(|e| unknown(e.to_string()))?,
            Err(_) => return Err(unknown(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort_by_key(|address| !address.is_ipv4());
        addresses.dedup();
        let first = *addresses.first().ok_or_else(|| unknown("it has no address".into()))?;
        let more = match addresses.len() {
            1 => String::new(),
            n if first.is_ipv4() => format!(", first IPv4 of {n} addresses"),
            n => format!(", first of {n} addresses"),
        };
        let whose = if self.proxy.is_some() { "the proxy's " } else { "" };
        Ok((addresses, format!("{whose}{first}{more}")))
    }
}

/// Takes steps and tells of them.
struct Way<'a> {
    seen: &'a mut (dyn FnMut(Done<'_>) + Send),
}

impl Way<'_> {
    async fn step<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<T, Failed> {
        let start = Instant::now();
        let outcome = work.await;
        let time = start.elapsed();
        match outcome {
            Ok((value, detail)) => {
                (self.seen)(Done { step, time, outcome: Ok(&detail) });
                Ok(value)
            }
            Err(why) => {
                let step = if matches!(why, Failure::Tls(TlsFailure::Certificate(_))) {
                    Step::Certificate
                } else {
                    step
                };
                (self.seen)(Done { step, time, outcome: Err(&why) });
                Err(Failed { step, why })
            }
        }
    }

    /// A part of a step that is worth no line when it goes well.
    async fn quiet<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failed> {
        work.await.map_err(|why| {
            (self.seen)(Done { step, time: Duration::ZERO, outcome: Err(&why) });
            Failed { step, why }
        })
    }
}

async fn udp_socket(server: SocketAddr) -> Result<UdpSocket, Failure> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    let connected = socket.connect(server).await;
    connected.map_err(|e| Failure::Unreachable(Remote { address: server, is_proxy: false }, e))?;
    Ok(socket)
}

/// Tries one address after the other; the last one's failure is told.
async fn connect_to_one(
    addresses: &[SocketAddr],
    is_proxy: bool,
) -> Result<((TcpStream, SocketAddr), String), Failure> {
    let mut failure = None;
    for &address in addresses {
        let remote = Remote { address, is_proxy };
        let why = match timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                prepare(&socket)?;
                let before = failure.map(|why| format!(", after {why}")).unwrap_or_default();
                return Ok(((socket, address), format!("{remote}{before}")));
            }
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Failure::Refused(remote),
            Ok(Err(error)) => Failure::Unreachable(remote, error),
            Err(_) => Failure::Silent(remote, CONNECT_PATIENCE.as_secs()),
        };
        failure = Some(why);
    }
    Err(failure.expect("a name that is known has an address"))
}

/// Media is sent at once or else waits where it can be dropped, and a path that died is noticed.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(MOST_UNSENT)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(UNACKNOWLEDGED))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

async fn through(proxy: &Proxy, socket: &mut TcpStream, url: &ServerUrl) -> Result<((), String), Failure> {
    let opened = timeout(PATIENCE, proxy.open(socket, url)).await;
    opened.unwrap_or(Err(Refusal::Silent(PATIENCE.as_secs())))?;
    Ok(((), format!("{} connects to {}", proxy, url.authority())))
}

async fn upgrade(
    stream: Stream,
    url: &ServerUrl,
) -> Result<(tokio_tungstenite::WebSocketStream<Stream>, String), Failure> {
    let upgraded = timeout(PATIENCE, websocket::upgrade(stream, url)).await;
    let socket = upgraded.unwrap_or(Err(UpgradeFailure::Silent(PATIENCE.as_secs())))?;
    Ok((socket, format!("open at {}, subprotocol turn", url.path)))
}
