//! coturn: Debian's, or any other by its path, with every option that this version has to be fast.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use turnpike::stun::{Builder, Class, MessageType, Method, TransactionId};
use turnpike_tests::lab::Process;

use super::process::{command, output_of, wait_until};
use super::server::{FIRST_PORT, REALM, Server, user};
use crate::allocations::Plan;
use crate::lab::{ALLOWED, LISTENER_PORT, Lab};
use crate::streams::{Identity, TLS_PORT};

/// Where Debian has it.
const DEBIAN: &str = "/usr/bin/turnserver";

/// Switches that take away clients over streams.
const WITHOUT_STREAMS: [&str; 2] = ["no-tls", "no-tcp"];

/// Switches that take away what the bench has no use for.
const WITHOUT: [&str; 6] =
    ["no-dtls", "no-tcp-relay", "no-cli", "no-rfc5780", "no-dynamic-ip-list", "no-dynamic-realms"];

/// Switches by which it receives and sends many datagrams at once (4.10 and later).
const BATCHED: [&str; 3] = ["udp-recvmmsg", "udp-sendmmsg", "udp-gso"];

/// One socket for all allocations (4.12 and later).
const MULTIPLEX: &str = "multiplex-peer";

/// How many peers an allocation may have there.
const MULTIPLEX_PEERS: &str = "multiplex-peer-max-peers";

/// A binary of coturn's `turnserver`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coturn {
    binary: PathBuf,
    version: String,
    help: String,
}

/// Options that belong together. Which are the fastest is for a measurement to say: the best coturn is the best of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OptionSet {
    /// What reports call it.
    pub name: &'static str,
    /// The options.
    pub flags: Vec<String>,
}

impl Coturn {
    /// Debian's.
    pub fn of_debian() -> Result<Self> {
        ensure!(
            Path::new(DEBIAN).exists(),
            "{DEBIAN} is missing: apt-get install coturn, or give another's path"
        );
        Self::at(DEBIAN.into())
    }

    /// The one at this path.
    pub fn at(binary: PathBuf) -> Result<Self> {
        let said = output_of(&binary, "--version")?;
        let version = said.lines().map(str::trim).rfind(|line| line.contains(|c: char| c.is_ascii_digit()));
        let not_coturn =
            || format!("{} does not tell a version: is it coturn's turnserver?", binary.display());
        let version = version.with_context(not_coturn)?.to_owned();
        let help = output_of(&binary, "-h")?;
        Ok(Self { binary, version, help })
    }

    /// Which version it is.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The sets of options that this version has. All of them have one thread for relaying, as there is one CPU.
    pub fn option_sets(&self) -> Vec<OptionSet> {
        let offered = |flags: &[&str]| -> Vec<String> {
            flags.iter().filter(|flag| self.offers(flag)).map(|flag| format!("--{flag}")).collect()
        };
        let mut sets = vec![OptionSet { name: "as it comes", flags: Vec::new() }];
        let batched = offered(&BATCHED);
        if !batched.is_empty() {
            sets.push(OptionSet { name: "batched", flags: batched.clone() });
        }
        if self.offers(MULTIPLEX) {
            let multiplexed: Vec<String> = [offered(&[MULTIPLEX]), peers_of_multiplex(self)].concat();
            sets.push(OptionSet { name: "multiplexed", flags: multiplexed.clone() });
            if !batched.is_empty() {
                sets.push(OptionSet {
                    name: "multiplexed and batched",
                    flags: [multiplexed, batched].concat(),
                });
            }
        }
        sets
    }

    /// Whether the help names this option, and not only longer ones that begin like it.
    fn offers(&self, flag: &str) -> bool {
        let option = format!("--{flag}");
        self.help.match_indices(&option).any(|(at, _)| {
            let next = self.help[at + option.len()..].chars().next();
            !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
        })
    }

    /// Starts it, and makes the allocations.
    pub fn start(&self, lab: Lab, options: &OptionSet, plan: &Plan) -> Result<Server> {
        let without = WITHOUT_STREAMS.iter().filter(|flag| self.offers(flag));
        let flags: Vec<String> = without.map(|flag| format!("--{flag}")).collect();
        self.serve(lab, options, &flags)?.admit(plan)
    }

    /// Starts it with listeners for clients over streams.
    pub fn start_for_streams(&self, lab: Lab, options: &OptionSet, identity: &Identity) -> Result<Server> {
        let [certificate, key] = identity.files(lab.relay()?);
        let flags = [
            format!("--tls-listening-port={TLS_PORT}"),
            format!("--cert={certificate}"),
            format!("--pkey={key}"),
        ];
        self.serve(lab, options, &flags)
    }

    fn serve(&self, lab: Lab, options: &OptionSet, flags: &[String]) -> Result<Server> {
        let relay = lab.relay()?.clone();
        let folder = relay.private().display().to_string();
        let mut command = command(&relay, &self.binary)?;
        let user = user();
        command
            // No configuration file.
            .arg("-n")
            .args(["--lt-cred-mech", &format!("--user={}:{}", user.name, user.password)])
            .arg(format!("--realm={REALM}"))
            .arg(format!("--listening-port={LISTENER_PORT}"))
            .args([format!("--min-port={FIRST_PORT}"), "--max-port=65535".to_owned()])
            .args(["--relay-threads=1", "--user-quota=0", "--total-quota=0"])
            .args(["--log-file=stdout", "--simple-log"])
            .args([format!("--pidfile={folder}/turnserver.pid"), format!("--userdb={folder}/turndb")])
            .args(flags);
        for listener in lab.addresses().listeners() {
            command.arg(format!("--listening-ip={}", listener.ip()));
        }
        for address in lab.addresses().relayed() {
            command.arg(format!("--relay-ip={address}"));
        }
        for (first, last, _) in ALLOWED {
            command.arg(format!("--allowed-peer-ip={first}-{last}"));
        }
        command.args(WITHOUT.iter().filter(|flag| self.offers(flag)).map(|flag| format!("--{flag}")));
        if self.offers("sock-buf-size") {
            command.arg("--sock-buf-size=1048576");
        }
        command.args(&options.flags);
        let name = match options.flags[..] {
            [] => format!("coturn {}", self.version),
            _ => format!("coturn {}, {}", self.version, options.name),
        };
        let mut process = Process::start(&mut command);
        let listeners = lab.addresses().listeners();
        let clients: Result<Vec<_>> = lab.generator().enter(|| listeners.iter().map(stranger).collect());
        let clients = clients?;
        wait_until(&mut process, &name, |_| clients.iter().all(answered))?;
        Ok(Server::started(lab, name, self.version.clone(), process))
    }
}

/// Room for as many peers as a plan may have.
fn peers_of_multiplex(coturn: &Coturn) -> Vec<String> {
    if coturn.offers(MULTIPLEX_PEERS) { vec![format!("--{MULTIPLEX_PEERS}=4096")] } else { Vec::new() }
}

/// Somebody who asks for nothing but an answer.
fn stranger(listener: &SocketAddr) -> Result<UdpSocket> {
    let any = if listener.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).context("a UDP socket")?;
    socket.connect(listener).with_context(|| format!("to {listener}"))?;
    socket.set_read_timeout(Some(Duration::from_millis(100))).context("a time limit")?;
    Ok(socket)
}

/// Whether a Binding request is answered.
fn answered(stranger: &UdpSocket) -> bool {
    let mut request = Vec::new();
    let kind = MessageType::new(Method::BINDING, Class::Request);
    Builder::new(&mut request, kind, TransactionId(*b"is it there?"));
    stranger.send(&request).is_ok() && stranger.recv(&mut [0; 1500]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_help(help: &str) -> Coturn {
        Coturn { binary: "turnserver".into(), version: "0".into(), help: help.into() }
    }

    #[test]
    fn debian_12s_has_no_options_to_be_fast() {
        let sets = with_help(" -m, --relay-threads <number>\n --no-tls  Do not start\n").option_sets();
        assert_eq!(sets.iter().map(|set| set.name).collect::<Vec<_>>(), ["as it comes"]);
    }

    #[test]
    fn only_options_that_the_help_names_are_used() {
        let help = " --udp-recvmmsg\n --udp-gso=on\n --udp-recvmmsg-log\n --multiplex-peer\t\n --multiplex-peer-port <port>\n";
        let sets = with_help(help).option_sets();
        let flags = |name: &str| sets.iter().find(|set| set.name == name).expect("a set").flags.join(" ");
        assert_eq!(flags("batched"), "--udp-recvmmsg --udp-gso");
        assert_eq!(flags("multiplexed"), "--multiplex-peer");
        assert_eq!(flags("multiplexed and batched"), "--multiplex-peer --udp-recvmmsg --udp-gso");
        assert!(!with_help(" --multiplex-peer-port").offers(MULTIPLEX));
    }
}
