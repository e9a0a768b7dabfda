//! coturn's server, for what a client does that is ours.

use std::net::{SocketAddr, TcpStream};

use super::folder::Folder;
use super::host::Host;
use super::process::Process;
use super::requirements::assert_installed;
use super::server::{PASSWORD, USER};
use super::wait_for;

/// A running `turnserver`: UDP and TCP at 3478, TLS at 443.
#[derive(Debug)]
pub struct Coturn {
    _process: Process,
    folder: Folder,
    host: Host,
}

impl Coturn {
    /// Starts it at the machine's address, and waits until it accepts connections.
    pub fn start(host: &Host) -> Self {
        assert_installed("turnserver", "coturn");
        let folder = Folder::new();
        let address = host.address();
        folder.certificate(&[&format!("IP:{address}")]);
        let mut command = host.command("turnserver");
        command
            .args(["-n", "--lt-cred-mech", "--realm=lab.test", &format!("--user={USER}:{PASSWORD}")])
            .args([
                "--listening-port=3478",
                "--tls-listening-port=443",
                "--min-port=50000",
                "--max-port=50099",
            ])
            .args([format!("--listening-ip={address}"), format!("--relay-ip={address}")])
            .args([
                format!("--cert={}", folder.path("cert.pem")),
                format!("--pkey={}", folder.path("key.pem")),
            ])
            .args(["--no-dtls", "--no-cli", "--no-rfc5780", "--log-file=stdout", "--simple-log"])
            .args([format!("--pidfile={}", folder.path("pid")), format!("--userdb={}", folder.path("db"))]);
        let process = Process::start(&mut command);
        let coturn = Self { _process: process, folder, host: host.clone() };
        for address in [coturn.address(), coturn.tls()] {
            accepts(host, address);
        }
        coturn
    }

    /// Where it serves UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.host.at(3478)
    }

    /// Where it serves TLS.
    pub fn tls(&self) -> SocketAddr {
        self.host.at(443)
    }

    /// The file of the authority that its certificate is from.
    pub fn ca(&self) -> String {
        self.folder.path("ca.pem")
    }
}

/// Waits until somebody accepts TCP connections at this address of the machine.
pub(super) fn accepts(host: &Host, address: SocketAddr) {
    wait_for(&format!("a listener at {address}"), || host.enter(|| TcpStream::connect(address)).ok());
}
