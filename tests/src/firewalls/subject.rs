//! The server that is tried: Turnpike, or coturn to compare with.

use std::net::{SocketAddr, TcpStream};

use super::pages::ORIGIN;
use super::pki::Pki;
use super::topology::{NAME, SECOND_ADDRESS, Topology};
use crate::lab::{PASSWORD, Process, Server, ServerOptions, USER, wait_for};

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

impl Subject {
    /// Its name, for the command line too.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Turnpike => "turnpike",
            Subject::Coturn => "coturn",
        }
    }

    /// Whether it answers HTTP beside TURN.
    pub(super) fn has_pages(self) -> bool {
        self == Subject::Turnpike
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

fn start_turnpike(net: &Topology, relay_ports: &'static str) -> Server {
    let (first, second) = (net.server.address(), SECOND_ADDRESS);
    let (certificate, key) = server_certificate(net, &net.pki);
    let mut options = ServerOptions { relay_ports, ..ServerOptions::new("xdp") }
        .flag("--cert", certificate)
        .flag("--key", key)
        // Signs the credentials.
        .flag("--auth-secret", "secret-of-the-lab")
        .flag("--config", net.server.keep("turnpike.toml", &ice_settings()).display());
    for listener in [
        format!("udp://{first}:443"),
        format!("udp://{first}:53"),
        format!("tcp://{first}:3478"),
        format!("tcp://{first}:53"),
        format!("tcp://{second}:443"),
        format!("http://{first}:80"),
        format!("https://{first}:443"),
    ] {
        options = options.flag("--listen", listener);
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
