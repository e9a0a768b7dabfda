//! What a network is, as data.

use super::probe::Probe;
use super::url::Url;

/// A network between a client and the world.
#[derive(Debug)]
pub struct Network {
    /// Its number in the list of networks (docs/firewalls.md).
    pub row: u8,
    /// Its name, for the command line and the matrix.
    pub name: &'static str,
    /// What it is like, in a sentence.
    pub what: &'static str,
    /// How packets get out at all.
    pub way: Way,
    /// Rules of nftables for every packet that comes to the router. To jump to `block` drops and counts it.
    pub inspects: &'static str,
    /// Rules for those packets that are no answers to what was let through before; what fits none is dropped and counted.
    /// `$SERVER` and `$PROXY` are addresses, `inside` and `outside` the router's interfaces.
    pub rules: &'static str,
    /// Flags for the browser beyond those that it always has.
    pub browser: &'static [&'static str],
    /// What passes to and from a machine elsewhere; nothing else of [`Probe::EVERYWHERE`] does. This is how the lab knows
    /// that the network is what it says.
    pub open: &'static [Probe],
    /// By which URLs a browser connects; by no others. Nothing is tried where this is `None`.
    pub connects: Option<&'static [Url]>,
    /// Whether calls in this network carry the sound of a (fake) microphone too.
    pub media: bool,
    /// What is tried beyond the URLs.
    pub also: &'static [Also],
}

/// How packets get from the client to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Through the router, as they are.
    Routed,
    /// Through a router with a symmetric NAT. With `both`, the other end of a call is behind another such router, else it
    /// is a machine of the outside.
    SymmetricNat {
        /// Whether the other end of a call has one as well.
        both: bool,
    },
    /// Through an HTTP proxy, which alone the router lets them reach.
    Proxy(Proxy),
}

/// What an HTTP proxy does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxy {
    /// CONNECT to port 443, and pages of port 80.
    Connect,
    /// The same for those who log in (Basic authentication).
    Basic,
    /// Decrypts what goes through it, and passes on HTTP and WebSocket only.
    Intercepting,
}

/// What is tried in one network only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Also {
    /// STUN Binding requests over UDP and over TCP to port 3478, by a client that is no browser.
    StunBinding,
    /// The packets of UDP 443 are forwarded by XDP.
    RelayedByXdp,
    /// Clients that are no browsers use port 53, over UDP and TCP.
    NativePort53,
    /// So does a browser that was started with `--explicitly-allowed-ports=53`.
    BrowserPort53,
    /// curl gets a page from the port on which calls go on.
    PageBesideCalls(Url),
    /// Without a relay two ends behind symmetric NATs do not find each other.
    NoWayWithoutRelay,
    /// Before a page was loaded through a proxy that wants a login, TURN does not get through it.
    ColdProxy,
    /// The proxy shows a certificate of its own in place of the server's.
    InterceptedCertificate,
    /// Relayed addresses are at the address of the listener.
    RelayedFromTheListener,
    /// A page asks for credentials, uses them, and asks again when they have expired.
    CredentialsFromAPage,
    /// Four ports to relay from, and no fifth allocation.
    FourPorts,
    /// Ports in pairs, and long streams in one direction.
    PairsAndOneWayStreams,
    /// A client that knows no proxy, through `turnpike tunnel`.
    Tunnel,
}
