//! What passes a network besides TURN: how the lab knows that its firewalls are real. No TURN server has a part in it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::echo::MIRRORS;
use super::network::{Network, Way};
use super::proxy::{PROXY_PASSWORD, PROXY_USER};
use super::report::Report;
use super::topology::Topology;
use crate::lab::{Host, receive};

/// How long an answer may take. Nothing here is further away than a few threads.
const LIMIT: Duration = Duration::from_millis(800);

/// A message that means nothing.
const PLAIN: &[u8] = b"what a firewall cannot know";

/// A Binding request of STUN: by its cookie a firewall knows it.
const STUN: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42twelve bytes";

/// A message between the client and a machine elsewhere, and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// To this UDP port.
    Udp(u16),
    /// To this TCP port.
    Tcp(u16),
    /// STUN, to this UDP port.
    StunUdp(u16),
    /// STUN, to this TCP port.
    StunTcp(u16),
    /// From elsewhere to the client, who did not ask, over UDP.
    InboundUdp,
    /// The same over TCP.
    InboundTcp,
    /// To this TCP port by the proxy's CONNECT.
    Connect(u16),
    /// The same with the proxy's user and password.
    ConnectAsUser(u16),
}

impl Probe {
    /// Those of every network.
    pub const EVERYWHERE: [Probe; 12] = [
        Probe::Udp(53),
        Probe::Udp(443),
        Probe::Udp(3478),
        Probe::Udp(40000),
        Probe::Tcp(53),
        Probe::Tcp(80),
        Probe::Tcp(443),
        Probe::Tcp(3478),
        Probe::StunUdp(3478),
        Probe::StunTcp(443),
        Probe::InboundUdp,
        Probe::InboundTcp,
    ];

    /// Those where there is a proxy.
    pub const BY_PROXY: [Probe; 4] =
        [Probe::Connect(443), Probe::Connect(3478), Probe::ConnectAsUser(443), Probe::ConnectAsUser(3478)];

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Probe::Udp(port) => format!("udp {port}"),
            Probe::Tcp(port) => format!("tcp {port}"),
            Probe::StunUdp(port) => format!("STUN on udp {port}"),
            Probe::StunTcp(port) => format!("STUN on tcp {port}"),
            Probe::InboundUdp => "udp inward".to_owned(),
            Probe::InboundTcp => "tcp inward".to_owned(),
            Probe::Connect(port) => format!("CONNECT {port}"),
            Probe::ConnectAsUser(port) => format!("CONNECT {port} logged in"),
        }
    }

    fn passes(self, net: &Topology) -> bool {
        let (client, elsewhere) = (&net.client, &net.elsewhere);
        match self {
            Probe::Udp(port) => udp(client, elsewhere.at(port), PLAIN),
            Probe::StunUdp(port) => udp(client, elsewhere.at(port), STUN),
            Probe::Tcp(port) => tcp(client, elsewhere.at(port), PLAIN),
            Probe::StunTcp(port) => tcp(client, elsewhere.at(port), STUN),
            Probe::InboundUdp => inbound_udp(elsewhere, client),
            Probe::InboundTcp => inbound_tcp(elsewhere, client),
            Probe::Connect(port) => connect(net, port, ""),
            Probe::ConnectAsUser(port) => connect(net, port, &login()),
        }
    }
}

/// Tries all of them at once, and what else can be seen of a network without a server.
pub(super) fn all(network: &Network, net: &Topology, report: &mut Report) {
    let mut probes = Probe::EVERYWHERE.to_vec();
    if net.proxy.is_some() {
        probes.extend(Probe::BY_PROXY);
    }
    let passed = thread::scope(|scope| {
        let running: Vec<_> = probes.iter().map(|probe| scope.spawn(|| probe.passes(net))).collect();
        running.into_iter().map(|thread| thread.join().expect("a probe ends")).collect::<Vec<_>>()
    });
    for (&probe, &passed) in probes.iter().zip(&passed) {
        report.probed(probe, passed, network.open.contains(&probe));
    }
    let ends = match network.way {
        Way::SymmetricNat { both: true } => [Some(&net.client), net.other.as_ref()],
        Way::SymmetricNat { both: false } => [Some(&net.client), None],
        // A NAT hides what is behind it even without a rule.
        Way::Routed | Way::Proxy(_) => {
            if passed.contains(&false) && net.blocked() == 0 {
                report.problem("something did not pass, but the firewall has dropped no packet");
            }
            [None, None]
        }
    };
    for host in ends.into_iter().flatten() {
        symmetric(host, net, report);
    }
}

/// From one socket two destinations see different ports (RFC 4787 section 4.1).
fn symmetric(host: &Host, net: &Topology, report: &mut Report) {
    let socket = host.udp(0);
    let seen = MIRRORS.map(|port| {
        socket.send_to(PLAIN, net.elsewhere.at(port)).ok()?;
        let (answer, _) = receive(&socket, LIMIT)?;
        String::from_utf8(answer).ok()?.parse::<SocketAddr>().ok()
    });
    match seen {
        [Some(a), Some(b)] if a.port() != b.port() && a.ip() != host.address() => {}
        seen => report.problem(format!("{} is not behind a symmetric NAT: {seen:?}", host.address())),
    }
}

fn udp(from: &Host, to: SocketAddr, message: &[u8]) -> bool {
    let socket = from.udp(0);
    // One packet may be lost for want of a neighbour's address.
    (0..2).any(|_| {
        socket.send_to(message, to).is_ok()
            && receive(&socket, LIMIT / 2).is_some_and(|(answer, _)| answer == message)
    })
}

fn tcp(from: &Host, to: SocketAddr, message: &[u8]) -> bool {
    let stream = from.enter(|| TcpStream::connect_timeout(&to, LIMIT));
    stream.and_then(|stream| echoes(&stream, message)).unwrap_or(false)
}

fn echoes(mut stream: &TcpStream, message: &[u8]) -> io::Result<bool> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(message)?;
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer == message)
}

fn inbound_udp(from: &Host, to: &Host) -> bool {
    let (listener, sender) = (to.udp(0), from.udp(0));
    let Ok(at) = listener.local_addr() else { return false };
    (0..2).any(|_| sender.send_to(PLAIN, at).is_ok() && receive(&listener, LIMIT / 2).is_some())
}

fn inbound_tcp(from: &Host, to: &Host) -> bool {
    let at = to.at(0);
    let listener = to.enter(|| TcpListener::bind(at)).expect("a port");
    let at = listener.local_addr().expect("bound");
    from.enter(|| TcpStream::connect_timeout(&at, LIMIT)).is_ok()
}

/// A tunnel through the proxy to the machine elsewhere, in which the echo answers.
fn connect(net: &Topology, port: u16, login: &str) -> bool {
    let Some(proxy) = &net.proxy else { return false };
    let at = proxy.host.at(3128);
    let through = || {
        let stream = net.client.enter(|| TcpStream::connect_timeout(&at, LIMIT))?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(
            &stream,
            "CONNECT elsewhere.test:{port} HTTP/1.1\r\nHost: elsewhere.test:{port}\r\n{login}\r\n"
        )?;
        let mut lines = BufReader::with_capacity(1, &stream).lines();
        let status = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        Ok::<_, io::Error>(status.contains(" 200") && echoes(&stream, PLAIN)?)
    };
    through().unwrap_or(false)
}

/// The header for the proxy that asks who it is.
fn login() -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{PROXY_USER}:{PROXY_PASSWORD}"));
    format!("Proxy-Authorization: Basic {text}\r\n")
}
