//! Servers to ask about, for tests.

use std::sync::{Arc, Mutex};

use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::*;
use crate::datapath::{InterfaceStatus, InterfaceTraffic, Mode, Request};
use crate::front::{self, CertificateStatus, FrontStatus};
use crate::net::{Selection, SessionId, SessionQuery};
use crate::turn::AllocationId;

/// A server in the middle of its work.
pub(crate) fn busy_status() -> Status {
    let interface = |name: &str, index, mode, reasons: &[&str]| InterfaceStatus {
        name: name.into(),
        index,
        mode,
        reasons: reasons.iter().map(ToString::to_string).collect(),
    };
    let traffic = |datapath, reason, packets, bytes| Traffic::new(datapath, reason, Count { packets, bytes });
    let responses = |method: &str, code, count| Responses { method: method.into(), code, count };
    let connections =
        |transport: &str, open, opened| Connections { transport: transport.into(), open, opened };
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        state: State::Ready,
        started: 1_700_000_000,
        uptime_seconds: 11_525,
        realm: "example.org".into(),
        other_realms: vec!["north.example".into()],
        shards: 2,
        listeners: vec!["udp://10.0.0.2:3478".into(), "udp://10.0.0.3:3478".into()],
        relay_addresses: vec!["198.51.100.1/10.0.0.2".into()],
        relay_ports: "49152-65535".into(),
        relay_sockets: "shared by the allocations of a shard".into(),
        reload: Reload { successful: true, read: 1_700_000_000, waiting: Vec::new() },
        datapath: Request::Auto,
        interfaces: vec![
            interface("eth0", 2, Mode::Xdp, &[]),
            interface("eth1", 3, Mode::XdpGeneric, &["driver mode: no native support (EOPNOTSUPP)"]),
        ],
        interface_traffic: vec![
            InterfaceTraffic { name: "eth0".into(), fast: 998_000, slow: 2_000 },
            InterfaceTraffic { name: "eth1".into(), fast: 0, slow: 0 },
        ],
        connections: vec![connections("tcp", 0, 3), connections("wss", 2, 40)],
        connections_refused: 1,
        dtls: vec![("verify".into(), 31), ("completed".into(), 30)],
        allocations: Allocations {
            active: 12,
            created: 1234,
            users: 7,
            free_ports: 16_372,
            ports_in_use: 3,
            ports_without_resources: 0,
        },
        bindings: Bindings {
            active: 20,
            capacity: 131_072,
            installed: 24,
            refused_full: 2,
            promoted: 1,
            without_fast_path: 0,
            without_meter: 0,
        },
        traffic: vec![
            traffic(Where::Xdp, Reason::ToPeer, 598_000, 119_600_000),
            traffic(Where::Xdp, Reason::ToClient, 400_000, 80_000_000),
            traffic(Where::Xdp, Reason::NoBinding, 12, 2280),
            traffic(Where::Userspace, Reason::ToPeer, 2_000, 400_000),
        ],
        responses: vec![
            responses("allocate", None, 1234),
            responses("allocate", Some(401), 1240),
            responses("other", Some(0), 1),
        ],
        drops: Drops { listener: 0, relay: 5 },
        front: Some(FrontStatus {
            connections: front::Connections { undecided: 1, http: 3, turn: 1812, passed_through: 0 },
            outcomes: vec![("turn_tls".into(), 9120), ("garbage".into(), 17)],
            certificates: vec![
                CertificateStatus {
                    file: "turn.pem".into(),
                    names: vec!["turn.example.org".into(), "*.example.org".into()],
                    expires: 1_700_000_000 + 11_525 + 97 * 3600,
                    problem: Some("turn.pem: no certificate in it; the one before is still served".into()),
                },
                CertificateStatus {
                    file: "old.pem".into(),
                    names: vec!["old.example.org".into()],
                    expires: 0,
                    problem: None,
                },
            ],
        }),
        tcp_relay: None,
    }
}

/// The status, and the changes that were asked for.
pub(super) struct Fixed(pub(super) Mutex<Status>, Mutex<Vec<&'static str>>);

impl Fixed {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(busy_status()), Mutex::default()))
    }

    pub(super) fn changes(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.1.lock().unwrap())
    }
}

impl Source for Fixed {
    fn status(&self) -> Status {
        self.0.lock().unwrap().clone()
    }

    fn reload(&self) -> Result<Reloaded, String> {
        self.1.lock().unwrap().push("reload");
        match self.status().state {
            State::Ready => Ok(Reloaded::default()),
            _ => Err("turnpike.toml:3:1: unknown key".into()),
        }
    }

    fn drain(&self, begin: bool) -> Result<Drained, String> {
        self.1.lock().unwrap().push(if begin { "drain" } else { "undo" });
        Ok(Drained { draining: begin, allocations: 12 })
    }

    fn sessions(&self, query: &SessionQuery) -> Result<Sessions, String> {
        let SessionQuery { user, most } = query;
        self.1.lock().unwrap().push("sessions");
        match user.as_deref() {
            Some("nobody & co") => Ok(Sessions::default()),
            Some("slow") => Err("ask again".into()),
            _ => Ok(Sessions { total: *most as u64, sessions: vec![busy_session()] }),
        }
    }

    fn end_sessions(&self, which: &Selection) -> Result<EndedSessions, String> {
        self.1.lock().unwrap().push("end");
        if matches!(which, Selection::User(user) if user == "many") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let ended = match which {
            Selection::One(SessionId { shard: 1, allocation: AllocationId(17) }) => 1,
            Selection::User(user) if user == "alice" => 3,
            _ => 0,
        };
        Ok(EndedSessions { ended })
    }
}

pub(super) fn busy_session() -> Session {
    Session {
        id: "1-17".into(),
        user: "1700000000:alice".into(),
        realm: "example.org".into(),
        client: "203.0.113.9:5000".into(),
        listener: "10.0.0.2:3478".into(),
        transport: "udp".into(),
        relayed: vec!["10.0.0.2:50000".into()],
        age_seconds: 61,
        expires_in_seconds: 599,
        permissions: 2,
        channels: 1,
        connections: 0,
        to_peer: Carried { packets: 10, bytes: 1000, xdp_packets: 9, xdp_bytes: 900, dropped: 1 },
        to_client: Carried::default(),
    }
}

/// Its file is on a disk that does not answer.
pub(super) struct Stuck(pub(super) std::sync::mpsc::Sender<()>);

impl Source for Stuck {
    fn status(&self) -> Status {
        busy_status()
    }

    fn reload(&self) -> Result<Reloaded, String> {
        let _ = self.0.send(());
        loop {
            std::thread::park();
        }
    }

    fn drain(&self, begin: bool) -> Result<Drained, String> {
        Ok(Drained { draining: begin, allocations: 0 })
    }

    fn sessions(&self, _: &SessionQuery) -> Result<Sessions, String> {
        Ok(Sessions::default())
    }

    fn end_sessions(&self, _: &Selection) -> Result<EndedSessions, String> {
        Ok(EndedSessions { ended: 0 })
    }
}
