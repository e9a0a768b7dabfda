//! The networks, in the order of docs/firewalls.md.

use super::network::{Also, Network, Proxy, Way};
use super::probe::Probe;
use super::url::Url;

const EVERY_PORT: &[Probe] = &Probe::EVERYWHERE;

const OUTWARD: &[Probe] = &[
    Probe::Udp(53),
    Probe::Udp(443),
    Probe::Udp(3478),
    Probe::Udp(40000),
    Probe::Tcp(53),
    Probe::Tcp(80),
    Probe::Tcp(443),
    Probe::Tcp(3478),
    Probe::StunUdp(3478),
    Probe::StunTcp(443),
];

const TCP: &[Probe] =
    &[Probe::Tcp(53), Probe::Tcp(80), Probe::Tcp(443), Probe::Tcp(3478), Probe::StunTcp(443)];

const OVER_TCP: &[Url] =
    &[Url::Tcp3478, Url::Tcp80, Url::Tcp443, Url::Tls443, Url::List, Url::Wss443, Url::Ws80];

/// What a proxy leaves that allows CONNECT to port 443 only.
const THROUGH_443: &[Url] = &[Url::Tcp443, Url::Tls443, Url::List, Url::Wss443];

/// What most networks are: a router, calls without sound, nothing in particular.
const PLAIN: Network = Network {
    row: 0,
    name: "",
    what: "",
    way: Way::Routed,
    inspects: "",
    rules: "",
    browser: &[],
    open: &[],
    connects: None,
    media: false,
    also: &[],
};

/// All of them.
pub const NETWORKS: &[Network] = &[
    Network {
        row: 1,
        name: "open",
        what: "nothing is blocked",
        rules: "accept",
        open: EVERY_PORT,
        connects: Some(&Url::EVERYWHERE),
        media: true,
        also: &[Also::StunBinding],
        ..PLAIN
    },
    Network {
        row: 2,
        name: "udp-443-only",
        what: "UDP to port 443, and nothing else",
        rules: "iifname inside udp dport 443 accept",
        open: &[Probe::Udp(443)],
        connects: Some(&[Url::Udp443, Url::List]),
        also: &[Also::RelayedByXdp],
        ..PLAIN
    },
    Network {
        row: 3,
        name: "no-udp",
        what: "all UDP is blocked",
        inspects: "meta l4proto udp jump block",
        rules: "iifname inside accept",
        open: TCP,
        connects: Some(OVER_TCP),
        media: true,
        ..PLAIN
    },
    Network {
        row: 4,
        name: "only-443-and-53",
        what: "TCP to ports 443 and 53, UDP to port 53",
        rules: "iifname inside tcp dport { 53, 443 } accept\n iifname inside udp dport 53 accept",
        open: &[Probe::Udp(53), Probe::Tcp(53), Probe::Tcp(443), Probe::StunTcp(443)],
        connects: Some(&[Url::Tcp443, Url::Tls443, Url::List, Url::Wss443]),
        also: &[Also::BrowserPort53, Also::NativePort53],
        ..PLAIN
    },
    Network {
        row: 5,
        name: "only-80-and-443",
        what: "TCP to ports 80 and 443",
        rules: "iifname inside tcp dport { 80, 443 } accept",
        open: &[Probe::Tcp(80), Probe::Tcp(443), Probe::StunTcp(443)],
        connects: Some(&[Url::Tcp80, Url::Tcp443, Url::Tls443, Url::List, Url::Wss443, Url::Ws80]),
        also: &[Also::PageBesideCalls(Url::Tcp80)],
        ..PLAIN
    },
    Network {
        row: 6,
        name: "stun-aware",
        what: "every packet is dropped that begins as a STUN message does",
        inspects: "@ih,32,32 0x2112a442 jump block",
        rules: "iifname inside accept",
        open: &[
            Probe::Udp(53),
            Probe::Udp(443),
            Probe::Udp(3478),
            Probe::Udp(40000),
            Probe::Tcp(53),
            Probe::Tcp(80),
            Probe::Tcp(443),
            Probe::Tcp(3478),
        ],
        connects: Some(&[Url::Tls443, Url::List, Url::Wss443, Url::Ws80]),
        ..PLAIN
    },
    Network {
        row: 7,
        name: "https-only",
        what: "TCP to port 443, and no STUN in the clear there",
        inspects: "@ih,32,32 0x2112a442 jump block",
        rules: "iifname inside tcp dport 443 accept",
        open: &[Probe::Tcp(443)],
        connects: Some(&[Url::Tls443, Url::List, Url::Wss443]),
        also: &[Also::PageBesideCalls(Url::Tls443)],
        ..PLAIN
    },
    Network {
        row: 8,
        name: "symmetric-nat-one",
        what: "a symmetric NAT before one end of the call",
        way: Way::SymmetricNat { both: false },
        rules: "iifname inside accept",
        open: OUTWARD,
        connects: Some(&Url::EVERYWHERE),
        ..PLAIN
    },
    Network {
        row: 8,
        name: "symmetric-nat-both",
        what: "a symmetric NAT before each end of the call",
        way: Way::SymmetricNat { both: true },
        rules: "iifname inside accept",
        open: OUTWARD,
        connects: Some(&Url::EVERYWHERE),
        also: &[Also::NoWayWithoutRelay],
        ..PLAIN
    },
    Network {
        row: 9,
        name: "proxy",
        what: "an HTTP proxy, CONNECT to port 443 only",
        way: Way::Proxy(Proxy::Connect),
        rules: "iifname inside ip daddr $PROXY tcp dport 3128 accept",
        open: &[Probe::Connect(443), Probe::ConnectAsUser(443)],
        connects: Some(THROUGH_443),
        ..PLAIN
    },
    Network {
        row: 10,
        name: "proxy-basic",
        what: "the same with Basic authentication, after a page was loaded",
        way: Way::Proxy(Proxy::Basic),
        rules: "iifname inside ip daddr $PROXY tcp dport 3128 accept",
        open: &[Probe::ConnectAsUser(443)],
        connects: Some(THROUGH_443),
        also: &[Also::ColdProxy],
        ..PLAIN
    },
    Network {
        row: 11,
        name: "proxy-intercepting",
        what: "an HTTP proxy that decrypts TLS and passes on HTTP and WebSocket only",
        way: Way::Proxy(Proxy::Intercepting),
        rules: "iifname inside ip daddr $PROXY tcp dport 3128 accept",
        open: &[],
        connects: Some(&[Url::Wss443, Url::Ws80]),
        also: &[Also::InterceptedCertificate],
        ..PLAIN
    },
    Network {
        row: 12,
        name: "browser-without-udp",
        what: "a browser that its policy forbids UDP past a proxy",
        rules: "accept",
        browser: &["--webrtc-ip-handling-policy=disable_non_proxied_udp"],
        open: EVERY_PORT,
        connects: Some(OVER_TCP),
        ..PLAIN
    },
    Network {
        row: 13,
        name: "allow-list",
        what: "one address is reachable, and no other",
        rules: "iifname inside ip daddr $SERVER accept",
        open: &[],
        // TCP 443 is at the server's second address here.
        connects: Some(&[
            Url::Udp3478,
            Url::Udp443,
            Url::Tcp3478,
            Url::Tcp80,
            Url::Tls443,
            Url::List,
            Url::Wss443,
            Url::Ws80,
        ]),
        also: &[Also::RelayedFromTheListener],
        ..PLAIN
    },
    Network {
        row: 14,
        name: "nothing-inbound",
        what: "whatever begins outside is blocked",
        rules: "iifname inside accept",
        open: OUTWARD,
        connects: Some(&Url::EVERYWHERE),
        ..PLAIN
    },
    Network {
        row: 15,
        name: "credentials-from-a-page",
        what: "TCP to port 443, and credentials by HTTPS",
        rules: "iifname inside tcp dport 443 accept",
        open: &[Probe::Tcp(443), Probe::StunTcp(443)],
        also: &[Also::CredentialsFromAPage],
        ..PLAIN
    },
    Network {
        row: 16,
        name: "ports-by-number",
        what: "UDP to port 3478, and the relay's four ports for peers",
        // The client's side and the peer's: the peer of this row is inside too.
        rules: "iifname inside ip daddr $SERVER udp dport { 3478, 34568-34571 } accept\n \
                iifname outside ip saddr $SERVER udp sport 34568-34571 accept",
        open: &[],
        also: &[Also::FourPorts],
        ..PLAIN
    },
    Network {
        row: 17,
        name: "sip-and-h323",
        what: "UDP whose ways are forgotten after three seconds, and pairs of ports",
        rules: "iifname inside accept",
        open: OUTWARD,
        also: &[Also::PairsAndOneWayStreams],
        ..PLAIN
    },
    Network {
        row: 18,
        name: "native-behind-proxy",
        what: "a client that knows no proxy, behind one with Basic authentication",
        way: Way::Proxy(Proxy::Basic),
        rules: "iifname inside ip daddr $PROXY tcp dport 3128 accept",
        open: &[Probe::ConnectAsUser(443)],
        also: &[Also::Tunnel],
        ..PLAIN
    },
];

/// The network with this name.
pub fn named(name: &str) -> Option<&'static Network> {
    NETWORKS.iter().find(|network| network.name == name)
}
