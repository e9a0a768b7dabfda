//! coturn's own load generator and echo, for a client that we did not write.

use std::net::SocketAddr;
use std::time::Duration;

use super::host::Host;
use super::process::Process;
use super::server::{PASSWORD, USER};

/// An echo at the peer's side: `turnutils_peer`.
#[derive(Debug)]
pub struct Echo {
    process: Process,
    at: SocketAddr,
}

impl Echo {
    /// Starts it. The program listens on two ports, for RTP and RTCP.
    pub fn start(host: &Host) -> Self {
        let at = host.at(3480);
        let mut command = host.command("turnutils_peer");
        command.args(["-L", &at.ip().to_string(), "-p", &at.port().to_string()]);
        let process = Process::start(&mut command);
        let echo = Self { process, at };
        echo.wait_until_it_answers(host);
        echo
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    fn wait_until_it_answers(&self, host: &Host) {
        let socket = host.udp(0);
        super::wait_for(&format!("an echo of process {}", self.process.pid()), || {
            socket.send_to(b"hello", self.at).ok()?;
            super::receive(&socket, Duration::from_millis(100))
        });
    }
}

/// What `turnutils_uclient` is to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Clients, an even number: two are a pair for RTP and RTCP.
    pub clients: u32,
    /// Messages of each client.
    pub messages: u32,
    /// Bytes of each.
    pub length: u32,
    /// Between two messages of a client, in milliseconds.
    pub interval: u32,
    /// By Send indications instead of channels.
    pub indications: bool,
    /// Each client changes its port once it has allocated (`-M`, RFC 8016).
    pub mobile: bool,
    /// With DONT-FRAGMENT.
    pub dont_fragment: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: 2,
            messages: 50,
            length: 170,
            interval: 5,
            indications: false,
            mobile: false,
            dont_fragment: false,
        }
    }
}

/// What `turnutils_uclient` says it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Messages sent to the peer.
    pub sent: u64,
    /// Messages that came back.
    pub received: u64,
}

impl Load {
    /// Runs it from this machine against this server and echo.
    pub fn run(self, host: &Host, server: SocketAddr, echo: &Echo) -> Totals {
        let mut command = host.command("turnutils_uclient");
        command.args(["-u", USER, "-w", PASSWORD]);
        for (flag, value) in
            [("-m", self.clients), ("-n", self.messages), ("-l", self.length), ("-z", self.interval)]
        {
            command.args([flag, &value.to_string()]);
        }
        if self.indications {
            command.arg("-s");
        }
        if self.mobile {
            command.arg("-M");
        }
        if self.dont_fragment {
            command.arg("-g");
        }
        let peer = echo.address();
        command.args(["-L", &host.address().to_string(), "-e", &peer.ip().to_string()]);
        command.args(["-r", &peer.port().to_string(), "-p", &server.port().to_string()]);
        let mut process = Process::start(command.arg(server.ip().to_string()));
        let (status, output) = process.wait(Duration::from_secs(60));
        assert!(status.success(), "turnutils_uclient: {status}\n{output}");
        totals(&output).unwrap_or_else(|| panic!("turnutils_uclient printed no totals:\n{output}"))
    }
}

/// Reads the last `tot_send_msgs=N, tot_recv_msgs=N`.
fn totals(output: &str) -> Option<Totals> {
    let line = output.lines().rev().find(|line| line.contains("tot_send_msgs="))?;
    let number = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some(Totals { sent: number("tot_send_msgs=")?, received: number("tot_recv_msgs=")? })
}
