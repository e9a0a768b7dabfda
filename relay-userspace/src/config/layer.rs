//! What one source of settings says: the file, or the flags. Nothing is filled in yet.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::alternate::{AlternateServer, Domain};
use super::ice::{Ice, TestPage};
use super::listen::Listen;
use super::overrides::Override;
use super::rates::{Bandwidth, StrangerRate};
use super::realms::RealmLayer;
use super::streams::{Http, ProxyProtocol, Streams};
use super::tcp_relay::TcpRelayLayer;
use super::tls::Tls;
use super::values::{AdminListen, PortRange, Realm, Secret, Span, User};
use crate::auth::SecretHash;
use crate::datapath::Request;
use crate::net::RelaySockets;
use crate::policy::Cidr;
use crate::stun::PasswordAlgorithm;
use crate::turn::{RedirectWhen, RelayAddress};

/// The settings that one source gives, in the shape of the file.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// REALM of the credentials in `[auth]`.
    pub realm: Option<Realm>,
    /// `[[realms]]` beside it.
    pub realms: Vec<RealmLayer>,
    /// Threads that serve clients.
    pub shards: Option<usize>,
    /// Whether clients may take their allocations along to another address.
    pub mobility: Option<bool>,
    /// Whether clients with credentials are told the name and version of the server.
    pub software: Option<bool>,
    /// `[relay]`.
    pub relay: Relay,
    /// `[auth]`.
    pub auth: Auth,
    /// `[datapath]`.
    pub datapath: Datapath,
    /// `[peers]`.
    pub peers: Peers,
    /// `[discovery]`.
    pub discovery: Discovery,
    /// `[alternate]`.
    pub alternate: Alternate,
    /// `[limits]`.
    pub limits: Limits,
    /// `[tls]`.
    pub tls: Tls,
    /// `[http]`; has no flags.
    pub http: Http,
    /// `[proxy-protocol]`; has no flags.
    #[serde(alias = "proxy_protocol")]
    pub proxy_protocol: ProxyProtocol,
    /// `[streams]`; has no flags.
    pub streams: Streams,
    /// `[tcp-relay]`; has no flags.
    #[serde(alias = "tcp_relay")]
    pub tcp_relay: TcpRelayLayer,
    /// `[admin]`.
    pub admin: Admin,
    /// `[ice]`.
    pub ice: Ice,
    /// `[test-page]`.
    #[serde(alias = "test_page")]
    pub test_page: TestPage,
}

/// What peers see.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Relay {
    /// The addresses to relay from.
    pub addresses: Vec<RelayAddress>,
    /// The ports to relay from.
    pub ports: Option<PortRange>,
    /// What allocations receive and send by.
    pub sockets: Option<RelaySockets>,
}

/// Who may allocate.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Auth {
    /// Users with their passwords.
    #[serde(deserialize_with = "users")]
    pub users: Vec<User>,
    /// A file of more users.
    #[serde(alias = "users_file")]
    pub users_file: Option<PathBuf>,
    /// Shared secrets of time-limited users.
    pub secrets: Vec<Secret>,
    /// A file of more secrets.
    #[serde(alias = "secrets_file")]
    pub secrets_file: Option<PathBuf>,
    /// How keys may be made from passwords, in all realms.
    #[serde(alias = "password_algorithms")]
    pub password_algorithms: Vec<PasswordAlgorithm>,
    /// How time-limited passwords may be made from secrets, in all realms.
    #[serde(alias = "secret_algorithms")]
    pub secret_algorithms: Vec<SecretHash>,
}

/// Where media runs.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Datapath {
    /// What to try.
    pub mode: Option<Request>,
    /// On which interfaces.
    pub interfaces: Vec<String>,
    /// How many channel bindings XDP can carry.
    #[serde(alias = "max_bindings")]
    pub max_bindings: Option<u32>,
    /// Whether XDP answers Binding requests.
    #[serde(alias = "answer_bindings")]
    pub answer_bindings: Option<bool>,
}

/// Which peers may be reached.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peers {
    /// In spite of the default rules.
    pub allow: Vec<Cidr>,
    /// In addition to the default rules.
    pub deny: Vec<Cidr>,
    /// `[[peers.override]]`, before both; has no flag.
    #[serde(rename = "override")]
    pub overrides: Vec<Override>,
}

/// NAT behaviour discovery (RFC 5780).
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Discovery {
    /// Whether it is served.
    pub enabled: Option<bool>,
}

/// Other servers (RFC 8489 section 10).
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Alternate {
    /// Where clients are sent.
    pub servers: Vec<AlternateServer>,
    /// The name in their certificates.
    pub domain: Option<Domain>,
    /// When.
    pub when: Option<RedirectWhen>,
}

/// How much.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Allocations of one user at a time.
    #[serde(alias = "user_quota")]
    pub user_quota: Option<u32>,
    /// Allocations of all users at a time.
    #[serde(alias = "total_quota")]
    pub total_quota: Option<u32>,
    /// Data of one allocation.
    #[serde(alias = "allocation_bandwidth")]
    pub allocation_bandwidth: Option<Bandwidth>,
    /// Datagrams of one allocation a second.
    #[serde(alias = "allocation_packets")]
    pub allocation_packets: Option<u32>,
    /// Permissions, and channels, of one allocation.
    #[serde(alias = "allocation_peers")]
    pub allocation_peers: Option<u32>,
    /// Data of all allocations of one user.
    #[serde(alias = "user_bandwidth")]
    pub user_bandwidth: Option<Bandwidth>,
    /// Datagrams of all allocations of one user a second.
    #[serde(alias = "user_packets")]
    pub user_packets: Option<u32>,
    /// New permissions of one user a minute.
    #[serde(alias = "user_new_peers")]
    pub user_new_peers: Option<u32>,
    /// Answers to strangers of one network.
    #[serde(alias = "stranger_rate")]
    pub stranger_rate: Option<StrangerRate>,
    /// The longest lifetime of an allocation.
    #[serde(alias = "max_lifetime")]
    pub max_lifetime: Option<Span>,
    /// The longest that allocations last; for tests, so no key of the file.
    #[serde(skip)]
    pub allocation_lifetime: Option<Span>,
    /// How long permissions last; for tests, so no key of the file.
    #[serde(skip)]
    pub permission_lifetime: Option<Span>,
    /// How long channels last; for tests, so no key of the file.
    #[serde(skip)]
    pub channel_lifetime: Option<Span>,
}

/// The admin API.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Admin {
    /// Where it listens.
    pub listen: Option<AdminListen>,
}

impl Layer {
    /// These settings, and where they say nothing those below. A list replaces the list below it; users and secrets
    /// are each one list with their file.
    pub fn over(self, below: Layer) -> Layer {
        let (users, users_file) =
            either((self.auth.users, self.auth.users_file), (below.auth.users, below.auth.users_file));
        let (secrets, secrets_file) = either(
            (self.auth.secrets, self.auth.secrets_file),
            (below.auth.secrets, below.auth.secrets_file),
        );
        Layer {
            listen: list(self.listen, below.listen),
            realm: self.realm.or(below.realm),
            realms: list(self.realms, below.realms),
            shards: self.shards.or(below.shards),
            mobility: self.mobility.or(below.mobility),
            software: self.software.or(below.software),
            relay: Relay {
                addresses: list(self.relay.addresses, below.relay.addresses),
                ports: self.relay.ports.or(below.relay.ports),
                sockets: self.relay.sockets.or(below.relay.sockets),
            },
            auth: Auth {
                users,
                users_file,
                secrets,
                secrets_file,
                password_algorithms: list(self.auth.password_algorithms, below.auth.password_algorithms),
                secret_algorithms: list(self.auth.secret_algorithms, below.auth.secret_algorithms),
            },
            datapath: Datapath {
                mode: self.datapath.mode.or(below.datapath.mode),
                interfaces: list(self.datapath.interfaces, below.datapath.interfaces),
                max_bindings: self.datapath.max_bindings.or(below.datapath.max_bindings),
                answer_bindings: self.datapath.answer_bindings.or(below.datapath.answer_bindings),
            },
            peers: Peers {
                allow: list(self.peers.allow, below.peers.allow),
                deny: list(self.peers.deny, below.peers.deny),
                overrides: list(self.peers.overrides, below.peers.overrides),
            },
            discovery: Discovery { enabled: self.discovery.enabled.or(below.discovery.enabled) },
            alternate: Alternate {
                servers: list(self.alternate.servers, below.alternate.servers),
                domain: self.alternate.domain.or(below.alternate.domain),
                when: self.alternate.when.or(below.alternate.when),
            },
            limits: Limits {
                user_quota: self.limits.user_quota.or(below.limits.user_quota),
                total_quota: self.limits.total_quota.or(below.limits.total_quota),
                allocation_bandwidth: self.limits.allocation_bandwidth.or(below.limits.allocation_bandwidth),
                allocation_packets: self.limits.allocation_packets.or(below.limits.allocation_packets),
                allocation_peers: self.limits.allocation_peers.or(below.limits.allocation_peers),
                user_bandwidth: self.limits.user_bandwidth.or(below.limits.user_bandwidth),
                user_packets: self.limits.user_packets.or(below.limits.user_packets),
                user_new_peers: self.limits.user_new_peers.or(below.limits.user_new_peers),
                stranger_rate: self.limits.stranger_rate.or(below.limits.stranger_rate),
                max_lifetime: self.limits.max_lifetime.or(below.limits.max_lifetime),
                allocation_lifetime: self.limits.allocation_lifetime.or(below.limits.allocation_lifetime),
                permission_lifetime: self.limits.permission_lifetime.or(below.limits.permission_lifetime),
                channel_lifetime: self.limits.channel_lifetime.or(below.limits.channel_lifetime),
            },
            tls: self.tls.over(below.tls),
            http: self.http.over(below.http),
            proxy_protocol: ProxyProtocol { from: list(self.proxy_protocol.from, below.proxy_protocol.from) },
            streams: self.streams.over(below.streams),
            tcp_relay: self.tcp_relay.over(below.tcp_relay),
            admin: Admin { listen: self.admin.listen.or(below.admin.listen) },
            ice: self.ice.over(below.ice),
            test_page: self.test_page.over(below.test_page),
        }
    }
}

pub(super) fn list<T>(upper: Vec<T>, below: Vec<T>) -> Vec<T> {
    if upper.is_empty() { below } else { upper }
}

pub(super) type ListAndFile<T> = (Vec<T>, Option<PathBuf>);

fn either<T>(upper: ListAndFile<T>, below: ListAndFile<T>) -> ListAndFile<T> {
    if upper.0.is_empty() && upper.1.is_none() { below } else { upper }
}

/// A table `{ alice = "password" }` or a list `["alice:password"]`.
pub(super) fn users<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<User>, D::Error> {
    struct Users;

    impl<'de> Visitor<'de> for Users {
        type Value = Vec<User>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#"a table { NAME = "PASSWORD" } or a list ["NAME:PASSWORD"]"#)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Vec<User>, A::Error> {
            let mut users = Vec::new();
            while let Some((name, password)) = table.next_entry::<String, Password>()? {
                users.push(User::new(&name, &password.0).map_err(de::Error::custom)?);
            }
            Ok(users)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<User>, A::Error> {
            let mut users = Vec::new();
            while let Some(user) = list.next_element()? {
                users.push(user);
            }
            Ok(users)
        }
    }

    deserializer.deserialize_any(Users)
}

/// A string, and a complaint about anything else that does not repeat it.
struct Password(String);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer) {
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(de::Error::custom("a password must be a string in quotes")),
        }
    }
}
