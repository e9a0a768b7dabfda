//! A running server, and its status at any time.

use std::process;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::creds::unix_now;
use crate::admin::{Allocations, Bindings, Drops, Responses, Source, State, Status, Traffic, Where};
use crate::config::Settings;
use crate::datapath::Datapath;
use crate::net::Server;
use crate::turn::Shared;

/// What runs, from before it is ready until it has stopped.
pub(super) struct Running {
    settings: Settings,
    shared: Arc<Shared>,
    started: (Instant, u64),
    phase: RwLock<Phase>,
}

enum Phase {
    Starting,
    Ready(Box<(Server, Datapath)>),
    Stopping,
}

impl Running {
    pub(super) fn new(settings: Settings, shared: Arc<Shared>) -> Self {
        let started = (Instant::now(), unix_now());
        Self { settings, shared, started, phase: RwLock::new(Phase::Starting) }
    }

    /// Clients are served from now on.
    pub(super) fn ready(&self, server: Server, datapath: Datapath) {
        self.enter(Phase::Ready(Box::new((server, datapath))));
    }

    /// Stops serving: the sockets first, so that nobody writes to the tables any more, then the programs are detached and
    /// the tables removed. Does not wait for anybody's call to end.
    pub(super) fn stop(&self) {
        if let Phase::Ready(parts) = self.enter(Phase::Stopping) {
            let (server, datapath) = *parts;
            server.stop();
            datapath.stop();
        }
    }

    fn enter(&self, next: Phase) -> Phase {
        std::mem::replace(&mut *self.phase.write().unwrap_or_else(PoisonError::into_inner), next)
    }
}

impl Source for Running {
    fn status(&self) -> Status {
        let settings = &self.settings;
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: process::id(),
            state: match *phase {
                Phase::Starting => State::Starting,
                Phase::Ready(..) => State::Ready,
                Phase::Stopping => State::Stopping,
            },
            started: self.started.1,
            uptime_seconds: self.started.0.elapsed().as_secs(),
            realm: settings.realm.as_str().into(),
            shards: settings.shards,
            listeners: settings.listen.iter().map(ToString::to_string).collect(),
            relay_addresses: settings.relay_addresses.iter().map(ToString::to_string).collect(),
            relay_ports: settings.relay_ports.to_string(),
            datapath: settings.datapath,
            interfaces: Vec::new(),
            allocations: Allocations::default(),
            bindings: Bindings::default(),
            traffic: Vec::new(),
            responses: Vec::new(),
            drops: Drops::default(),
        };
        if let Phase::Ready(parts) = &*phase {
            self.count(&mut status, &parts.0, &parts.1);
        }
        status
    }
}

impl Running {
    fn count(&self, status: &mut Status, server: &Server, datapath: &Datapath) {
        let stats = server.stats();
        let table = datapath.occupancy();
        status.interfaces = datapath.interfaces().to_vec();
        status.allocations = Allocations {
            active: stats.allocations(),
            created: stats.allocations_created,
            users: self.shared.users() as u64,
            free_ports: self.shared.free_ports() as u64,
            ports_in_use: stats.ports_in_use,
            ports_without_resources: stats.ports_without_resources,
        };
        status.bindings = Bindings {
            active: table.bindings,
            capacity: table.capacity,
            installed: stats.bindings_installed,
            refused_full: stats.bindings_refused_full,
            without_fast_path: stats.bindings_without_fast_path,
        };
        status.traffic = traffic(Where::Xdp, &datapath.counters());
        status.traffic.extend(traffic(Where::Userspace, &stats.reasons));
        let responses = stats.responses.iter();
        status.responses =
            responses.map(|r| Responses { method: r.method.into(), code: r.code, count: r.count }).collect();
        status.drops = Drops { listener: stats.listener_drops, relay: stats.relay_drops };
    }
}

/// The reasons that occurred, by name.
fn traffic(datapath: Where, counts: &[Count; Reason::COUNT]) -> Vec<Traffic> {
    let occurred = Reason::ALL.into_iter().zip(counts).filter(|(_, count)| count.packets > 0);
    occurred.map(|(reason, &count)| Traffic::new(datapath, reason, count)).collect()
}
