//! From the settings that hold to those that were read again: what takes effect at once, and what waits for a restart.

use std::collections::HashMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::resolve::Settings;
use super::streams::StreamSettings;
use super::tcp_relay::tcp_relay_shown;
use super::values::{Span, User};
use crate::auth::printable;
use crate::turn::Alternate;

/// One setting that has another value now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Its key in the file.
    pub key: String,
    /// What is different; never a secret, nor a user's name.
    pub what: String,
}

/// What a reload comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Changes {
    /// What holds afterwards: the new settings, but those that need a restart as they were.
    pub settings: Settings,
    /// What is different from before.
    pub applied: Vec<Change>,
    /// What will be different after a restart.
    pub waiting: Vec<Change>,
}

/// The key of the certificates among changes: they are also read without a reload.
pub const CERTIFICATES_KEY: &str = "tls.certificate";

impl Settings {
    /// Compares with the settings that were read later. Listeners, relayed addresses and all that the data path was
    /// made for stay until the next start.
    pub fn change_to(&self, next: Settings) -> Changes {
        // By name, so that who adds a setting must say here when it takes effect.
        let Settings {
            listen,
            tls,
            streams,
            realm,
            realms,
            password_algorithms,
            secret_algorithms,
            shards,
            relay_addresses,
            relay_ports,
            relay_sockets,
            users,
            secrets,
            datapath,
            interfaces,
            max_bindings,
            answer_bindings,
            allow_peers,
            deny_peers,
            peer_overrides,
            user_quota,
            total_quota,
            rates,
            max_lifetime,
            discovery,
            alternate,
            tcp_relay,
            lifetimes,
            mobility,
            software,
            admin,
            admin_is_explicit: _,
            ice,
            test_page,
        } = next;

        let mut waiting = Found::default();
        waiting.value("listen", &all(&self.listen), &all(&listen));
        waiting.value("shards", &self.shards, &shards);
        waiting.value("relay.addresses", &all(&self.relay_addresses), &all(&relay_addresses));
        waiting.value("relay.ports", &self.relay_ports, &relay_ports);
        waiting.value("relay.sockets", &self.relay_sockets, &relay_sockets);
        waiting.value("datapath.mode", &self.datapath, &datapath);
        waiting.value("datapath.interfaces", &all(&self.interfaces), &all(&interfaces));
        waiting.value("datapath.max-bindings", &self.max_bindings, &max_bindings);
        // It is made of the listeners.
        waiting.value("discovery.enabled", &self.discovery.is_some(), &discovery.is_some());
        // Its threads are started with the server.
        waiting.value("tcp-relay", &tcp_relay_shown(self.tcp_relay), &tcp_relay_shown(tcp_relay));
        waiting.value("admin.listen", &self.admin, &admin);

        let mut applied = Found::default();
        applied.value("realm", &printable(self.realm.as_str()), &printable(realm.as_str()));
        applied.users("auth.users", &self.users, &users);
        applied.list("auth.secrets", &self.secrets, &secrets);
        applied.list("realms", &self.realms, &realms);
        applied.value(
            "auth.password-algorithms",
            &all(&self.password_algorithms),
            &all(&password_algorithms),
        );
        applied.value("auth.secret-algorithms", &all(&self.secret_algorithms), &all(&secret_algorithms));
        applied.value("datapath.answer-bindings", &self.answer_bindings, &answer_bindings);
        applied.list("peers.allow", &self.allow_peers, &allow_peers);
        applied.list("peers.deny", &self.deny_peers, &deny_peers);
        applied.list("peers.override", &self.peer_overrides, &peer_overrides);
        applied.value("limits.user-quota", &or_none(self.user_quota), &or_none(user_quota));
        applied.value("limits.total-quota", &or_none(self.total_quota), &or_none(total_quota));
        for ((key, before), (_, after)) in self.rates.named().into_iter().zip(rates.named()) {
            applied.value(key, &before, &after);
        }
        applied.value("limits.max-lifetime", &Span(self.max_lifetime), &Span(max_lifetime));
        applied.value("alternate", &redirect(self.alternate.as_ref()), &redirect(alternate.as_ref()));
        applied.list(CERTIFICATES_KEY, &self.tls.certificates, &tls.certificates);
        applied.list("tls.passthrough", &self.tls.passthrough, &tls.passthrough);
        for ((key, before), (_, after)) in named(&self.streams).into_iter().zip(named(&streams)) {
            applied.value(key, &before, &after);
        }
        applied.value("mobility", &self.mobility, &mobility);
        applied.value("software", &self.software, &software);

        applied.value("ice.host", &all(&self.ice.hosts), &all(&ice.hosts));
        applied.value("ice.urls", &all(&self.ice.urls), &all(&ice.urls));
        applied.value("ice.address-rate", &self.ice.address_rate, &ice.address_rate);
        applied.list("ice.tenants", &self.ice.tenants, &ice.tenants);
        applied.list("test-page", self.test_page.as_slice(), test_page.as_slice());

        let settings = Settings {
            tls,
            streams,
            ice,
            test_page,
            realm,
            realms,
            password_algorithms,
            secret_algorithms,
            users,
            secrets,
            answer_bindings,
            allow_peers,
            deny_peers,
            peer_overrides,
            user_quota,
            total_quota,
            rates,
            max_lifetime,
            alternate,
            lifetimes,
            mobility,
            software,
            ..self.clone()
        };
        Changes { settings, applied: applied.0, waiting: waiting.0 }
    }
}

#[derive(Default)]
struct Found(Vec<Change>);

impl Found {
    fn note(&mut self, key: &str, what: String) {
        self.0.push(Change { key: key.into(), what });
    }

    fn value(&mut self, key: &str, before: &impl Display, after: &impl Display) {
        let (before, after) = (before.to_string(), after.to_string());
        if before != after {
            self.note(key, format!("{before} -> {after}"));
        }
    }

    /// How many are new, gone, and there: what they are may be a secret, or too long.
    fn list<T: PartialEq>(&mut self, key: &str, before: &[T], after: &[T]) {
        let missing = |from: &[T], of: &[T]| of.iter().filter(|value| !from.contains(value)).count();
        if before != after {
            self.counts(key, missing(before, after), missing(after, before), 0, after.len());
        }
    }

    fn users(&mut self, key: &str, before: &[User], after: &[User]) {
        let mut gone: HashMap<_, _> = before.iter().map(|user| (&user.name, user)).collect();
        let (mut new, mut other) = (0, 0);
        for user in after {
            match gone.remove(&user.name) {
                None => new += 1,
                Some(known) => other += usize::from(known != user),
            }
        }
        if before != after {
            self.counts(key, new, gone.len(), other, after.len());
        }
    }

    fn counts(&mut self, key: &str, new: usize, gone: usize, other: usize, there: usize) {
        let words = [(new, "new"), (gone, "gone"), (other, "changed")];
        let mut words: Vec<_> =
            words.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        if words.is_empty() {
            words.push("in another order".into());
        }
        self.note(key, format!("{}; {there} now", words.join(", ")));
    }
}

fn all(values: &[impl ToString]) -> String {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

fn or_none(limit: Option<u32>) -> String {
    limit.map_or("none".into(), |limit| limit.to_string())
}

/// What is said of streams, by key.
fn named(streams: &StreamSettings) -> [(&'static str, String); 8] {
    let StreamSettings { upstream, websocket_origins, proxies, limits } = streams;
    [
        ("http.upstream", upstream.as_ref().map_or("none".into(), ToString::to_string)),
        ("http.websocket-origins", all(websocket_origins)),
        ("proxy-protocol.from", all(proxies)),
        ("streams.connections", limits.connections.to_string()),
        ("streams.connections-per-address", limits.connections_per_address.to_string()),
        ("streams.handshakes", limits.handshakes.to_string()),
        ("streams.handshake-time", Span(limits.handshake_time).to_string()),
        ("streams.idle-time", Span(limits.idle_time).to_string()),
    ]
}

fn redirect(alternate: Option<&Alternate>) -> String {
    let Some(Alternate { servers, domain, when }) = alternate else { return "none".into() };
    let domain = domain.as_ref().map_or(String::new(), |domain| format!(" of {domain}"));
    format!("{}{domain} ({when})", all(servers))
}

#[cfg(test)]
mod tests {
    use super::super::{Host, parse};
    use super::*;

    fn settings(text: &str) -> Settings {
        parse("t.toml".as_ref(), text).unwrap().resolve(&Host::default()).unwrap().settings
    }

    fn lines(changes: &[Change]) -> Vec<String> {
        changes.iter().map(|change| format!("{}: {}", change.key, change.what)).collect()
    }

    #[test]
    fn what_needs_a_restart_waits_and_the_rest_holds_at_once() {
        let before = settings(
            r#"
            listen = ["udp://127.0.0.1:3478"]
            realm = "old"
            shards = 1
            auth = { users = ["alice:a", "bob:b", "carol:c"], secrets = ["one"] }
            peers = { deny = ["192.0.2.0/24"] }
            limits = { user-quota = 5 }
            "#,
        );
        let after = settings(
            r#"
            listen = ["udp://127.0.0.1:3478", "udp://127.0.0.2"]
            realm = "new"
            shards = 2
            relay = { ports = "50000-50099", sockets = "each" }
            auth = { users = ["bob:b", "alice:other", "dave:d"], secrets = ["two", "one"] }
            datapath = { mode = "userspace", interfaces = ["eth0"], max-bindings = 7 }
            peers = { allow = ["10.0.0.0/8"], deny = ["198.51.100.0/24"] }
            limits = { total-quota = 9, max-lifetime = "2h" }
            admin = { listen = "off" }
            alternate = { servers = ["192.0.2.9"], domain = "two.example.org" }
            http = { upstream = "[::1]:8080", websocket-origins = ["https://x.example"] }
            proxy-protocol = { from = ["10.0.0.0/8"] }
            streams = { handshakes = 5, idle-time = 60 }
            ice = { host = "turn.example.org", tenants = [{ name = "app", key = "a-key-of-the-app" }] }
            test-page = { enabled = true }
            "#,
        );
        let Changes { settings: held, applied, waiting } = before.change_to(after.clone());
        assert_eq!(
            lines(&waiting),
            [
                "listen: udp://127.0.0.1:3478 -> udp://127.0.0.1:3478, udp://127.0.0.2:3478",
                "shards: 1 -> 2",
                "relay.addresses: 127.0.0.1 -> 127.0.0.1, 127.0.0.2",
                "relay.ports: 49152-65535 -> 50000-50099",
                "relay.sockets: auto -> each",
                "datapath.mode: auto -> userspace",
                "datapath.interfaces: none -> eth0",
                "datapath.max-bindings: 131072 -> 7",
                "admin.listen: 127.0.0.1:9641 -> off",
            ]
        );
        assert_eq!(
            lines(&applied),
            [
                "realm: old -> new",
                "auth.users: 1 new, 1 gone, 1 changed; 3 now",
                "auth.secrets: 1 new; 2 now",
                "peers.allow: 1 new; 1 now",
                "peers.deny: 1 new, 1 gone; 1 now",
                "limits.user-quota: 5 -> none",
                "limits.total-quota: none -> 9",
                "limits.max-lifetime: 1h -> 2h",
                "alternate: none -> 192.0.2.9:3478 of two.example.org (draining)",
                "http.upstream: none -> [::1]:8080",
                "http.websocket-origins: none -> https://x.example",
                "proxy-protocol.from: none -> 10.0.0.0/8",
                "streams.handshakes: 1024 -> 5",
                "streams.idle-time: 5m -> 1m",
                "ice.host: none -> turn.example.org",
                "ice.tenants: 1 new; 1 now",
                "test-page: 1 new; 1 now",
            ]
        );
        let expected = Settings {
            listen: before.listen.clone(),
            shards: before.shards,
            relay_addresses: before.relay_addresses.clone(),
            relay_ports: before.relay_ports,
            relay_sockets: before.relay_sockets,
            datapath: before.datapath,
            interfaces: before.interfaces.clone(),
            max_bindings: before.max_bindings,
            admin: before.admin,
            admin_is_explicit: before.admin_is_explicit,
            ..after.clone()
        };
        assert_eq!(held, expected);

        // The same again: nothing new, and what waits still waits.
        let again = held.change_to(after);
        assert_eq!((again.applied, again.waiting), (vec![], waiting));
        let back = held.change_to(before);
        assert_eq!(back.waiting, []);
    }

    #[test]
    fn an_order_that_changed_is_a_change() {
        let [a, b] = ["['one', 'two']", "['two', 'one']"]
            .map(|list| settings(&format!("listen = ['udp://127.0.0.1']\nauth = {{ secrets = {list} }}")));
        assert_eq!(lines(&a.change_to(b).applied), ["auth.secrets: in another order; 2 now"]);
    }

    #[test]
    fn neither_secrets_nor_passwords_nor_names_are_told() {
        let before = settings("listen = ['udp://127.0.0.1']");
        let after = settings(
            "listen = ['udp://127.0.0.1']\nauth = { users = ['hunter1:hunter2'], secrets = ['hunter3'] }",
        );
        let told = format!("{:?}", before.change_to(after).applied);
        assert!(!told.contains("hunter") && told.contains("1 new"), "{told}");
    }
}
