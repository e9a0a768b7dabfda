//! Lesson 35: {CreatePermission, ChannelBind, Send} x every way to write an address that must not be reached.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::{Client, REALM, SECRET, Sim, UNIX_START, config, dropped, ip};
use relay_common::reason::Reason;
use turnpike::auth::{Credentials, Realm, Realms, time_limited};
use turnpike::policy::{PeerOverride, PeerOverrides};
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{CoreConfig, Input, PeerAddr, RelayAddr, RelayAddress};

const V4: [&str; 12] = [
    "0.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.55",
];

/// An IPv4 address in the IPv6 forms that lead to it.
fn encodings(v4: &str) -> [String; 5] {
    let [a, b, c, d] = v4.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
    [
        format!("::ffff:{v4}"),
        format!("::{v4}"),
        format!("64:ff9b::{hex}"),
        format!("2002:{hex}::1"),
        format!("2001:0:{hex}::1"),
    ]
}

const V6: [&str; 7] = ["::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::55"];

fn server() -> (Sim, Client, Client) {
    server_of(config())
}

/// A server with relayed addresses of both families, and a client for each.
fn server_of(mut config: CoreConfig) -> (Sim, Client, Client) {
    let v6 = ip("2001:4860::7");
    config.relay_addresses.push(RelayAddress { public: v6, local: v6 });
    let mut sim = Sim::new(config, [1; 32]);
    let (mut over_v4, mut over_v6) = (Client::new(1), Client::new(2));
    over_v4.allocated(&mut sim);
    let reply = over_v6.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).requested_address_family(AddressFamily::V6);
    });
    assert_eq!(reply.code(), 0);
    (sim, over_v4, over_v6)
}

fn assert_out_of_reach(sim: &mut Sim, client: &mut Client, peer: SocketAddr) {
    assert_eq!(client.permit(sim, &[peer]).code(), 403, "CreatePermission {peer}");
    assert_eq!(client.bind(sim, 0x4000, peer).code(), 403, "ChannelBind {peer}");
    assert!(dropped(&client.send(sim, peer, b"x")).is_some(), "Send {peer}");
    let relays: Vec<_> = sim.datapath.open.iter().copied().collect();
    for RelayAddr(relayed) in relays {
        assert!(dropped(&sim.peer_sends(relayed, PeerAddr(peer), b"x")).is_some(), "data of {peer}");
    }
    let other_family = if peer.is_ipv4() { 2 } else { 1 };
    let mut other = Client::new(other_family);
    assert_eq!(other.permit(sim, &[peer]).code(), 443, "the other family {peer}");
    assert_eq!(other.bind(sim, 0x4000, peer).code(), 443, "the other family {peer}");
    assert!(dropped(&other.send(sim, peer, b"x")).is_some(), "the other family {peer}");
}

#[test]
fn by_create_permission_channel_bind_and_send() {
    let (mut sim, mut over_v4, mut over_v6) = server();
    for peer in V4 {
        assert_out_of_reach(&mut sim, &mut over_v4, SocketAddr::new(ip(peer), 53));
        for peer in encodings(peer) {
            assert_out_of_reach(&mut sim, &mut over_v6, SocketAddr::new(ip(&peer), 53));
        }
    }
    for peer in V6 {
        assert_out_of_reach(&mut sim, &mut over_v6, SocketAddr::new(ip(peer), 53));
    }
    assert!(sim.datapath.ids.is_empty(), "nothing of this reached the data path");
    assert_eq!(sim.core.occupancy().permissions, 0);
    sim.input(Input::Wakeup);
    assert_eq!(over_v6.permit(&mut sim, &[SocketAddr::new(ip("2001:4860::1"), 53)]).code(), 0);
    assert_eq!(over_v4.permit(&mut sim, &[SocketAddr::new(ip("8.8.8.8"), 53)]).code(), 0);
}

fn only(users: &[&str], allow: &[&str], deny: &[&str]) -> PeerOverride {
    let cidrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    PeerOverride {
        users: users.iter().map(|&user| user.to_owned()).collect(),
        realms: [REALM.to_owned()].into(),
        allow: cidrs(allow),
        deny: cidrs(deny),
    }
}

#[test]
fn also_by_the_rules_for_one_user() {
    // Everything open but what is special, and one public network closed in spite of a rule for everybody.
    let open = only(&["alice"], &["0.0.0.0/0", "::/0", "64:ff9b:1::/48"], &["8.8.0.0/16", "2a00:1::/32"]);
    let opened = only(&["bob"], &["10.0.0.0/8", "::/96", "2001::/32", "2002::/16"], &[]);
    let peer_overrides = PeerOverrides::new([open, opened]);
    let (mut sim, mut over_v4, mut over_v6) = server_of(CoreConfig { peer_overrides, ..config() });
    for peer in V4.into_iter().chain(["8.8.4.4"]) {
        assert_out_of_reach(&mut sim, &mut over_v4, SocketAddr::new(ip(peer), 53));
        for peer in encodings(peer) {
            assert_out_of_reach(&mut sim, &mut over_v6, SocketAddr::new(ip(&peer), 53));
        }
    }
    for peer in V6.into_iter().chain(["2a00:1::1"]) {
        assert_out_of_reach(&mut sim, &mut over_v6, SocketAddr::new(ip(peer), 53));
    }
    assert!(sim.datapath.ids.is_empty(), "nothing of this reached the data path");

    // Another user of the same server: what is opened is open in every way, and reaches the data path.
    let mut bob = Client::with(3, "bob", "builder");
    bob.allocated(&mut sim);
    let peer = SocketAddr::new(ip("10.1.2.3"), 53);
    assert_eq!(bob.permit(&mut sim, &[peer]).code(), 0);
    assert_eq!(bob.bind(&mut sim, 0x4000, peer).code(), 0);
    assert!(dropped(&bob.send(&mut sim, peer, b"x")).is_none());
    assert_eq!(sim.datapath.binding(bob.five_tuple, 0x4000).map(|b| b.peer.0), Some(peer));
    let mut over_v6 = Client::with(4, "bob", "builder");
    over_v6.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).requested_address_family(AddressFamily::V6);
    });
    for (n, peer) in encodings("10.1.2.3").iter().enumerate() {
        // Teredo's client is the other address that hides in it.
        let opened = !peer.starts_with("2001:0:");
        let code = over_v6.bind(&mut sim, 0x4000 + n as u16, SocketAddr::new(ip(peer), 53)).code();
        assert_eq!(code, if opened { 0 } else { 403 }, "{peer}");
    }
    assert_eq!(bob.permit(&mut sim, &[SocketAddr::new(ip("192.168.1.1"), 53)]).code(), 403);
    assert_eq!(bob.permit(&mut sim, &[SocketAddr::new(ip("8.8.4.4"), 53)]).code(), 0);
}

#[test]
fn an_override_names_the_person_behind_every_time_limited_name() {
    let peer_overrides = PeerOverrides::new([only(&["carol"], &["10.0.0.0/8"], &["8.8.8.8"])]);
    let mut sim = Sim::new(CoreConfig { peer_overrides, ..config() }, [1; 32]);
    for (port, name, inside) in [(1, "carol", true), (2, "carol", true), (3, "caroline", false)] {
        let (username, password) = time_limited(SECRET, name, UNIX_START + 900 + u64::from(port));
        let mut client = Client::with(port, &username, &password);
        client.allocated(&mut sim);
        let (private, public) = (SocketAddr::new(ip("10.1.2.3"), 1), SocketAddr::new(ip("8.8.8.8"), 1));
        let codes = (client.permit(&mut sim, &[private]).code(), client.permit(&mut sim, &[public]).code());
        assert_eq!(codes, if inside { (0, 403) } else { (403, 0) }, "{username}");
    }
}

#[test]
fn an_override_for_a_realm_or_a_user_of_it_opens_nothing_to_the_same_name_elsewhere() {
    let tenants = || {
        let users = [("alice", "wonderland"), ("ten\\ant", "p")].map(|(u, p)| (u.to_owned(), p.to_owned()));
        let other = Realm::new("tenant.org", Credentials::new(users, []).unwrap());
        let users = [("alice", "wonderland"), ("ten\\ant", "p")].map(|(u, p)| (u.to_owned(), p.to_owned()));
        let first = Realm::new(REALM, Credentials::new(users, []).unwrap());
        Realms::new(first.unwrap(), [other.unwrap().for_origins(["https://tenant.org".into()])]).unwrap()
    };
    let allow = |net: &str| vec![net.parse().unwrap()];
    let peer_overrides = PeerOverrides::new([
        PeerOverride { realms: ["tenant.org".into()].into(), ..only(&["alice"], &["10.1.0.0/16"], &[]) },
        PeerOverride {
            realms: [REALM.into()].into(),
            allow: allow("10.2.0.0/16"),
            ..PeerOverride::default()
        },
        PeerOverride {
            users: ["ten\\ant".into()].into(),
            allow: allow("10.3.0.0/16"),
            ..PeerOverride::default()
        },
    ]);
    let with = || CoreConfig { realms: tenants(), peer_overrides: peer_overrides.clone(), ..config() };
    let mut sim = Sim::new(with(), [1; 32]);
    let cases = [
        (1, "alice", "wonderland", REALM, [false, true, false]),
        (2, "alice", "wonderland", "tenant.org", [true, false, false]),
        (3, "ten\\ant", "p", REALM, [false, true, true]),
        (4, "ten\\ant", "p", "tenant.org", [false, false, true]),
    ];
    for (port, user, password, realm, expected) in cases {
        let mut client = Client::with(port, user, password);
        client.origin = (realm == "tenant.org").then(|| "https://tenant.org".into());
        client.allocated(&mut sim);
        assert_eq!(client.realm, realm);
        // Also when the same rules come again.
        for _ in 0..2 {
            for (net, open) in (1..).zip(expected) {
                let peer = SocketAddr::new([10, net, 0, 1].into(), 1);
                let code = client.permit(&mut sim, &[peer]).code();
                assert_eq!(code, if open { 0 } else { 403 }, "{user} of {realm} to {peer}");
            }
            sim.core.reconfigure(Arc::new(with()));
        }
    }
}

#[test]
fn other_rules_hold_at_once_for_requests_and_for_data_when_the_permission_ends() {
    let mut sim = Sim::new(config(), [1; 32]);
    let mut client = Client::new(1);
    let relayed = client.allocated(&mut sim);
    let peer = SocketAddr::new(ip("203.0.113.1"), 1);
    assert_eq!(client.bind(&mut sim, 0x4000, peer).code(), 0);
    sim.wait(100.0);

    let peer_overrides = PeerOverrides::new([only(&["alice"], &["10.0.0.0/8"], &["203.0.113.0/24"])]);
    sim.core.reconfigure(Arc::new(CoreConfig { peer_overrides, ..config() }));
    for code in [client.permit(&mut sim, &[peer]).code(), client.bind(&mut sim, 0x4000, peer).code()] {
        assert_eq!(code, 403, "not even a refresh");
    }
    assert_eq!(client.permit(&mut sim, &[SocketAddr::new(ip("10.1.2.3"), 1)]).code(), 0);
    assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), None, "what was granted lasts");
    sim.wait(200.0);
    assert_eq!(dropped(&client.channel_data(&mut sim, 0x4000, b"x")), Some(Reason::NoPermission));
    assert_eq!(dropped(&sim.peer_sends(relayed, PeerAddr(peer), b"x")), Some(Reason::NoPermission));
    assert!(sim.datapath.bindings.values().all(|binding| binding.peer.0.ip() == ip("10.1.2.3")));
}
