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
        let mut flags: Vec<String> = ["-u", USER, "-w", PASSWORD].map(Into::into).into();
        for (flag, value) in
            [("-m", self.clients), ("-n", self.messages), ("-l", self.length), ("-z", self.interval)]
        {
            flags.extend([flag.to_owned(), value.to_string()]);
        }
        if self.indications {
            flags.push("-s".to_owned());
        }
        if self.mobile {
            flags.push("-M".to_owned());
        }
        if self.dont_fragment {
            flags.push("-g".to_owned());
        }
        let peer = echo.address();
        flags.extend(["-e".to_owned(), peer.ip().to_string(), "-r".to_owned(), peer.port().to_string()]);
        Uclient::start(host, server, flags).end().unwrap_or_else(|e| panic!("turnutils_uclient: {e}"))
    }
}

/// A `turnutils_uclient` at work.
#[derive(Debug)]
pub struct Uclient(Process);

impl Uclient {
    /// How long one may take: it begins to send up to six seconds after it has connected, and is in no hurry to end.
    const LIMIT: Duration = Duration::from_secs(60);

    /// Starts it on this machine against this server.
    pub fn start(host: &Host, server: SocketAddr, flags: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut command = host.command("turnutils_uclient");
        for flag in flags {
            command.arg(flag.as_ref());
        }
        command.args(["-L", &host.address().to_string(), "-p", &server.port().to_string()]);
        Self(Process::start(command.arg(server.ip().to_string())))
    }

    /// Waits for its end: what it did, or what it printed if that was not a success.
    pub fn end(mut self) -> Result<Totals, String> {
        let (status, output) = self.0.wait(Self::LIMIT);
        totals(&output).filter(|_| status.success()).ok_or_else(|| format!("{status}\n{output}"))
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
