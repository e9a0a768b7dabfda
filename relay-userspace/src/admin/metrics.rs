//! The status in OpenMetrics text. Labels are bounded: reasons, data paths, transports, methods, codes and interfaces; never users
//! or addresses of clients.

use std::fmt::{self, Debug};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use relay_common::reason::Reason;

use super::status::{RELAYED, State, Status, Where};
use crate::front::{CertificateStatus, FrontStatus};

/// The Content-Type of [`encode`]'s text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything there is to measure.
pub(super) fn encode(status: Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("turnpike");
    registry.register_collector(Box::new(Snapshot(status)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Status { allocations, bindings, drops, .. } = &self.0;
        let e = &mut encoder;

        let interface = |i: &crate::datapath::InterfaceStatus| {
            [("interface", i.name.clone()), ("mode", i.mode.to_string())]
        };
        gauge(e, "build_info", "The version that runs", [([("version", self.0.version.clone())], 1)])?;
        one(
            e,
            "ready",
            "Whether new clients are served",
            ConstGauge::new(u64::from(self.0.state == State::Ready)),
        )?;
        one(
            e,
            "draining",
            "Whether new allocations are refused until the last has ended",
            ConstGauge::new(u64::from(self.0.state == State::Draining)),
        )?;
        one(e, "start_time_seconds", "When the process started, Unix time", ConstGauge::new(self.0.started))?;
        let reload = &self.0.reload;
        one(
            e,
            "config_last_reload_successful",
            "Whether the last reading of the settings was a success",
            ConstGauge::new(u64::from(reload.successful)),
        )?;
        one(
            e,
            "config_last_reload_success_timestamp_seconds",
            "When the settings that hold were read, Unix time",
            ConstGauge::new(reload.read),
        )?;
        one(
            e,
            "config_waiting_for_restart",
            "Settings whose new values wait for a restart",
            ConstGauge::new(reload.waiting.len() as u64),
        )?;
        gauge(
            e,
            "interface_mode",
            "How each interface relays",
            self.0.interfaces.iter().map(|i| (interface(i), 1)),
        )?;
        let by_interface = self.0.interface_traffic.iter().flat_map(|i| {
            [("fast", i.fast), ("slow", i.slow)]
                .map(|(path, packets)| ([("interface", i.name.clone()), ("path", path.into())], packets))
        });
        counter(e, "interface_packets", "Packets to relay that came in by each interface", by_interface)?;

        let connections = &self.0.connections;
        let transport = |c: &super::Connections| [("transport", c.transport.clone())];
        gauge(
            e,
            "connections",
            "Connections of clients over streams",
            connections.iter().map(|c| (transport(c), c.open)),
        )?;
        counter(
            e,
            "connections_opened",
            "Connections of clients over streams, since the start",
            connections.iter().map(|c| (transport(c), c.opened)),
        )?;
        one(
            e,
            "connections_refused",
            "Connections closed as they came: there were as many as are served, or they had broken off",
            ConstCounter::new(self.0.connections_refused),
        )?;
        one(e, "allocations", "Allocations alive", ConstGauge::new(allocations.active))?;
        one(e, "users", "Users that hold an allocation", ConstGauge::new(allocations.users))?;
        one(
            e,
            "relay_ports_free",
            "Relayed ports that nobody holds",
            ConstGauge::new(allocations.free_ports),
        )?;
        one(e, "allocations_created", "Allocations made", ConstCounter::new(allocations.created))?;
        let refused = [
            ([("cause", "in_use")], allocations.ports_in_use),
            ([("cause", "no_resources")], allocations.ports_without_resources),
        ];
        counter(e, "relay_ports_refused", "Relayed ports that could not be opened", refused)?;

        one(
            e,
            "fast_path_bindings",
            "Channels and permissions in the fast path",
            ConstGauge::new(bindings.active),
        )?;
        one(
            e,
            "fast_path_capacity",
            "Most bindings the fast path can hold",
            ConstGauge::new(bindings.capacity),
        )?;
        let outcomes = [
            ([("outcome", "installed")], bindings.installed),
            ([("outcome", "table_full")], bindings.refused_full),
            ([("outcome", "promoted")], bindings.promoted),
            ([("outcome", "no_fast_path")], bindings.without_fast_path),
        ];
        one(
            e,
            "meters_refused",
            "Limited allocations and users that the fast path had no room to count the data of",
            ConstCounter::new(bindings.without_meter),
        )?;
        counter(
            e,
            "bindings",
            "Channels and permissions by whether the fast path took them, and those promoted when it had room again",
            outcomes,
        )?;

        let fate = |t: &super::Traffic| {
            [
                ("datapath", t.datapath.name().to_owned()),
                ("verdict", t.verdict.name().into()),
                ("reason", t.reason.clone()),
            ]
        };
        let traffic = &self.0.traffic;
        counter(
            e,
            "packets",
            "Packets by what became of them",
            traffic.iter().map(|t| (fate(t), t.packets)),
        )?;
        counter(
            e,
            "bytes",
            "Bytes of IP packets by what became of them",
            traffic.iter().map(|t| (fate(t), t.bytes)),
        )?;

        let ways = || RELAYED.iter().flat_map(|&way| [Where::Xdp, Where::Userspace].map(|path| (way, path)));
        let labels = |way: Reason, path: Where| [("direction", way.name()), ("datapath", path.name())];
        let relayed = |(way, path)| (labels(way, path), self.0.relayed_by(path, way));
        counter(
            e,
            "relayed_packets",
            "Packets relayed, by direction and by whom",
            ways().map(relayed).map(|(labels, count)| (labels, count.packets)),
        )?;
        counter(
            e,
            "relayed_bytes",
            "Bytes of the IP packets relayed, as they arrived",
            ways().map(relayed).map(|(labels, count)| (labels, count.bytes)),
        )?;

        let responses = self.0.responses.iter().map(|r| {
            let code = r.code.map_or("success".to_owned(), |code| {
                if code == 0 { "other".into() } else { code.to_string() }
            });
            ([("method", r.method.clone()), ("code", code)], r.count)
        });
        counter(e, "responses", "Responses by method and error code", responses)?;
        if let Some(tcp) = &self.0.tcp_relay {
            one(
                e,
                "tcp_connections",
                "Connections of TCP allocations that carry data",
                ConstGauge::new(tcp.active),
            )?;
            let outcomes = [
                ([("outcome", "connected")], tcp.connected),
                ([("outcome", "connect_failed")], tcp.connect_failed),
                ([("outcome", "accepted")], tcp.accepted),
                ([("outcome", "refused")], tcp.refused),
                ([("outcome", "not_bound")], tcp.not_bound),
                ([("outcome", "over_quota")], tcp.over_quota),
            ];
            counter(e, "tcp_connection_outcomes", "Connections of TCP allocations with peers", outcomes)?;
            let ways =
                [([("direction", "to_peer")], tcp.to_peer), ([("direction", "to_client")], tcp.to_client)];
            counter(e, "tcp_relayed_bytes", "Bytes carried by connections of TCP allocations", ways)?;
        }
        let drops = [([("socket", "listener")], drops.listener), ([("socket", "relay")], drops.relay)];
        counter(e, "receive_buffer_drops", "Datagrams lost because a receive buffer was full", drops)?;
        self.0.front.as_ref().map_or(Ok(()), |status| front(e, status))
    }
}

/// What the front desk tells. Certificates are labelled by their files, which only the operator names.
fn front(e: &mut DescriptorEncoder<'_>, status: &FrontStatus) -> fmt::Result {
    let there = &status.connections;
    let kinds = [
        ([("kind", "undecided")], there.undecided),
        ([("kind", "http")], there.http),
        ([("kind", "turn")], there.turn),
        ([("kind", "passed_through")], there.passed_through),
    ];
    gauge(e, "front_connections", "Connections of clients by what they are for", kinds)?;
    let outcomes = status.outcomes.iter().map(|(name, count)| ([("outcome", name.clone())], *count));
    counter(e, "front_connections_accepted", "Connections of clients by what became of them", outcomes)?;
    let file = |certificate: &CertificateStatus| [("file", certificate.file.clone())];
    let expiry = |c: &CertificateStatus| (file(c), c.expires.max(0).unsigned_abs());
    let certificates = &status.certificates;
    gauge(
        e,
        "certificate_expiry_timestamp_seconds",
        "When each certificate expires, Unix time",
        certificates.iter().map(expiry),
    )?;
    gauge(
        e,
        "certificate_refused",
        "Whether what is in the files of a certificate now cannot be served, so that the one before still is",
        certificates.iter().map(|c| (file(c), u64::from(c.problem.is_some()))),
    )
}

/// A metric without labels.
fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    family(encoder, name, help, values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
}

fn gauge<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    family(encoder, name, help, values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
}

fn family<L: EncodeLabelSet, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, M)>,
) -> fmt::Result {
    let mut values = values.peekable();
    // A family without a value would have no type either.
    let Some((_, first)) = values.peek() else { return Ok(()) };
    let kind = first.metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, metric) in values {
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
