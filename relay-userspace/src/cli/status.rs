//! `turnpike status`: what a running server says about itself, for people.

use std::iter;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::http;
use super::screen::{Screen, bytes, print, thousands, uptime};
use super::traffic::{fast_path_shares, packets, relayed, responses};
use crate::admin::{Bindings, Connections, Reload, State, Status};
use crate::auth::{printable, printable_whole};
use crate::datapath::{InterfaceStatus, Mode};
use crate::front::{self, FrontStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: http::ServerFlags,

    /// Print the answer of the admin API as it is
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let text = http::get(args.server.authority(), "/v1/status")
        .context("no status: is `turnpike run` up, and is this its --admin address?")?;
    if args.json {
        print(text)?;
    } else {
        print(render(&serde_json::from_str(&text).context("the answer is not a status of this version")?))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each interface with its mode, and below it why not a better one.
pub(super) fn interface_lines(interfaces: &[InterfaceStatus]) -> Vec<String> {
    if interfaces.is_empty() {
        return vec!["userspace: no interface carries these addresses, --interface names one".into()];
    }
    let lines = interfaces.iter().flat_map(|InterfaceStatus { name, mode, reasons, .. }| {
        let reasons = reasons.iter().map(|reason| format!("{:<10}   {reason}", ""));
        std::iter::once(format!("{name:<10} {mode}")).chain(reasons)
    });
    lines.collect()
}

fn render(status: &Status) -> Screen {
    let mut screen = Screen::default();
    let state = match status.state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Draining => "draining, no new allocations",
        State::Stopping => "stopping",
    };
    let up = uptime(Duration::from_secs(status.uptime_seconds));
    screen.line(format_args!(
        "turnpike {}   {state}   up {up}   pid {}",
        printable(&status.version),
        status.pid
    ));
    screen.line("");
    screen.rows("listening", &status.listeners);
    screen.rows(
        "relaying",
        status.relay_addresses.iter().map(|a| format!("{a}   ports {}", status.relay_ports)),
    );
    screen.rows("realm", iter::once(&status.realm).chain(&status.other_realms).map(|name| printable(name)));
    screen.row("shards", status.shards);
    if !status.relay_sockets.is_empty() {
        screen.row("sockets", printable_whole(&status.relay_sockets));
    }
    settings(&mut screen, status);
    screen.row("data path", status.datapath);
    screen.rows("", interface_lines(&status.interfaces));
    screen.rows("fast path", fast_path_shares(status));

    let a = &status.allocations;
    screen.line("");
    screen.rows("connections", connections(status));
    if !status.dtls.is_empty() {
        let event = |(name, count): &(String, u64)| format!("{} {}", thousands(*count), printable(name));
        screen.row("dtls", status.dtls.iter().map(event).collect::<Vec<_>>().join(", "));
    }
    let active = format!("{} active, of {} users", thousands(a.active), thousands(a.users));
    screen.row("allocations", format_args!("{active}; {} made since the start", thousands(a.created)));
    screen.row("ports", format_args!("{} free", thousands(a.free_ports)));
    for (count, what) in [
        (a.ports_in_use, "held by another program"),
        (a.ports_without_resources, "not opened: too few descriptors or too little memory"),
    ] {
        if count > 0 {
            screen.row("", format_args!("{} {what}", thousands(count)));
        }
    }
    let b = &status.bindings;
    screen.row("bindings", fast_path(b, &status.interfaces));
    for (count, what) in [
        (b.refused_full, "left on the slow path: the tables were full"),
        (b.promoted, "of them on the fast path since they were refreshed"),
        (b.without_fast_path, "left on the slow path: there is no fast path"),
        (b.without_meter, "allocations or users left on the slow path: no room to count their data in XDP"),
    ] {
        if count > 0 {
            screen.row("", format_args!("{} {what}", thousands(count)));
        }
    }
    screen.rows("relayed", relayed(status));
    if let Some(tcp) = &status.tcp_relay {
        let carried = [(tcp.to_peer, "to peers"), (tcp.to_client, "to clients")];
        let [to_peers, to_clients] = carried.map(|(count, what)| format!("{} {what}", bytes(count)));
        screen.row(
            "tcp",
            format_args!("{} connections with peers; {to_peers}, {to_clients}", thousands(tcp.active)),
        );
        for (count, what) in [
            (tcp.connect_failed, "peers could not be connected to"),
            (tcp.refused, "connections of peers refused: no permission, or beyond a limit"),
            (tcp.over_quota, "connections refused: their user has as many as one may have"),
            (tcp.not_bound, "connections closed: their client did not bind them within 30 seconds"),
        ] {
            if count > 0 {
                screen.row("", format_args!("{} {what}", thousands(count)));
            }
        }
    }
    for (count, what) in [(status.drops.listener, "from clients"), (status.drops.relay, "from peers")] {
        if count > 0 {
            screen.row(
                "lost",
                format_args!("{} datagrams {what}: a receive buffer was full", thousands(count)),
            );
        }
    }
    if let Some(of_front) = &status.front {
        front(&mut screen, of_front, status.started + status.uptime_seconds);
    }
    packets(&mut screen, &status.traffic);
    responses(&mut screen, status);
    screen
}

/// Connections of clients over streams and DTLS, by kind.
fn connections(status: &Status) -> Vec<String> {
    let kind = |c: &Connections| {
        let name = printable(&c.transport).to_string();
        format!("{name:<10} {} open; {} made since the start", thousands(c.open), thousands(c.opened))
    };
    let mut rows: Vec<_> = status.connections.iter().map(kind).collect();
    if status.connections_refused > 0 {
        rows.push(format!("{} closed as they came", thousands(status.connections_refused)));
    }
    rows
}

/// Only when the files say something else than what holds.
fn settings(screen: &mut Screen, status: &Status) {
    let Reload { successful, read, waiting } = &status.reload;
    let mut rows = Vec::new();
    if !successful {
        let now = status.started + status.uptime_seconds;
        let age = uptime(Duration::from_secs(now.saturating_sub(*read)));
        rows.push(format!("the last reload failed (see the log); those read {age} ago hold"));
    }
    if !waiting.is_empty() {
        rows.push(format!("waiting for a restart: {}", waiting.join(", ")));
    }
    screen.rows("settings", rows);
}

fn fast_path(bindings: &Bindings, interfaces: &[InterfaceStatus]) -> String {
    let Bindings { active, capacity, installed, .. } = *bindings;
    let runs = interfaces.iter().any(|i| matches!(i.mode, Mode::Xdp | Mode::XdpGeneric));
    match capacity {
        0 => "all on the slow path".into(),
        _ => format!(
            "{} {}, which has room for {}; {} since the start",
            thousands(active),
            if runs { "on the fast path" } else { "ready for the fast path (on no interface now)" },
            thousands(capacity),
            thousands(installed)
        ),
    }
}

/// Connections, by what they are and by what became of them, and certificates.
fn front(screen: &mut Screen, status: &FrontStatus, now: u64) {
    let front::Connections { undecided, http, turn, passed_through } = status.connections;
    let there =
        [(turn, "TURN"), (http, "HTTP"), (passed_through, "passed through"), (undecided, "undecided")];
    let there: Vec<_> = there.iter().map(|(count, what)| format!("{} {what}", thousands(*count))).collect();
    screen.row("front desk", there.join(", "));
    let outcomes =
        status.outcomes.iter().map(|(name, count)| format!("{} {}", thousands(*count), printable(name)));
    screen.rows("", Some(outcomes.collect::<Vec<_>>().join(", ")).filter(|list| !list.is_empty()));
    let certificates = status.certificates.iter().flat_map(|certificate| {
        let names: Vec<_> = certificate.names.iter().map(|name| printable_whole(name).to_string()).collect();
        let end = match certificate.expires.checked_sub_unsigned(now) {
            Some(left @ 0..) => format!("expires in {}", uptime(Duration::from_secs(left.unsigned_abs()))),
            _ => "EXPIRED".into(),
        };
        let problem = certificate.problem.as_ref();
        let problem = problem.map(|why| format!("  {}", printable_whole(why)));
        std::iter::once(format!("{}   {end}", names.join(", "))).chain(problem)
    });
    screen.rows("certificates", certificates);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::testing::busy_status;

    #[test]
    fn the_screen_says_what_runs_where_and_why() {
        let expected = "\
turnpike 0.1.0   ready   up 3h 12m   pid 4711

listening    udp://10.0.0.2:3478
             udp://10.0.0.3:3478
relaying     198.51.100.1/10.0.0.2   ports 49152-65535
realm        example.org
             north.example
shards       2
sockets      shared by the allocations of a shard
data path    auto
             eth0       xdp
             eth1       xdp-generic
                          driver mode: no native support (EOPNOTSUPP)
fast path    eth0       99.8 % of 1,000,000 packets that came in to be relayed
             eth1       nothing to relay came in yet

connections  tcp        0 open; 3 made since the start
             wss        2 open; 40 made since the start
             1 closed as they came
dtls         31 verify, 30 completed
allocations  12 active, of 7 users; 1,234 made since the start
ports        16,372 free
             3 held by another program
bindings     20 on the fast path, which has room for 131,072; 24 since the start
             2 left on the slow path: the tables were full
             1 of them on the fast path since they were refreshed
relayed      1,000,000 packets, 99.8 % of them on the fast path
             to peers               600,000 packets   114.4 MiB: 598,000 by XDP, 2,000 by userspace
             to clients             400,000 packets    76.3 MiB: 400,000 by XDP, 0 by userspace
lost         5 datagrams from peers: a receive buffer was full
front desk   1,812 TURN, 3 HTTP, 0 passed through, 1 undecided
             9,120 turn_tls, 17 garbage
certificates turn.example.org, *.example.org   expires in 4days 1h
               turn.pem: no certificate in it; the one before is still served
             old.example.org   EXPIRED

packets in XDP                            packets         bytes
  to_peer               forwarded         598,000     114.1 MiB
  to_client             forwarded         400,000      76.3 MiB
  no_binding            passed                 12       2.2 KiB

packets in userspace                      packets         bytes
  to_peer               forwarded           2,000     390.6 KiB

responses
  allocate              success                1,234
  allocate              error 401              1,240
  other                 another error              1";
        assert_eq!(render(&busy_status()).to_string(), expected);
    }

    #[test]
    fn what_does_not_hold_yet_is_told() {
        let mut status = busy_status();
        status.state = State::Draining;
        status.reload.successful = false;
        status.reload.waiting = vec!["listen".into(), "relay.ports".into()];
        let shown = render(&status).to_string();
        let expected = "\
shards       2
sockets      shared by the allocations of a shard
settings     the last reload failed (see the log); those read 3h 12m ago hold
             waiting for a restart: listen, relay.ports
data path    auto";
        assert!(shown.contains(expected), "{shown}");
        assert!(shown.starts_with("turnpike 0.1.0   draining, no new allocations   up 3h 12m"), "{shown}");
    }

    #[test]
    fn reasons_are_told_to_their_end() {
        let mut status = busy_status();
        let folder = "/etc/turnpike/certificates-of-a-long-name".repeat(3);
        let why = format!("{folder}/turn.key: no key in it: it should have -----BEGIN PRIVATE KEY-----");
        status.front.as_mut().unwrap().certificates[0].problem = Some(why.clone());
        status.relay_sockets = format!("one for each allocation: {}", "CAP_NET_RAW is missing, ".repeat(4));
        let shown = render(&status).to_string();
        assert!(shown.contains(&why), "{shown}");
        assert!(shown.contains(status.relay_sockets.trim_end()), "{shown}");
    }

    #[test]
    fn bindings_are_not_said_to_be_on_a_fast_path_that_no_interface_runs() {
        let mut status = busy_status();
        status.interfaces.truncate(1);
        status.interfaces[0] = InterfaceStatus {
            name: "eth0".into(),
            index: 0,
            mode: Mode::Absent,
            reasons: vec!["no interface carries 10.0.0.2 now".into()],
        };
        let shown = render(&status).to_string();
        assert!(shown.contains("             eth0       absent\n"), "{shown}");
        assert!(
            shown.contains("bindings     20 ready for the fast path (on no interface now), which has room"),
            "{shown}"
        );
    }

    #[test]
    fn a_hostile_realm_cannot_break_the_screen() {
        let status = Status { realm: "a\x1b[2J%s%n\"".into(), ..busy_status() };
        let shown = render(&status).to_string();
        assert!(shown.contains(r"realm        a\x1b[2J\x25s\x25n\x22"), "{shown}");
    }

    #[test]
    fn a_server_without_traffic_has_a_short_screen() {
        let status = Status { traffic: Vec::new(), responses: Vec::new(), ..busy_status() };
        let shown = render(&status).to_string();
        assert!(shown.contains("relayed      nothing yet"), "{shown}");
        assert!(!shown.contains("packets in"), "{shown}");
    }
}
