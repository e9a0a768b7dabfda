//! From what was said to what holds: defaults, files of secrets, and what the settings mean together.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use std::{iter, thread};

use super::addresses::{check_ports, listeners, relay_addresses};
use super::ice::{self, IceSettings, Signers, TestPageSettings};
use super::layer::{Auth, Layer, Limits};
use super::listen::{Listen, Scheme};
use super::overrides::{self, Override};
use super::rates::RateSettings;
use super::realms::{DEFAULT_PASSWORD_ALGORITHMS, RealmSettings, credentials, once_each};
use super::streams::StreamSettings;
use super::tls::TlsSettings;
use super::values::{AdminListen, DEFAULT_RELAY_PORTS, PortRange, Realm, Secret, Span, User};
use super::{ConfigError, Host, alternate};
use crate::auth::SecretHash;
use crate::datapath::{DEFAULT_BINDINGS, MOST_BINDINGS, Request};
use crate::net::RelaySockets;
use crate::policy::{Cidr, HostAddresses, PeerOverrides, PeerRules};
use crate::stun::PasswordAlgorithm;
use crate::turn::{Alternate, Discovery, Lifetimes, RelayAddress, TcpRelay};

/// Where the admin API listens unless told otherwise.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9641);

/// The longest lifetime of an allocation unless told otherwise (RFC 8656 section 7.2).
pub const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// More threads than any host has CPUs.
const MOST_SHARDS: usize = 1024;

/// The lifetime that every client may count on (RFC 8656 section 7.2): a maximum below it makes no sense.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

/// Everything `turnpike run` needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Where clients are served. Not empty.
    pub listen: Vec<Listen>,
    /// Certificates, and names of others.
    pub tls: TlsSettings,
    /// Who else is served on the ports of streams, and how many.
    pub streams: StreamSettings,
    /// REALM of the users and secrets below.
    pub realm: Realm,
    /// Other realms.
    pub realms: Vec<RealmSettings>,
    /// How keys may be made from passwords, the preferred way first. Not empty.
    pub password_algorithms: Vec<PasswordAlgorithm>,
    /// How time-limited passwords may be made, in the order to try. Not empty.
    pub secret_algorithms: Vec<SecretHash>,
    /// Threads that serve clients.
    pub shards: usize,
    /// What to relay from. Not empty.
    pub relay_addresses: Vec<RelayAddress>,
    /// The ports to relay from.
    pub relay_ports: PortRange,
    /// What allocations receive and send by.
    pub relay_sockets: RelaySockets,
    /// Users with passwords that do not expire.
    pub users: Vec<User>,
    /// Secrets that time-limited users are made with.
    pub secrets: Vec<Secret>,
    /// Where media is to run.
    pub datapath: Request,
    /// The interfaces to run it on; those that carry the listen and relay addresses when empty.
    pub interfaces: Vec<String>,
    /// How many channel bindings XDP can carry; more stay in userspace.
    pub max_bindings: u32,
    /// Whether XDP answers Binding requests where it can; userspace does otherwise.
    pub answer_bindings: bool,
    /// Peers that may be reached in spite of the default rules.
    pub allow_peers: Vec<Cidr>,
    /// Peers that may not be reached.
    pub deny_peers: Vec<Cidr>,
    /// Peer rules for some users or realms.
    pub peer_overrides: Vec<Override>,
    /// Most allocations of one user at a time.
    pub user_quota: Option<u32>,
    /// Most allocations of all users at a time.
    pub total_quota: Option<u32>,
    /// How much else, and how fast.
    pub rates: RateSettings,
    /// The longest lifetime of an allocation.
    pub max_lifetime: Duration,
    /// The listeners of NAT behaviour discovery, when it is served.
    pub discovery: Option<Discovery>,
    /// Other servers to send clients to.
    pub alternate: Option<Alternate>,
    /// What TCP allocations may do, where clients may have them.
    pub tcp_relay: Option<TcpRelay>,
    /// How long permissions and channels last.
    pub lifetimes: Lifetimes,
    /// Whether clients may take their allocations along to another address (RFC 8016).
    pub mobility: bool,
    /// Whether clients with credentials are told the name and version of the server (RFC 8489 section 16.1.2).
    pub software: bool,
    /// Where the admin API listens.
    pub admin: AdminListen,
    /// The operator named the admin API's address, so the server must not start without it.
    pub admin_is_explicit: bool,
    /// Who is given credentials over HTTP.
    pub ice: IceSettings,
    /// The page that tries all URLs in a visitor's browser, when it is served.
    pub test_page: Option<TestPageSettings>,
}

/// Settings to start with, and what the operator should know about them.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    /// What holds.
    pub settings: Settings,
    /// One sentence each.
    pub warnings: Vec<String>,
}

impl Layer {
    /// Fills in the defaults for this host, reads the files of users and secrets and checks everything together.
    pub fn resolve(self, host: &Host) -> Result<Resolved, ConfigError> {
        let mut warnings = Vec::new();
        let listen = listeners(self.listen, host, &mut warnings)?;
        let relay_addresses = relay_addresses(self.relay.addresses, &listen, host, &mut warnings)?;
        let relay_ports = self.relay.ports.unwrap_or(DEFAULT_RELAY_PORTS);
        check_ports(&listen, relay_ports, host, &mut warnings)?;
        let tls = self.tls.resolve(&listen, &mut warnings)?;
        let streams = StreamSettings::resolve(self.http, self.proxy_protocol, &self.streams, &listen)?;
        let discovery = discovery(self.discovery.enabled.unwrap_or(false), &listen)?;
        let alternate = alternate::alternate(self.alternate, &listen, &relay_addresses, &mut warnings)?;
        let Auth { users, users_file, secrets, secrets_file, .. } = self.auth;
        let (users, secrets) = credentials((users, users_file), (secrets, secrets_file), &mut warnings)?;
        let mut realms = Vec::new();
        for realm in self.realms {
            realms.push(realm.resolve(&listen, &mut warnings)?);
        }
        let password_algorithms = or_default(self.auth.password_algorithms, DEFAULT_PASSWORD_ALGORITHMS);
        let secret_algorithms =
            or_default(self.auth.secret_algorithms, [SecretHash::Sha1, SecretHash::Sha256]);
        once_each(&password_algorithms, "password-algorithms")?;
        once_each(&secret_algorithms, "secret-algorithms")?;

        for interface in &self.datapath.interfaces {
            if !host.addresses.iter().any(|(name, _)| name == interface) {
                warnings.push(format!("interface {interface} has no address, or does not exist"));
            }
        }
        let shards = self.shards.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        if shards == 0 {
            return refuse("shards is 0: at least one thread must serve clients");
        }
        if shards > MOST_SHARDS {
            return refuse(format!(
                "shards is {shards}: one for each CPU is best, {MOST_SHARDS} are the most"
            ));
        }
        for (limit, name) in
            [(self.limits.user_quota, "user-quota"), (self.limits.total_quota, "total-quota")]
        {
            // No limit in coturn; here it would let nobody in.
            if limit == Some(0) {
                return refuse(format!("{name} is 0: nobody could allocate; leave it out for no limit"));
            }
        }
        let max_bindings = self.datapath.max_bindings.unwrap_or(DEFAULT_BINDINGS);
        if !(1..=MOST_BINDINGS).contains(&max_bindings) {
            return refuse(format!(
                "max-bindings is {max_bindings}: the tables can be made for 1 to {MOST_BINDINGS}"
            ));
        }
        let max_lifetime = self.limits.max_lifetime.map_or(DEFAULT_MAX_LIFETIME, |Span(duration)| duration);
        if max_lifetime < DEFAULT_LIFETIME {
            return refuse(format!(
                "max-lifetime is {}: RFC 8656 gives every allocation at least {}",
                Span(max_lifetime),
                Span(DEFAULT_LIFETIME)
            ));
        }

        let realm = self.realm.unwrap_or_else(|| default_realm(host));
        let served = iter::once(&realm).chain(realms.iter().map(|other| &other.name));
        let served: Vec<_> = served.map(Realm::as_str).collect();
        let names = users.iter().chain(realms.iter().flat_map(|other| &other.users));
        let names: Vec<_> = names.map(|user| user.name.as_str()).collect();
        let some_secret = !secrets.is_empty() || realms.iter().any(|other| !other.secrets.is_empty());
        overrides::check(&self.peers.overrides, &served, &names, some_secret, &mut warnings)?;
        let rates = RateSettings::resolve(&self.limits)?;
        let signers = Signers { realm: &realm, secrets: &secrets, others: &realms };
        let ice = self.ice.resolve(&signers, &mut warnings)?;
        let test_page = self.test_page.resolve(&signers, &mut warnings)?;
        warnings.extend(ice::out_of_reach(&ice, test_page.as_ref(), &listen));
        warnings.extend(ice::left_out(&ice, &listen));

        let settings = Settings {
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
            relay_sockets: self.relay.sockets.unwrap_or_default(),
            users,
            secrets,
            datapath: self.datapath.mode.unwrap_or_default(),
            interfaces: self.datapath.interfaces,
            max_bindings,
            answer_bindings: self.datapath.answer_bindings.unwrap_or(true),
            allow_peers: self.peers.allow,
            deny_peers: self.peers.deny,
            peer_overrides: self.peers.overrides,
            user_quota: self.limits.user_quota,
            total_quota: self.limits.total_quota,
            rates,
            max_lifetime: self.limits.allocation_lifetime.map_or(max_lifetime, |Span(duration)| duration),
            discovery,
            alternate,
            tcp_relay: self.tcp_relay.resolve()?,
            lifetimes: lifetimes(&self.limits, &mut warnings),
            mobility: self.mobility.unwrap_or(false),
            software: self.software.unwrap_or(false),
            admin: self.admin.listen.unwrap_or(AdminListen::On(DEFAULT_ADMIN)),
            admin_is_explicit: self.admin.listen.is_some(),
            ice,
            test_page,
        };
        // Each user was checked where it was read; now that no two have one name.
        settings.realms()?;
        warnings.extend(settings.algorithms_not_offered()?);
        Ok(Resolved { settings, warnings })
    }
}

impl Settings {
    /// The listeners for TURN over UDP.
    pub fn udp_listeners(&self) -> impl Iterator<Item = SocketAddr> {
        udp(&self.listen)
    }

    /// The listeners for TURN over DTLS.
    pub fn dtls_listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.iter().filter(|listen| listen.scheme == Scheme::Dtls).map(|listen| listen.address)
    }

    /// Whether the front desk is needed: for streams, or to show certificates.
    pub fn has_front(&self) -> bool {
        self.listen.iter().any(|listen| listen.scheme.is_stream() || listen.scheme.has_certificate())
    }

    /// The rules about peers, which depend on what this host's own addresses are.
    pub fn peer_rules(&self, host: &Host) -> PeerRules {
        let both = |address: &RelayAddress| [address.local, address.public];
        let relay: Vec<IpAddr> = self.relay_addresses.iter().flat_map(both).collect();
        let listeners = self.listen.iter().map(|listen| listen.address.ip());
        let own = host.addresses.iter().map(|(_, ip)| *ip).chain(listeners).chain(relay.iter().copied());
        let addresses =
            HostAddresses { own: own.collect(), relay: relay.clone(), relay_ports: self.relay_ports.range() };
        PeerRules::new(self.allow_peers.clone(), self.deny_peers.clone(), addresses)
    }

    /// The accounts that may hold fewer allocations than others.
    pub fn smaller_quotas(&self) -> HashMap<String, u32> {
        self.test_page.iter().map(|page| page.quota(&self.realm)).collect()
    }

    /// The rules for some users or realms, which come before those.
    pub fn peer_overrides(&self) -> PeerOverrides {
        // Among equals the first one decides.
        let of_test_page = self.test_page.as_ref().map(|page| page.peers(&self.relay_addresses));
        PeerOverrides::new(of_test_page.into_iter().chain(self.peer_overrides.iter().map(Override::rules)))
    }
}

pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Refused(why.into()))
}

pub(super) fn refuse_as<T>(why: impl std::error::Error) -> Result<T, ConfigError> {
    refuse(why.to_string())
}

fn udp(listen: &[Listen]) -> impl Iterator<Item = SocketAddr> {
    listen.iter().filter(|listen| listen.scheme == Scheme::Udp).map(|listen| listen.address)
}

/// The listeners of NAT behaviour discovery, if it is wanted.
fn discovery(wanted: bool, listen: &[Listen]) -> Result<Option<Discovery>, ConfigError> {
    if !wanted {
        return Ok(None);
    }
    let listeners: Vec<_> = udp(listen).collect();
    Discovery::new(&listeners).map(Some).map_err(|why| {
        ConfigError::Refused(format!(
            "nat-discovery needs listeners at two addresses, on the same two ports of each: {why}"
        ))
    })
}

fn lifetimes(limits: &Limits, warnings: &mut Vec<String>) -> Lifetimes {
    let rfc = Lifetimes::default();
    let lifetimes = Lifetimes {
        permission: limits.permission_lifetime.map_or(rfc.permission, |Span(duration)| duration),
        channel: limits.channel_lifetime.map_or(rfc.channel, |Span(duration)| duration),
    };
    if lifetimes != rfc || limits.allocation_lifetime.is_some() {
        warnings.push(
            "allocations, permissions or channels do not last as long as RFC 8656 says: for tests only"
                .into(),
        );
    }
    lifetimes
}

fn or_default<T>(list: Vec<T>, default: impl Into<Vec<T>>) -> Vec<T> {
    if list.is_empty() { default.into() } else { list }
}

fn default_realm(host: &Host) -> Realm {
    let of_host = host.name.as_deref().and_then(|name| name.parse().ok());
    of_host.unwrap_or_else(|| "turnpike".parse().expect("a fixed realm is a valid one"))
}
