//! Turnpike, in each of its modes.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Serialize;
use turnpike_tests::lab::{Namespace, Process, get};

use super::process::{command, output_of, wait_until};
use super::server::{FIRST_PORT, REALM, Server, user};
use crate::allocations::Plan;
use crate::lab::{ALLOWED, Family, Lab};
use crate::streams::{Identity, TLS_PORT};

/// Where it serves its admin API: the loopback of its own namespace.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9641);

/// How many bindings its tables have room for by default.
const BINDINGS: u32 = 131_072;

/// Where it forwards media.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataPath {
    /// XDP in driver mode.
    Xdp,
    /// XDP in generic mode.
    XdpGeneric,
    /// Its own process.
    Userspace,
}

impl DataPath {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::XdpGeneric, Self::Userspace];

    /// As `--datapath` takes it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Userspace => "userspace",
        }
    }
}

/// A binary of Turnpike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turnpike {
    binary: PathBuf,
    version: String,
}

impl Turnpike {
    /// The one that `cargo xtask build` made, or `TURNPIKE_BIN`.
    pub fn built() -> Result<Self> {
        let built = || concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/turnpike").into();
        Self::at(env::var_os("TURNPIKE_BIN").unwrap_or_else(built).into())
    }

    /// The one at this path.
    pub fn at(binary: PathBuf) -> Result<Self> {
        ensure!(binary.exists(), "{} is missing: make it with `cargo xtask build`", binary.display());
        let said = output_of(&binary, "--version")?;
        let version = said.trim().strip_prefix("turnpike ").unwrap_or(said.trim()).to_owned();
        Ok(Self { binary, version })
    }

    /// Starts it with these flags besides those of the lab, and makes the allocations.
    pub fn start(&self, lab: Lab, path: DataPath, flags: &[&str], plan: &Plan) -> Result<Server> {
        // A channel is a channel and a permission; the table is full before every place of it is taken.
        let bindings = BINDINGS.max(3 * plan.flows()).to_string();
        self.serve(lab, path, &[&["--max-bindings", &bindings], flags].concat())?.admit(plan)
    }

    /// Starts it with listeners for clients over streams.
    pub fn start_for_streams(&self, lab: Lab, identity: &Identity) -> Result<Server> {
        let [certificate, key] = identity.files(lab.relay()?);
        let listener = lab.addresses().listener(Family::V4)?;
        let [tcp, tls] = [("tcp", listener.port()), ("tls", TLS_PORT)]
            .map(|(scheme, port)| format!("{scheme}://{}:{port}", listener.ip()));
        let flags = ["--listen", &tcp, "--listen", &tls, "--cert", &certificate, "--key", &key];
        // Streams are relayed by the process in each mode.
        self.serve(lab, DataPath::Userspace, &flags)
    }

    /// Starts `turnpike tunnel` with these words in a namespace, on the relay's CPU.
    pub fn tunnel(&self, place: &Namespace, words: &[&str]) -> Result<Process> {
        Ok(Process::start(command(place, &self.binary)?.arg("tunnel").args(words).env("RUST_LOG", "warn")))
    }

    fn serve(&self, lab: Lab, path: DataPath, flags: &[&str]) -> Result<Server> {
        let relay = lab.relay()?.clone();
        let mut command = command(&relay, &self.binary)?;
        command.arg("run");
        for listener in lab.addresses().listeners() {
            command.args(["--listen", &format!("udp://{listener}")]);
        }
        for address in lab.addresses().relayed() {
            command.args(["--relay-address", &address.to_string()]);
        }
        for interface in lab.relay_interfaces() {
            command.args(["--interface", interface]);
        }
        for (first, _, length) in ALLOWED {
            command.args(["--allow-peer", &format!("{first}/{length}")]);
        }
        let user = user();
        command
            .args(["--relay-ports", &format!("{FIRST_PORT}-65535")])
            .args(["--realm", REALM, "--user", &format!("{}:{}", user.name, user.password)])
            .args(["--datapath", path.flag(), "--admin", &ADMIN.to_string()])
            // One for the only CPU that it has.
            .args(["--shards", "1"])
            // The clients are few networks, which all begin at once.
            .args(["--stranger-rate", "off"])
            .args(flags)
            .env("RUST_LOG", "warn");
        let name = format!("turnpike {}", path.flag());
        let mut process = Process::start(&mut command);
        wait_until(&mut process, &name, |_| {
            get(&relay, ADMIN, "/readyz").is_ok_and(|page| page.status == 200)
        })?;
        Ok(Server::started(lab, name, self.version.clone(), process))
    }
}
