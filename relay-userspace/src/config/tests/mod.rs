//! Tests of the settings as an operator writes them.

mod browsers;
mod complaints;
mod rates;
mod secrets;

use std::path::Path;

use super::*;
use crate::datapath::Request;

fn host() -> Host {
    Host {
        addresses: [("lo", "127.0.0.1"), ("eth0", "10.0.0.2"), ("eth1", "192.0.2.7")]
            .map(|(interface, ip)| (interface.to_owned(), ip.parse().unwrap()))
            .into(),
        default_interface: Some("eth0".into()),
        name: Some("relay7.example.org".into()),
        ..Host::default()
    }
}

fn file(text: &str) -> Result<Layer, ConfigError> {
    parse(Path::new("turnpike.toml"), text)
}

fn resolved(text: &str) -> Result<Resolved, ConfigError> {
    file(text)?.resolve(&host())
}

const FULL: &str = r#"
listen = ["udp://10.0.0.2:3478", "udp://192.0.2.7"]
realm = "example.org"
shards = 4
mobility = true
software = true

[relay]
addresses = ["198.51.100.1/10.0.0.2", "192.0.2.7"]
ports = "50000-60000"

[auth]
users = { alice = "wonder:land", "bob" = "b" }
secrets = ["old", "new"]

[datapath]
mode = "xdp-generic"
interfaces = ["eth0"]
max-bindings = 1000000

[peers]
allow = ["10.1.0.0/16"]
deny = ["203.0.113.9"]

[limits]
user-quota = 5
total-quota = 1000
max-lifetime = "2h"

[admin]
listen = "off"
"#;

#[test]
fn every_key_of_the_file_reaches_the_settings() {
    let Resolved { settings, warnings } = resolved(FULL).unwrap();
    assert_eq!(warnings, [""; 0]);
    let shown: Vec<_> = settings.listen.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["udp://10.0.0.2:3478", "udp://192.0.2.7:3478"]);
    assert_eq!(settings.realm.as_str(), "example.org");
    assert_eq!(settings.shards, 4);
    let shown: Vec<_> = settings.relay_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["198.51.100.1/10.0.0.2", "192.0.2.7"]);
    assert_eq!(settings.relay_ports.range(), 50000..=60000);
    let users: Vec<_> = settings.users.iter().map(|u| (u.name.as_str(), u.password.expose())).collect();
    assert_eq!(users, [("alice", "wonder:land"), ("bob", "b")]);
    let secrets: Vec<_> = settings.secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["old", "new"]);
    assert_eq!(settings.datapath, Request::XdpGeneric);
    assert_eq!(settings.interfaces, ["eth0"]);
    assert_eq!(settings.max_bindings, 1_000_000);
    assert_eq!(settings.allow_peers, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(settings.deny_peers, ["203.0.113.9".parse().unwrap()]);
    assert_eq!((settings.user_quota, settings.total_quota), (Some(5), Some(1000)));
    assert_eq!(settings.max_lifetime.as_secs(), 7200);
    assert!(settings.mobility && settings.software);
    assert_eq!((settings.admin, settings.admin_is_explicit), (AdminListen::Off, true));
}

#[test]
fn nothing_said_means_the_default_routes_address_and_the_hosts_name() {
    let Resolved { settings, warnings } = Layer::default().resolve(&host()).unwrap();
    assert_eq!(settings.listen, ["udp://10.0.0.2:3478".parse().unwrap()]);
    assert_eq!(settings.relay_addresses, ["10.0.0.2".parse().unwrap()]);
    assert_eq!(settings.relay_ports, DEFAULT_RELAY_PORTS);
    assert_eq!(settings.realm.as_str(), "relay7.example.org");
    assert_eq!(settings.datapath, Request::Auto);
    assert_eq!((settings.admin, settings.admin_is_explicit), (AdminListen::On(DEFAULT_ADMIN), false));
    assert_eq!(settings.max_lifetime, DEFAULT_MAX_LIFETIME);
    assert!(!settings.mobility && !settings.software);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn relay_addresses_default_to_those_of_the_listeners_each_once() {
    let text = r#"listen = ["udp://10.0.0.2:3478", "udp://10.0.0.2:443", "udp://192.0.2.7"]"#;
    let addresses = resolved(text).unwrap().settings.relay_addresses;
    assert_eq!(addresses, ["10.0.0.2".parse().unwrap(), "192.0.2.7".parse().unwrap()]);
}

#[test]
fn a_flag_replaces_what_the_file_says_and_leaves_the_rest() {
    let flags = Layer {
        listen: vec!["udp://192.0.2.7:443".parse().unwrap()],
        auth: Auth { users: vec!["carol:c".parse().unwrap()], ..Auth::default() },
        datapath: Datapath { mode: Some(Request::Userspace), ..Datapath::default() },
        peers: Peers { deny: vec!["198.51.100.0/24".parse().unwrap()], ..Peers::default() },
        limits: Limits { user_quota: Some(9), ..Limits::default() },
        discovery: Discovery { enabled: Some(true) },
        alternate: Alternate { domain: Some("turn3.example.org".parse().unwrap()), ..Alternate::default() },
        ..Layer::default()
    };
    let text =
        "[discovery]\nenabled = false\n[alternate]\nservers = ['192.0.2.9']\ndomain = 'turn2.example.org'";
    let below = file(&format!("{FULL}{text}")).unwrap();
    let above = flags.clone().over(below.clone());
    assert_eq!(above.listen, flags.listen);
    assert_eq!(above.auth.users, flags.auth.users);
    assert_eq!(above.auth.secrets, below.auth.secrets);
    assert_eq!(above.datapath.mode, Some(Request::Userspace));
    assert_eq!(above.datapath.interfaces, below.datapath.interfaces);
    assert_eq!(above.peers.deny, flags.peers.deny);
    assert_eq!(above.peers.allow, below.peers.allow);
    assert_eq!(above.limits.user_quota, Some(9));
    assert_eq!(above.limits.total_quota, Some(1000));
    assert_eq!(above.discovery.enabled, Some(true));
    assert_eq!(above.alternate.domain, flags.alternate.domain);
    assert_eq!(above.alternate.servers, below.alternate.servers);
    assert_eq!((above.realm, above.relay, above.admin), (below.realm, below.relay, below.admin));
}

#[test]
fn own_addresses_are_closed_to_peers_and_relayed_ones_open() {
    let settings = resolved("[relay]\naddresses = ['192.0.2.7']").unwrap().settings;
    let rules = settings.peer_rules(&host());
    assert!(!rules.permits("10.0.0.2".parse().unwrap()));
    assert!(rules.permits("192.0.2.7".parse().unwrap()));
    assert!(!rules.permits_port("192.0.2.7:3478".parse().unwrap()));
}

#[test]
fn discovery_and_alternate_servers_reach_the_settings() {
    use crate::turn::{Alternate, Discovery, RedirectWhen};

    let four = ["10.0.0.2:3478", "10.0.0.2:3479", "192.0.2.7:3478", "192.0.2.7:3479"];
    let text = format!(
        "listen = {:?}\ndiscovery = {{ enabled = true }}\n[alternate]\nservers = ['10.0.0.2:443', '192.0.2.9']\n\
         domain = 'turn2.example.org'\nwhen = 'always'",
        four.map(|address| format!("udp://{address}"))
    );
    let Resolved { settings, warnings } = resolved(&text).unwrap();
    assert_eq!(warnings, [""; 0]);
    let listeners = four.map(|address| address.parse().unwrap());
    assert_eq!(settings.discovery, Some(Discovery::new(&listeners).unwrap()));
    let alternate = Alternate {
        servers: ["10.0.0.2:443", "192.0.2.9:3478"].map(|server| server.parse().unwrap()).into(),
        domain: Some("turn2.example.org".into()),
        when: RedirectWhen::Always,
    };
    assert_eq!(settings.alternate, Some(alternate));

    let nothing = resolved("").unwrap().settings;
    assert_eq!((nothing.discovery, nothing.alternate), (None, None));
    let off = resolved("[discovery]\nenabled = false").unwrap().settings;
    assert_eq!(off.discovery, None);
}
