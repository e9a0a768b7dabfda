//! `turnpike run` on a machine of the lab.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde_json::Value;

use super::counters::Counters;
use super::host::Host;
use super::http::get;
use super::namespace::Namespace;
use super::process::Process;
use super::wait_longer_for;

/// The user that every lab's server knows.
pub const USER: &str = "alice";

/// Her password.
pub const PASSWORD: &str = "secret";

/// Where a lab's server serves its admin API: the loopback of its own namespace.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9641);

/// How long a server may take to start: on an emulated processor the verifier alone takes seconds.
const START: Duration = Duration::from_secs(60);

/// The port of the listener.
const PORT: u16 = 3478;

/// What `turnpike run` is told.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `--datapath`
    pub datapath: &'static str,
    /// `--relay-address`; that of the listener when there is none.
    pub relay_addresses: Vec<String>,
    /// `--relay-ports`
    pub relay_ports: &'static str,
    /// Further flags.
    pub flags: Vec<String>,
    /// Run as nobody, without a single capability.
    pub unprivileged: bool,
}

impl ServerOptions {
    /// On this data path, relaying from a hundred ports of the listener's address to the lab's peers. `xdp` is
    /// [the suite's XDP mode](super::xdp_mode).
    pub fn new(datapath: &'static str) -> Self {
        Self {
            datapath: if datapath == "xdp" { super::xdp_mode() } else { datapath },
            relay_addresses: Vec::new(),
            relay_ports: "50000-50099",
            flags: Vec::new(),
            unprivileged: false,
        }
    }

    /// One more flag with its value.
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// One more flag without a value.
    pub fn switch(mut self, name: &str) -> Self {
        self.flags.push(name.to_owned());
        self
    }

    /// Serves on this address of the machine as well.
    pub fn listen_on(self, host: &Host) -> Self {
        self.flag("--listen", format!("udp://{}", host.at(PORT)))
    }

    /// Relays from this address, and from all others named.
    pub fn relay_from(mut self, address: impl ToString) -> Self {
        self.relay_addresses.push(address.to_string());
        self
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    host: Host,
}

impl Server {
    /// Starts it with its listener at `eth0`, and waits until it is ready.
    pub fn start(host: &Host, options: &ServerOptions) -> Self {
        let mut server = Self::launch(host, options);
        server.wait_until_ready();
        server
    }

    /// Starts it on this data path with nothing special.
    pub fn on(host: &Host, datapath: &'static str) -> Self {
        Self::start(host, &ServerOptions::new(datapath))
    }

    /// Starts it without waiting, because it will not become ready.
    pub fn launch(host: &Host, options: &ServerOptions) -> Self {
        let mut command = if options.unprivileged { unprivileged(host) } else { turnpike(host) };
        let relay = match options.relay_addresses[..] {
            [] => vec![host.address().to_string()],
            _ => options.relay_addresses.clone(),
        };
        command
            .arg("run")
            .args(["--listen", &format!("udp://{}", host.at(PORT))])
            .args(relay.iter().flat_map(|address| ["--relay-address", address]))
            .args(["--relay-ports", options.relay_ports])
            .args(["--realm", "lab.test", "--user", &format!("{USER}:{PASSWORD}")])
            .args(["--datapath", options.datapath, "--admin", &ADMIN.to_string()])
            // The lab's addresses are private ones, which no peer may have by default.
            .args(["--allow-peer", "10.64.0.0/10", "--allow-peer", "fd00:10::/32"])
            .args(&options.flags);
        Self { process: Process::start(&mut command), host: host.clone() }
    }

    /// Starts `turnpike run` with these flags and no others.
    pub fn bare(host: &Host, flags: &[&str]) -> Self {
        let process = Process::start(turnpike(host).arg("run").args(flags));
        let mut server = Self { process, host: host.clone() };
        server.wait_until_ready();
        server
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.host.at(PORT)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The page `/v1/status`.
    pub fn status(&self) -> Value {
        let page = get(&self.host, ADMIN, "/v1/status").expect("the admin API answers");
        serde_json::from_str(&page.body).unwrap_or_else(|e| panic!("{e} in {}", page.body))
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        Counters::from_status(&self.status())
    }

    /// How an interface relays, and why not better.
    pub fn mode(&self, interface: &str) -> (String, Vec<String>) {
        let status = self.status();
        let found = status["interfaces"]
            .as_array()
            .and_then(|all| all.iter().find(|i| i["name"] == interface))
            .unwrap_or_else(|| panic!("no {interface} in {status}"));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&found["mode"]), found["reasons"].as_array().expect("a list").iter().map(text).collect())
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(Duration::from_secs(5))
    }

    fn wait_until_ready(&mut self) {
        let (host, process) = (&self.host, &mut self.process);
        wait_longer_for("/readyz", START, || {
            if let Some(status) = process.exited() {
                let (_, output) = process.wait(Duration::ZERO);
                panic!("the server ended with {status}:\n{output}");
            }
            get(host, ADMIN, "/readyz").ok().filter(|page| page.status == 200)
        });
    }
}

/// `turnpike` as a command in a machine.
pub fn turnpike(host: &Namespace) -> Command {
    host.command(binary())
}

/// The server to test: `TURNPIKE_BIN`, or the one that lies where these tests were built.
fn binary() -> PathBuf {
    if let Some(path) = env::var_os("TURNPIKE_BIN") {
        return path.into();
    }
    let test = env::current_exe().expect("a path of its own");
    let built = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("turnpike");
    assert!(
        built.exists(),
        "{} is missing: run `cargo xtask test`, or `cargo build --package turnpike`, or set TURNPIKE_BIN",
        built.display()
    );
    built
}

/// The server as nobody, without a capability. Nobody may not be able to walk to where the tests were built: the
/// machine gets a copy that is gone with it.
fn unprivileged(host: &Host) -> Command {
    const NOBODY: u32 = 65_534;
    let copy = host.enter(|| {
        mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a filesystem");
        fs::copy(binary(), "/mnt/turnpike").expect("the server can be copied");
        "/mnt/turnpike"
    });
    let mut command = host.command(copy);
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(|| {
            let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
            setgroups(&[])?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)?;
            Ok(())
        })
    };
    command
}
