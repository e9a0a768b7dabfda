//! The parts of a server that is ready, and what they have counted.

use std::sync::Arc;

use relay_common::reason::Reason;
use relay_common::tables::Count;

use crate::admin::{Allocations, Bindings, Connections, Drops, Responses, Status, TcpRelay, Traffic, Where};
use crate::datapath::{Datapath, InterfaceTraffic};
use crate::front::Front;
use crate::net::{ConnectionKind, DtlsEvent, Server};
use crate::turn::Shared;
use crate::web::Web;

/// The parts of a server that is ready.
pub(super) struct Parts {
    pub(super) server: Server,
    pub(super) datapath: Datapath,
    pub(super) shared: Arc<Shared>,
    /// Where there are listeners of streams; and what is served to browsers there.
    pub(super) front: Option<(Front, Arc<Web>)>,
}

impl Parts {
    /// Writes what they have counted into a status.
    pub(super) fn count(&self, status: &mut Status) {
        let Self { server, datapath, shared, front } = self;
        status.front = front.as_ref().map(|(front, _)| front.status());
        let stats = server.stats();
        status.relay_sockets = match server.why_each_has_a_socket() {
            None => "shared by the allocations of a shard".into(),
            Some(why) => format!("one for each allocation: {why}"),
        };
        let table = datapath.occupancy();
        status.interfaces = datapath.interfaces();
        let counted = status.interfaces.iter().filter_map(|interface| {
            Some(InterfaceTraffic::new(interface.name.clone(), &datapath.counters_of(interface.index)?))
        });
        status.interface_traffic = counted.collect();
        let kinds = ConnectionKind::ALL.iter().map(|&kind| (kind, stats.connections(kind)));
        status.connections = kinds
            .filter(|(_, connected)| connected.opened > 0)
            .map(|(kind, connected)| Connections {
                transport: kind.name().into(),
                open: connected.open(),
                opened: connected.opened,
            })
            .collect();
        status.connections_refused = stats.connections_refused;
        let events = DtlsEvent::ALL.into_iter().map(|event| (event, stats.dtls(event)));
        let occurred = events.filter(|(_, count)| *count > 0);
        status.dtls = occurred.map(|(event, count)| (event.name().into(), count)).collect();
        status.allocations = Allocations {
            active: stats.allocations(),
            created: stats.allocations_created,
            users: shared.users() as u64,
            free_ports: shared.free_ports() as u64,
            ports_in_use: stats.ports_in_use,
            ports_without_resources: stats.ports_without_resources,
        };
        status.bindings = Bindings {
            active: table.bindings,
            capacity: table.capacity,
            installed: stats.bindings_installed,
            refused_full: stats.bindings_refused_full,
            promoted: table.promoted,
            without_fast_path: stats.bindings_without_fast_path,
            without_meter: shared.meters().refused,
        };
        status.traffic = traffic(Where::Xdp, &datapath.counters());
        status.traffic.extend(traffic(Where::Userspace, &stats.reasons));
        let responses = stats.responses.iter();
        status.responses =
            responses.map(|r| Responses { method: r.method.into(), code: r.code, count: r.count }).collect();
        if let Some(tcp_relay) = &mut status.tcp_relay {
            let tcp = stats.tcp;
            *tcp_relay = TcpRelay {
                active: tcp.active(),
                connected: tcp.connected,
                connect_failed: tcp.connect_failed,
                accepted: tcp.accepted,
                refused: tcp.refused,
                not_bound: tcp.not_bound,
                over_quota: tcp.over_quota,
                to_peer: tcp.to_peer,
                to_client: tcp.to_client,
            };
        }
        status.drops = Drops { listener: stats.listener_drops, relay: stats.relay_drops };
    }
}

/// The reasons that occurred, by name.
fn traffic(datapath: Where, counts: &[Count; Reason::COUNT]) -> Vec<Traffic> {
    let occurred = Reason::ALL.into_iter().zip(counts).filter(|(_, count)| count.packets > 0);
    occurred.map(|(reason, &count)| Traffic::new(datapath, reason, count)).collect()
}
