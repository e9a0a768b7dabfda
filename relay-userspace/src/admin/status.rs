//! The state of a server as data: what `/v1/status` answers and `turnpike status` shows.

use serde::{Deserialize, Serialize};

use relay_common::reason::{self, Reason};
use relay_common::tables::Count;

use crate::config::Change;
use crate::datapath::{InterfaceStatus, InterfaceTraffic, Request};
use crate::front::FrontStatus;

/// Everything a running server tells about itself. Nothing in it names a user.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the server.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Whether it serves.
    pub state: State,
    /// When the process started, in Unix seconds.
    pub started: u64,
    /// How long ago that is.
    pub uptime_seconds: u64,
    /// REALM of the credentials.
    pub realm: String,
    /// Those of `[[realms]]` beside it.
    #[serde(default)]
    pub other_realms: Vec<String>,
    /// Threads that serve clients.
    pub shards: usize,
    /// URLs that clients are served on.
    pub listeners: Vec<String>,
    /// Addresses that are relayed from, `PUBLIC/LOCAL` behind a 1:1 NAT.
    pub relay_addresses: Vec<String>,
    /// The ports of these, `FIRST-LAST`.
    pub relay_ports: String,
    /// What allocations receive and send by, and why. Empty until the server is ready.
    #[serde(default)]
    pub relay_sockets: String,
    /// The settings that hold.
    pub reload: Reload,
    /// What `--datapath` asked for.
    pub datapath: Request,
    /// What came of it.
    pub interfaces: Vec<InterfaceStatus>,
    /// Those of them that run the program: how much of what there was to relay it took.
    #[serde(default)]
    pub interface_traffic: Vec<InterfaceTraffic>,
    /// Connections of clients over streams, by kind; only those that occurred.
    #[serde(default)]
    pub connections: Vec<Connections>,
    /// Connections that were closed as they came: there were as many as are served, or they had broken off.
    #[serde(default)]
    pub connections_refused: u64,
    /// Allocations and ports.
    pub allocations: Allocations,
    /// Channel bindings.
    pub bindings: Bindings,
    /// Packets by where they were handled and what became of them; only those that occurred.
    pub traffic: Vec<Traffic>,
    /// Responses by method and code; only those that occurred.
    pub responses: Vec<Responses>,
    /// Datagrams that the kernel dropped before this process read them.
    pub drops: Drops,
    /// Connections and certificates, where there are listeners of streams.
    #[serde(default)]
    pub front: Option<FrontStatus>,
    /// Connections of TCP allocations; nothing where there cannot be any.
    #[serde(default)]
    pub tcp_relay: Option<TcpRelay>,
}

/// Where a server is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not all sockets and programs are there.
    Starting,
    /// Clients are served.
    Ready,
    /// There are no new allocations; those there are go on.
    Draining,
    /// It was told to stop.
    Stopping,
}

/// How the settings came to hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// Whether the last reading of the settings, at the start or since, was a success. If not, those before hold.
    pub successful: bool,
    /// When the settings that hold were read, in Unix seconds.
    pub read: u64,
    /// The keys whose new values wait for a restart.
    pub waiting: Vec<String>,
}

/// What a reload did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is different now.
    pub applied: Vec<Change>,
    /// What will be different after a restart.
    pub waiting: Vec<Change>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// What a drain, or its end, comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drained {
    /// Whether there are no new allocations from now on.
    pub draining: bool,
    /// Allocations that are left.
    pub allocations: u64,
}

/// Allocations and the ports they hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Allocations {
    /// Alive now.
    pub active: u64,
    /// Made since the start.
    pub created: u64,
    /// Users that hold one.
    pub users: u64,
    /// Relayed ports that nobody holds, over all relay addresses.
    pub free_ports: u64,
    /// Ports that another program held, so that another was tried.
    pub ports_in_use: u64,
    /// Ports that could not be opened for want of descriptors or memory.
    pub ports_without_resources: u64,
}

/// Connections of clients of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connections {
    /// `tcp`, `tls`, or `ws` and `wss` for WebSockets over these.
    pub transport: String,
    /// There now.
    pub open: u64,
    /// Made since the start.
    pub opened: u64,
}

/// Channels and permissions in the fast path, and what became of those made since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Bindings {
    /// In the fast path now.
    pub active: u64,
    /// The most that it can hold.
    pub capacity: u64,
    /// Put into the fast path.
    pub installed: u64,
    /// Left on the slow path because the tables were full.
    pub refused_full: u64,
    /// Of those, put into the fast path when they were refreshed.
    #[serde(default)]
    pub promoted: u64,
    /// Left on the slow path because there is no fast path.
    pub without_fast_path: u64,
    /// Limited allocations and users that the fast path has no room to count the data of, so that all of it takes the
    /// slow path.
    pub without_meter: u64,
}

/// Packets of one fate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Who handled them.
    pub datapath: Where,
    /// What became of them.
    pub verdict: Verdict,
    /// Why: a name of [`relay_common::reason::Reason`].
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// Bytes of the IP packets as they arrived.
    pub bytes: u64,
}

impl Traffic {
    /// The packets that `datapath` counted by `reason`.
    pub fn new(datapath: Where, reason: Reason, count: Count) -> Self {
        let verdict = match (reason.verdict(), datapath) {
            (reason::Verdict::Forward, _) => Verdict::Forwarded,
            (reason::Verdict::Pass, Where::Xdp) => Verdict::Passed,
            _ => Verdict::Dropped,
        };
        Self { datapath, verdict, reason: reason.name().into(), packets: count.packets, bytes: count.bytes }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It left for the peer or the client.
    Forwarded,
    /// XDP passed it up to the kernel, untouched.
    Passed,
    /// It ended there.
    Dropped,
}

impl Verdict {
    /// The name in metrics and on the status screen.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Forwarded => "forwarded",
            Verdict::Passed => "passed",
            Verdict::Dropped => "dropped",
        }
    }
}

/// Who handled a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// The XDP program, in whichever mode.
    Xdp,
    /// This process.
    Userspace,
}

impl Where {
    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Where::Xdp => "xdp",
            Where::Userspace => "userspace",
        }
    }
}

/// Responses of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Responses {
    /// The STUN method, `other` when unknown.
    pub method: String,
    /// The error code, nothing for success, 0 for a code that is not counted apart.
    pub code: Option<u16>,
    /// How many.
    pub count: u64,
}

/// Datagrams lost to full receive buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Drops {
    /// Of listeners.
    pub listener: u64,
    /// Of relayed transport addresses.
    pub relay: u64,
}

/// Connections of TCP allocations (RFC 6062) with peers, since the start but for the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TcpRelay {
    /// Carrying data now.
    pub active: u64,
    /// Made because a client asked.
    pub connected: u64,
    /// Asked for in vain.
    pub connect_failed: u64,
    /// Made by peers that have a permission.
    pub accepted: u64,
    /// Made by peers that have none, or beyond a limit, and closed.
    pub refused: u64,
    /// Closed because their client did not bind them within 30 seconds.
    pub not_bound: u64,
    /// Refused, or closed as they came, because their user had as many as one may have.
    #[serde(default)]
    pub over_quota: u64,
    /// Bytes from clients to peers.
    pub to_peer: u64,
    /// Bytes from peers to clients.
    pub to_client: u64,
}

/// The reasons of what was relayed, which are its directions.
pub(crate) const RELAYED: [Reason; 3] = [Reason::ToPeer, Reason::ToClient, Reason::RelayToRelay];

impl Status {
    /// What was relayed in a direction (one of `RELAYED`) by a data path: packets, and bytes of IP packets as they arrived.
    pub fn relayed_by(&self, datapath: Where, direction: Reason) -> Count {
        let one = self.traffic.iter().filter(|t| t.datapath == datapath && t.reason == direction.name());
        one.fold(Count::default(), |mut sum, t| {
            sum += Count { packets: t.packets, bytes: t.bytes };
            sum
        })
    }

    /// Packets relayed, and those of them that never left the kernel's driver or receive path.
    pub fn relayed(&self) -> (u64, u64) {
        let [fast, slow] = [Where::Xdp, Where::Userspace]
            .map(|datapath| RELAYED.iter().map(|&way| self.relayed_by(datapath, way).packets).sum::<u64>());
        (fast + slow, fast)
    }
}
