//! `turnpike check`: would `run` start with these settings, and what would hold?

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::flags::SettingsFlags;
use super::screen::{Screen, print};
use crate::auth::printable;
use crate::config::{
    self, Host, IceSettings, Override, RateSettings, RealmSettings, Resolved, Settings, Span, StrangerRate,
    StreamSettings, TenantSettings, TestPageSettings, tcp_relay_shown,
};
use crate::policy::Cidr;
use crate::web::{self, IceUrls, ice_urls};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsFlags,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let host = Host::read().context("cannot read this host's addresses")?;
    let path = args.settings.config.clone();
    let Resolved { settings, warnings } = config::load(path.as_deref(), args.settings.layer(), &host)?;
    print(render(&settings))?;
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    if !settings.has_credentials() {
        eprintln!(
            "warning: no user and no secret is configured: `turnpike run` makes up a user for each run"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings that hold, without a secret.
fn render(settings: &Settings) -> Screen {
    let mut screen = Screen::default();
    screen.rows("listen", &settings.listen);
    screen.row("realm", printable(settings.realm.as_str()));
    screen.row("shards", settings.shards);
    screen.rows("relay", &settings.relay_addresses);
    screen.row("ports", settings.relay_ports);
    screen.rows("users", settings.users.iter().map(|user| format!("{}:***", printable(&user.name))));
    screen.rows("secrets", settings.secrets.iter().map(|_| "***"));
    screen.rows("realms", settings.realms.iter().map(shown));
    screen.row("algorithms", joined(&settings.password_algorithms));
    screen.row("of secrets", joined(&settings.secret_algorithms));
    screen.row("data path", settings.datapath);
    match settings.interfaces[..] {
        [] => screen.row("interfaces", "those that carry the addresses above"),
        _ => screen.rows("interfaces", &settings.interfaces),
    }
    screen.row("max bindings", settings.max_bindings);
    screen.rows("allow", &settings.allow_peers);
    screen.rows("deny", &settings.deny_peers);
    screen.rows("override", settings.peer_overrides.iter().map(peer_override));
    screen.rows("discovery", settings.discovery.iter().map(|_| "RFC 5780, at all listeners"));
    if let Some(alternate) = &settings.alternate {
        screen.rows("alternate", &alternate.servers);
        screen.rows("", &alternate.domain);
        screen.row("", alternate.when);
    }
    streams(&mut screen, settings);
    screen.row("tcp relay", tcp_relay_shown(settings.tcp_relay));
    screen.row("user quota", or_none(settings.user_quota));
    screen.row("total quota", or_none(settings.total_quota));
    rates(&mut screen, &settings.rates);
    screen.row("max lifetime", Span(settings.max_lifetime));
    screen.row("mobility", if settings.mobility { "on" } else { "off" });
    screen.row("software", if settings.software { "told" } else { "hidden" });
    screen.row("admin", settings.admin);
    web(&mut screen, settings);
    screen
}

/// What is said of streams and certificates; nothing where nothing listens for them.
fn streams(screen: &mut Screen, settings: &Settings) {
    if !settings.has_front() {
        return;
    }
    // With those that the test page adds.
    let StreamSettings { upstream, websocket_origins, proxies, limits } = &web::stream_settings(settings);
    let certificates = settings.tls.certificates.iter().map(|certificate| {
        let names: Vec<_> = certificate.names().iter().map(|name| printable(name).to_string()).collect();
        format!("{}   {}", certificate.files().cert.display(), names.join(", "))
    });
    screen.rows("certificate", certificates);
    let passed = settings.tls.passthrough.iter();
    screen.rows("pass through", passed.map(|rule| format!("{} to {}", joined(&rule.names), rule.to)));
    screen.rows("upstream", upstream);
    screen.rows("origins", websocket_origins.iter().map(|origin| printable(origin.as_str()).to_string()));
    screen.rows("proxies", proxies);
    screen.row(
        "connections",
        format_args!(
            "{}, {} of an address, {} at once before they say what they are, within {}",
            limits.connections,
            limits.connections_per_address,
            limits.handshakes,
            Span(limits.handshake_time)
        ),
    );
    screen.row("idle", Span(limits.idle_time));
}

/// The URLs that clients are told, and who is told them.
fn web(screen: &mut Screen, settings: &Settings) {
    let IceSettings { tenants, address_rate, .. } = &settings.ice;
    if tenants.is_empty() && settings.test_page.is_none() {
        return;
    }
    let IceUrls { turn, stun, web_socket } = ice_urls(settings, &settings.realm, &[]);
    screen.rows("ice URLs", turn.iter().chain(&stun).chain(&web_socket));
    screen.rows("ice tenants", tenants.iter().map(tenant));
    if !tenants.is_empty() {
        screen.row("", format_args!("{address_rate} requests a second of each network"));
    }
    if let Some(TestPageSettings { keys, realm, lifetime }) = &settings.test_page {
        let key = if keys.is_empty() { "for everybody" } else { "for who has a key" };
        let (realm, lifetime) = (printable(realm.as_str()), Span(*lifetime));
        screen.row("test page", format_args!("{key}, credentials of {realm} for {lifetime}"));
    }
}

/// A tenant in a line.
fn tenant(tenant: &TenantSettings) -> String {
    let TenantSettings { name, keys, realm, origins, urls, lifetime, max_lifetime, rate } = tenant;
    let (realm, lifetime, max_lifetime) = (printable(realm.as_str()), Span(*lifetime), Span(*max_lifetime));
    let what = format!(
        "{name}   keys {}, realm {realm}, {lifetime} (at most {max_lifetime}), {rate} a second",
        keys.len()
    );
    let origins = origins.iter().map(|origin| printable(origin.as_str()).to_string());
    let urls = urls.iter().map(ToString::to_string);
    std::iter::once(what).chain(origins).chain(urls).collect::<Vec<_>>().join("   ")
}

/// Another realm in a line.
fn shown(realm: &RealmSettings) -> String {
    let name = printable(realm.name.as_str());
    let counts = format!("{name}   users {}, secrets {}", realm.users.len(), realm.secrets.len());
    let listeners = realm.listeners.iter().map(ToString::to_string);
    let origins = realm.origins.iter().map(|origin| printable(origin.as_str()).to_string());
    std::iter::once(counts).chain(listeners).chain(origins).collect::<Vec<_>>().join("   ")
}

fn joined(values: &[impl Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn peer_override(rules: &Override) -> String {
    let list = |cidrs: &[Cidr]| cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let parts = [("allow", list(&rules.allow)), ("deny", list(&rules.deny))];
    let parts =
        parts.iter().filter(|(_, list)| !list.is_empty()).map(|(verb, list)| format!("{verb} {list}"));
    format!("{}: {}", printable(&rules.scope()), parts.collect::<Vec<_>>().join("; "))
}

/// Rates that are not limited are not shown: there are many.
fn rates(screen: &mut Screen, rates: &RateSettings) {
    let shown = |limit: Option<String>, of: &str| limit.map(|limit| format!("{limit} {of}"));
    let bandwidths = [
        shown(rates.allocation_bandwidth.map(|b| b.to_string()), "an allocation"),
        shown(rates.user_bandwidth.map(|b| b.to_string()), "a user"),
    ];
    let packets = [
        shown(rates.allocation_packets.map(|n| n.to_string()), "an allocation"),
        shown(rates.user_packets.map(|n| n.to_string()), "a user"),
    ];
    screen.rows("bandwidth", bandwidths.iter().flatten());
    screen.rows("packets/s", packets.iter().flatten());
    screen.rows("new peers", shown(rates.user_new_peers.map(|n| n.to_string()), "a minute, of a user"));
    screen.row("peers", format_args!("{} of an allocation", rates.allocation_peers));
    match rates.strangers {
        StrangerRate::Off => screen.row("strangers", "all are answered"),
        StrangerRate::PerSecond(n) => {
            screen.row("strangers", format_args!("{n} answers a second to each network"))
        }
    }
}

fn or_none(limit: Option<impl Display>) -> String {
    limit.map_or("none".into(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_settings_are_shown_with_every_secret_masked() {
        let text = r#"
            listen = ["udp://127.0.0.1:3478", "udp://127.0.0.2"]
            realm = "r"
            shards = 2
            auth = { users = ["al%s:hunter2"], secrets = ["hunter3", "hunter4"] }
            peers = { deny = ["192.0.2.0/24"] }
            alternate = { servers = ["192.0.2.9:443", "192.0.2.10"], domain = "turn2.example.org" }
            limits = { user-quota = 7 }
            realms = [{ name = "north", listeners = ["udp://127.0.0.2"], origins = ["https://page.example"],
                users = ["al:hunter5"], secrets = ["hunter6"] }]
            ice = { host = "turn.example.org", tenants = [{ name = "app", key = "hunter7-hunter7",
                origins = ["https://page.example"], urls = ["turns:turn.example.org:443"] }] }
            test-page = { enabled = true }
        "#;
        let layer = config::parse("t.toml".as_ref(), text).unwrap();
        let shown = render(&layer.resolve(&Host::default()).unwrap().settings).to_string();
        let expected = "\
listen       udp://127.0.0.1:3478
             udp://127.0.0.2:3478
realm        r
shards       2
relay        127.0.0.1
             127.0.0.2
ports        49152-65535
users        al\\x25s:***
secrets      ***
             ***
realms       north   users 1, secrets 1   udp://127.0.0.2:3478   https://page.example
algorithms   sha-256, md5
of secrets   sha-1, sha-256
data path    auto
interfaces   those that carry the addresses above
max bindings 131072
deny         192.0.2.0/24
alternate    192.0.2.9:443
             192.0.2.10:3478
             turn2.example.org
             draining
tcp relay    off
user quota   7
total quota  none
peers        4096 of an allocation
strangers    1000 answers a second to each network
max lifetime 1h
mobility     off
software     hidden
admin        127.0.0.1:9641
ice URLs     turn:turn.example.org:3478?transport=udp
             stun:turn.example.org:3478
ice tenants  app   keys 1, realm r, 1h (at most 1day), 100 a second   https://page.example   turns:turn.example.org:443
             10 requests a second of each network
test page    for everybody, credentials of r for 2m";
        assert_eq!(shown, expected);
    }

    #[test]
    fn connections_of_peers_are_shown_with_their_limits() {
        let text = "[tcp-relay]\nenabled = true\nmax-connections-per-user = 9\nidle-timeout = \"5m\"";
        let layer = config::parse("t.toml".as_ref(), text).unwrap();
        let shown = render(&layer.resolve(&Host::default()).unwrap().settings).to_string();
        let expected =
            "tcp relay    16 connections of an allocation, 9 of a user, 1024 in all, idle for 5m\n";
        assert!(shown.contains(expected), "{shown}");
    }
}
