//! The server that is tried: Turnpike, or coturn to compare with.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;

use super::pages::ORIGIN;
use super::pki::Pki;
use super::topology::{NAME, SECOND_ADDRESS, Topology};
use crate::lab::{Namespace, PASSWORD, Process, Server, ServerOptions, USER, turnpike, wait_for};

/// The key by which a page's backend asks for credentials.
pub(super) const ICE_KEY: &str = "key-of-the-lab";

/// How long such credentials last, in seconds.
pub(super) const ICE_LIFETIME: u64 = 5;

/// A server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// This project's.
    Turnpike,
    /// Debian's coturn.
    Coturn,
}

/// What a server must be able to do for a part of the lab.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Need {
    /// TURN over TCP.
    Tcp,
    /// TURN over TLS.
    Tls,
    /// Pages, on a port that also has TURN over TCP.
    Http,
    /// Pages, on a port that also has TURN over TLS.
    Https,
    /// TURN over WebSocket.
    WebSocket,
    /// Credentials for pages: `/v1/ice`.
    Ice,
    /// `turnpike tunnel`.
    Tunnel,
}

impl Need {
    const ALL: [Need; 7] =
        [Need::Tcp, Need::Tls, Need::Http, Need::Https, Need::WebSocket, Need::Ice, Need::Tunnel];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Need::Tcp => "tcp://",
            Need::Tls => "tls://",
            Need::Http => "http://",
            Need::Https => "https://",
            Need::WebSocket => "WebSocket",
            Need::Ice => "/v1/ice",
            Need::Tunnel => "turnpike tunnel",
        }
    }
}

impl Subject {
    /// Its name, for the command line too.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Turnpike => "turnpike",
            Subject::Coturn => "coturn",
        }
    }

    /// Whether it can do this. Turnpike is asked.
    pub fn has(self, need: Need) -> bool {
        static TURNPIKE: LazyLock<BTreeMap<Need, bool>> =
            LazyLock::new(|| Need::ALL.into_iter().map(|need| (need, turnpike_has(need))).collect());
        match self {
            Subject::Turnpike => TURNPIKE[&need],
            Subject::Coturn => matches!(need, Need::Tcp | Need::Tls),
        }
    }

    /// Starts it in this network, and waits until it is ready.
    pub(super) fn start(self, net: &Topology, relay_ports: &'static str) -> Running {
        match self {
            Subject::Turnpike => Running::Turnpike(start_turnpike(net, relay_ports)),
            Subject::Coturn => Running::Coturn(start_coturn(net, relay_ports)),
        }
    }
}

/// A server at work, until dropped.
#[derive(Debug)]
pub(super) enum Running {
    Turnpike(Server),
    Coturn(#[expect(dead_code, reason = "it ends when this is dropped")] Process),
}

fn turnpike_has(need: Need) -> bool {
    let nowhere = Namespace::new();
    let said = |arguments: &[&str]| {
        let output = turnpike(&nowhere).args(arguments).output().expect("turnpike starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let listens = |url| !said(&["check", "--listen", url]).1.contains("not supported");
    match need {
        Need::Tcp => listens("tcp://192.0.2.1:3478"),
        Need::Tls => listens("tls://192.0.2.1:443"),
        Need::Http => listens("http://192.0.2.1:80"),
        Need::Https | Need::WebSocket => listens("https://192.0.2.1:443"),
        Need::Ice => said(&["run", "--help"]).1.contains("[ice]"),
        Need::Tunnel => said(&["tunnel", "--help"]).0,
    }
}

fn start_turnpike(net: &Topology, relay_ports: &'static str) -> Server {
    let has = |need| Subject::Turnpike.has(need);
    let first = net.server.address();
    let second = SECOND_ADDRESS;
    let mut options = ServerOptions { relay_ports, ..ServerOptions::new("xdp") };
    let mut listen = vec![format!("udp://{first}:443"), format!("udp://{first}:53")];
    if has(Need::Tcp) {
        listen.extend([3478, 53].map(|port| format!("tcp://{first}:{port}")));
        listen.push(format!("tcp://{second}:443"));
    }
    if has(Need::Http) {
        listen.push(format!("http://{first}:80"));
    } else if has(Need::Tcp) {
        listen.push(format!("tcp://{first}:80"));
    }
    let scheme = if has(Need::Https) { "https" } else { "tls" };
    if has(Need::Tls) {
        listen.push(format!("{scheme}://{first}:443"));
        let (certificate, key) = server_certificate(net, &net.pki);
        options = options.flag("--cert", certificate).flag("--key", key);
    }
    for listener in listen {
        options = options.flag("--listen", listener);
    }
    if has(Need::Ice) {
        // Signs the credentials.
        options = options.flag("--auth-secret", "secret-of-the-lab");
        options = options.flag("--config", net.server.keep("turnpike.toml", &ice_settings()).display());
    }
    Server::start(&net.server, &options)
}

/// The settings for `/v1/ice`, which are no flags.
fn ice_settings() -> String {
    format!(
        "[ice]\nhost = \"{NAME}\"\n\
         [[ice.tenants]]\nname = \"lab\"\nkey = \"{ICE_KEY}\"\norigins = [\"{ORIGIN}\"]\nlifetime = \"{ICE_LIFETIME}s\"\n"
    )
}

fn start_coturn(net: &Topology, relay_ports: &str) -> Process {
    let (certificate, key) = server_certificate(net, &net.pki);
    let (first, second) = (net.server.address(), SECOND_ADDRESS);
    let (low, high) = relay_ports.split_once('-').expect("a range");
    let at = net.server.private();
    let at = at.display();
    let mut command = net.server.command("turnserver");
    command.args(["-n", "-m", "2", "--no-cli", "--lt-cred-mech", "--realm", "lab.test"]).args([
        format!("--user={USER}:{PASSWORD}"),
        format!("--listening-ip={first}"),
        format!("--listening-ip={second}"),
        format!("--relay-ip={first}"),
        "--listening-port=3478".to_owned(),
        "--tls-listening-port=443".to_owned(),
        format!("--aux-server={first}:80"),
        format!("--aux-server={first}:53"),
        format!("--min-port={low}"),
        format!("--max-port={high}"),
        format!("--cert={certificate}"),
        format!("--pkey={key}"),
        "--log-file=stdout".to_owned(),
        format!("--pidfile={at}/turnserver.pid"),
        format!("--userdb={at}/turnserver.sqlite"),
    ]);
    let mut process = Process::start(&mut command);
    wait_for("coturn", || {
        assert_eq!(process.exited(), None, "{}", process.output());
        let ready = |port| {
            let at = SocketAddr::new(first, port);
            net.server.enter(|| TcpStream::connect(at)).is_ok()
        };
        [3478, 443, 80, 53].into_iter().all(ready).then_some(())
    });
    process
}

/// Files with the server's certificate and its key.
fn server_certificate(net: &Topology, pki: &Pki) -> (String, String) {
    let keep = |name, text: &str| net.server.keep(name, text).display().to_string();
    (keep("server.pem", &pki.server_certificate), keep("server.key", &pki.server_key))
}
