//! The settings as flags.

use std::path::PathBuf;

use crate::auth::SecretHash;
use crate::config::{
    Admin, AdminListen, Alternate, AlternateServer, Auth, Bandwidth, Datapath, Discovery, Domain, Http, Ice,
    Layer, Limits, Listen, Peers, PortRange, ProxyProtocol, PublicHost, Realm, Relay, Secret, Span,
    StrangerRate, Streams, TcpRelayLayer, TestPage, Tls, User,
};
use crate::datapath::Request;
use crate::net::RelaySockets;
use crate::policy::Cidr;
use crate::stun::PasswordAlgorithm;
use crate::turn::{RedirectWhen, RelayAddress};

/// The flags that `run` and `check` share. Each overrides its key of the file; a repeatable one replaces the whole list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SettingsFlags {
    /// Read settings from this TOML file. Without it no file is read
    ///
    /// Keys are the flags' names: listen, realm, shards, mobility, software; [relay] addresses, ports, sockets; [auth] users, users-file,
    /// secrets, secrets-file, password-algorithms, secret-algorithms; [[realms]] name, listeners, origins and the first
    /// four of [auth], which have no flags; [datapath] mode, interfaces, max-bindings, answer-bindings; [peers] allow, deny;
    /// [[peers.override]] users, realms, allow, deny, which has no flags; [discovery] enabled; [alternate] servers,
    /// domain, when; [limits] user-quota, total-quota, allocation-bandwidth, allocation-packets, allocation-peers,
    /// user-bandwidth, user-packets, user-new-peers, stranger-rate, max-lifetime; [tls] cert, key; [[tls.certificate]] cert,
    /// key; [[tls.passthrough]] names, to; [http] upstream, websocket-origins; [proxy-protocol] from; [streams] connections,
    /// connections-per-address, handshakes, handshake-time, idle-time, none of which has a flag but the first two;
    /// [tcp-relay] enabled, max-connections-per-allocation, max-connections-per-user, max-connections, idle-timeout, which have no
    /// flags; [admin] listen;
    /// [ice] host, urls, address-rate; [[ice.tenants]] name, key, key-file, key-sha256, realm, origins, urls, lifetime,
    /// max-lifetime, rate, which have no flags; [test-page] enabled, key, key-file, key-sha256, realm, lifetime. An unknown key
    /// is an error. A flag overrides its key, a repeatable flag its whole list.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Serve clients here (repeatable) [default: port 3478 on the addresses of the IPv4 and the IPv6
    /// default route]
    ///
    /// SCHEME://ADDRESS[:PORT], SCHEME://[ADDRESS]:PORT with IPv6. udp (port 3478): TURN. tcp (3478) and http (80): TURN, HTTP
    /// and WebSocket, whatever the client speaks. tls (5349) and https (443): the same in TLS. dtls (5349): TURN in DTLS, over
    /// UDP. The last three need --cert and --key. WebSockets are at /turn. The port must be outside --relay-ports.
    #[arg(long, value_name = "URL", help_heading = "Network")]
    listen: Vec<Listen>,

    /// The certificate of tls://, https:// and dtls:// listeners, followed by those that signed it, in PEM
    ///
    /// Read again when it changes. More, for other names: [[tls.certificate]] in the file.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    cert: Option<PathBuf>,

    /// Its key, in PEM
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    key: Option<PathBuf>,

    /// Relay from this address (repeatable) [default: the addresses of --listen]
    ///
    /// PUBLIC/LOCAL behind a 1:1 NAT, as in clouds: clients are told PUBLIC, the host has LOCAL. IPv4 and IPv6; each
    /// allocation gets an address of the family that the client asks for, IPv4 unless it asks.
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    relay_address: Vec<RelayAddress>,

    /// Relay from these ports [default: 49152-65535]
    ///
    /// Keep other programs out of them: sysctl net.ipv4.ip_local_reserved_ports=49152-65535
    #[arg(long, value_name = "FIRST-LAST", help_heading = "Network")]
    relay_ports: Option<PortRange>,

    /// What allocations receive and send by [default: auto]
    ///
    /// auto: one socket for all allocations of a thread, where the kernel and the privileges are there (CAP_BPF, CAP_NET_ADMIN
    /// and CAP_NET_RAW), else as each. each: a socket, and a file descriptor, for each allocation.
    #[arg(long, value_enum, value_name = "SOCKETS", help_heading = "Network", hide_possible_values = true)]
    relay_sockets: Option<RelaySockets>,

    /// Threads that serve clients [default: one for each CPU]
    #[arg(long, value_name = "N", help_heading = "Network")]
    shards: Option<usize>,

    /// The realm of the credentials [default: the host's name]
    #[arg(long, value_name = "NAME", help_heading = "Credentials")]
    realm: Option<Realm>,

    /// Let this user in (repeatable) [default, when there is no secret either: one made up for the run]
    ///
    /// In place of the password there may be keys made from it: see `turnpike creds --key`. Other users of this host can see
    /// the password in the list of processes: prefer --users-file.
    #[arg(long, value_name = "NAME:PASSWORD", help_heading = "Credentials")]
    user: Vec<User>,

    /// Let the users of this file in: one NAME:PASSWORD a line, # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "Credentials")]
    users_file: Option<PathBuf>,

    /// Let everybody in who has a credential made from this secret (repeatable, to replace one without a break)
    ///
    /// See `turnpike creds`. Other users of this host can see it in the list of processes: prefer --auth-secrets-file.
    #[arg(long, value_name = "SECRET", help_heading = "Credentials")]
    auth_secret: Vec<Secret>,

    /// The same with the secrets of this file, one a line, # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "Credentials")]
    auth_secrets_file: Option<PathBuf>,

    /// How clients may make keys from passwords, the preferred way first [default: sha-256,md5]
    ///
    /// Without md5 only clients of RFC 8489 come in: no browser of today. With md5 alone the answers to strangers are 24
    /// bytes shorter.
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Credentials")]
    password_algorithms: Vec<PasswordAlgorithm>,

    /// How passwords may be made from --auth-secret, in the order to try [default: sha-1,sha-256]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Credentials")]
    secret_algorithms: Vec<SecretHash>,

    /// Where media is forwarded [default: auto]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Data path")]
    datapath: Option<Request>,

    /// Run XDP on this interface (repeatable) [default: those that carry the listen and relay addresses]
    #[arg(long, value_name = "NAME", help_heading = "Data path")]
    interface: Vec<String>,

    /// How many channels and permissions XDP has room for; more stay in userspace [default: 131072, which take 44 MiB]
    #[arg(long, value_name = "N", help_heading = "Data path")]
    max_bindings: Option<u32>,

    /// Have STUN Binding requests answered in userspace, not by XDP
    #[arg(long, help_heading = "Data path")]
    no_answer_bindings: bool,

    /// Let clients reach these peers although the default rules forbid it (repeatable)
    ///
    /// Forbidden by default are loopback, private, link-local, multicast and all other special-purpose addresses, and
    /// this host's own. The longest matching prefix decides.
    #[arg(long, value_name = "CIDR", help_heading = "Policy")]
    allow_peer: Vec<Cidr>,

    /// Never let clients reach these peers (repeatable); wins over --allow-peer
    #[arg(long, value_name = "CIDR", help_heading = "Policy")]
    deny_peer: Vec<Cidr>,

    /// Let clients find out how the NATs before them behave (RFC 5780)
    ///
    /// Needs listeners at two addresses, on the same two ports of each. Answers to Binding requests become longer.
    #[arg(long, help_heading = "Network")]
    nat_discovery: bool,

    /// Send clients that want to allocate to this server (repeatable: they are spread)
    ///
    /// Each to a server of its own address family. See --alternate-when.
    #[arg(long, value_name = "ADDRESS[:PORT]", help_heading = "Policy")]
    alternate_server: Vec<AlternateServer>,

    /// The name in the certificates of the alternate servers
    #[arg(long, value_name = "NAME", help_heading = "Policy")]
    alternate_domain: Option<Domain>,

    /// When to send them: always, or draining, while this server takes no new allocations [default: draining]
    #[arg(long, value_name = "WHEN", help_heading = "Policy")]
    alternate_when: Option<RedirectWhen>,

    /// Most allocations of one user at a time [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Policy")]
    user_quota: Option<u32>,

    /// Most allocations of all users at a time [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Policy")]
    total_quota: Option<u32>,

    /// Most data that an allocation relays in each direction [default: no limit; 8Mbit passes HD video]
    ///
    /// NUMBER and kbit, Mbit or Gbit a second. What users send counts, without headers. A second's worth may come at
    /// once.
    #[arg(long, value_name = "BANDWIDTH", help_heading = "Policy")]
    allocation_bandwidth: Option<Bandwidth>,

    /// Most datagrams a second that an allocation relays in each direction [default: no limit; 2000 passes HD video]
    #[arg(long, value_name = "N", help_heading = "Policy")]
    allocation_packets: Option<u32>,

    /// Most permissions, and most channels, of an allocation [default: 4096, which is the most]
    #[arg(long, value_name = "N", help_heading = "Policy")]
    allocation_peers: Option<u32>,

    /// The same as --allocation-bandwidth for all allocations of a user together [default: no limit]
    #[arg(long, value_name = "BANDWIDTH", help_heading = "Policy")]
    user_bandwidth: Option<Bandwidth>,

    /// The same as --allocation-packets for all allocations of a user together [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Policy")]
    user_packets: Option<u32>,

    /// Most new permissions of a user a minute [default: no limit; 120 passes several calls]
    #[arg(long, value_name = "N", help_heading = "Policy")]
    user_new_peers: Option<u32>,

    /// Most answers a second to requests without credentials, for each IPv4 /24 and IPv6 /56, or off [default: 1000]
    ///
    /// Ten times as many may come at once. Beyond, such requests are dropped; users who log in are served all the same.
    #[arg(long, value_name = "N", help_heading = "Policy")]
    stranger_rate: Option<StrangerRate>,

    /// Let clients take their allocations along to another address (RFC 8016) [default: refused with 405]
    #[arg(long, help_heading = "Policy")]
    mobility: bool,

    /// Tell clients with credentials the name and version of the server (SOFTWARE) [default: hidden]
    #[arg(long, help_heading = "Policy")]
    software: bool,

    /// The longest lifetime that an allocation is given at once [default: 1h]
    #[arg(long, value_name = "TIME", help_heading = "Policy")]
    max_lifetime: Option<Span>,

    /// The longest that allocations last, for tests: RFC 8656 gives them at least 10 minutes
    #[arg(long, value_name = "TIME", hide = true)]
    allocation_lifetime: Option<Span>,

    /// How long permissions last, for tests: clients count on the 5 minutes of RFC 8656
    #[arg(long, value_name = "TIME", hide = true)]
    permission_lifetime: Option<Span>,

    /// How long channels last, for tests: clients count on the 10 minutes of RFC 8656
    #[arg(long, value_name = "TIME", hide = true)]
    channel_lifetime: Option<Span>,

    /// The name by which clients reach this server, for the URLs that it hands out [default: its addresses]
    #[arg(long, value_name = "NAME", help_heading = "Web")]
    ice_host: Vec<PublicHost>,

    /// Serve /test, a page that tries in a visitor's browser which URLs get through [default: off]
    #[arg(long, help_heading = "Web")]
    test_page: bool,

    /// Where to serve /metrics, /livez, /readyz and /v1/status, or off [default: 127.0.0.1:9641]
    ///
    /// There is no password on it: keep it on the loopback or behind a firewall. `turnpike reload` and `turnpike drain` use it
    /// too; both are taken from this host only.
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Operation")]
    admin: Option<AdminListen>,
}

impl SettingsFlags {
    /// The flags in the shape of the file.
    pub(super) fn layer(self) -> Layer {
        Layer {
            listen: self.listen,
            realm: self.realm,
            realms: Vec::new(),
            shards: self.shards,
            mobility: self.mobility.then_some(true),
            software: self.software.then_some(true),
            relay: Relay {
                addresses: self.relay_address,
                ports: self.relay_ports,
                sockets: self.relay_sockets,
            },
            auth: Auth {
                users: self.user,
                users_file: self.users_file,
                secrets: self.auth_secret,
                secrets_file: self.auth_secrets_file,
                password_algorithms: self.password_algorithms,
                secret_algorithms: self.secret_algorithms,
            },
            datapath: Datapath {
                mode: self.datapath,
                interfaces: self.interface,
                max_bindings: self.max_bindings,
                answer_bindings: self.no_answer_bindings.then_some(false),
            },
            peers: Peers { allow: self.allow_peer, deny: self.deny_peer, overrides: Vec::new() },
            discovery: Discovery { enabled: self.nat_discovery.then_some(true) },
            alternate: Alternate {
                servers: self.alternate_server,
                domain: self.alternate_domain,
                when: self.alternate_when,
            },
            limits: Limits {
                user_quota: self.user_quota,
                total_quota: self.total_quota,
                allocation_bandwidth: self.allocation_bandwidth,
                allocation_packets: self.allocation_packets,
                allocation_peers: self.allocation_peers,
                user_bandwidth: self.user_bandwidth,
                user_packets: self.user_packets,
                user_new_peers: self.user_new_peers,
                stranger_rate: self.stranger_rate,
                max_lifetime: self.max_lifetime,
                allocation_lifetime: self.allocation_lifetime,
                permission_lifetime: self.permission_lifetime,
                channel_lifetime: self.channel_lifetime,
            },
            tls: Tls { cert: self.cert, key: self.key, ..Tls::default() },
            http: Http::default(),
            proxy_protocol: ProxyProtocol::default(),
            streams: Streams::default(),
            tcp_relay: TcpRelayLayer::default(),
            admin: Admin { listen: self.admin },
            ice: Ice { host: self.ice_host, ..Ice::default() },
            test_page: TestPage { enabled: self.test_page.then_some(true), ..TestPage::default() },
        }
    }
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
