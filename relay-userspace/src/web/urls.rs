//! The URLs that clients are given, in the order in which they are to be tried.
//!
//! Browsers gather from all of them at once and prefer UDP, so the order is for people, for clients that try one after the
//! other, and for those that take the first few only. It goes from the fastest to the one that gets through most firewalls.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::config::{IceUrl, Listen, PublicHost, Realm, Settings};

/// What a client in a browser is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IceUrls {
    /// `turn:` and `turns:`, which need credentials.
    pub turn: Vec<String>,
    /// `stun:`, which need none.
    pub stun: Vec<String>,
    /// Of TURN over WebSockets, which no browser takes among its ICE servers.
    pub web_socket: Option<String>,
}

/// How TURN is spoken at a port. In the order of preference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Way {
    Udp,
    Tcp,
    Tls,
}

impl Way {
    /// By the scheme of a listener. One for HTTP takes TURN as well. No browser speaks DTLS to a TURN server: they take its URL for
    /// one of TLS over TCP, and would have two allocations there, or none.
    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "udp" => Some(Self::Udp),
            "tcp" | "http" => Some(Self::Tcp),
            "tls" | "https" => Some(Self::Tls),
            _ => None,
        }
    }

    /// The ports to try first.
    ///
    /// Networks that let some UDP through do so at 3478 or 443. Those that let no UDP through seldom let TCP through to other
    /// ports than those of the web.
    fn ports(self) -> &'static [u16] {
        match self {
            Self::Udp => &[3478, 443],
            Self::Tcp => &[80, 443, 3478],
            Self::Tls => &[443, 5349],
        }
    }

    /// The port that need not be written (RFC 7065 section 3.2). It is written all the same, as a person is to see it.
    fn rank(self, port: u16) -> (Self, usize, u16) {
        let first = self.ports().iter().position(|known| *known == port);
        (self, first.unwrap_or(self.ports().len()), port)
    }

    fn url(self, host: &PublicHost, port: u16) -> String {
        match self {
            Self::Udp => format!("turn:{host}:{port}?transport=udp"),
            Self::Tcp => format!("turn:{host}:{port}?transport=tcp"),
            Self::Tls => format!("turns:{host}:{port}?transport=tcp"),
        }
    }
}

/// The URLs for clients of a realm: those that `explicit` lists, else those that the settings list, else what the listeners that
/// serve the realm make.
pub fn of_settings(settings: &Settings, realm: &Realm, explicit: &[IceUrl]) -> IceUrls {
    for listed in [explicit, &settings.ice.urls] {
        if !listed.is_empty() {
            return listed_urls(listed);
        }
    }
    let is_for_others = |listen: &Listen| {
        let mut others = settings.realms.iter().filter(|other| other.name != *realm);
        others.any(|other| other.origins.is_empty() && other.listeners.contains(listen))
    };
    let own = settings.realms.iter().find(|other| other.name == *realm);
    let own = own.map(|own| own.listeners.as_slice()).unwrap_or_default();
    let serves =
        |listen: &&Listen| if own.is_empty() { !is_for_others(listen) } else { own.contains(listen) };
    let listeners = settings.listen.iter().filter(serves);
    let texts = listeners.map(ToString::to_string);
    let public = |ip: IpAddr| {
        let of_nat = settings.relay_addresses.iter().find(|address| address.local == ip);
        of_nat.map_or(ip, |address| address.public)
    };
    of_listeners(&settings.ice.hosts, texts, public)
}

/// Those that an operator lists, in the operator's order.
fn listed_urls(listed: &[IceUrl]) -> IceUrls {
    let mut urls = IceUrls::default();
    for url in listed {
        match url {
            url if url.is_web_socket() => urls.web_socket = urls.web_socket.or(Some(url.to_string())),
            url if url.is_stun() => urls.stun.push(url.to_string()),
            url => urls.turn.push(url.to_string()),
        }
    }
    urls
}

/// From listeners as they are written, `SCHEME://ADDRESS:PORT`. `public` is the address by which a listener's is known outside.
fn of_listeners(
    hosts: &[PublicHost],
    listeners: impl Iterator<Item = String>,
    public: impl Fn(IpAddr) -> IpAddr,
) -> IceUrls {
    let mut places: Vec<(Way, SocketAddr)> = Vec::new();
    for listener in listeners {
        let Some((scheme, address)) = listener.split_once("://") else { continue };
        if let (Some(way), Ok(address)) = (Way::of(scheme), address.parse()) {
            places.push((way, address));
        }
    }
    places.sort_by_key(|(way, address)| way.rank(address.port()));

    let mut urls = IceUrls::default();
    let mut seen = HashSet::new();
    for &(way, address) in &places {
        let names = match (hosts, way) {
            // A certificate has a name in it, and hardly ever an address.
            ([], Way::Tls) => Vec::new(),
            ([], _) => vec![public(address.ip()).into()],
            _ => hosts.to_vec(),
        };
        for name in names {
            let url = way.url(&name, address.port());
            if seen.insert(url.clone()) {
                urls.turn.push(url);
                if way == Way::Udp && urls.stun.is_empty() {
                    urls.stun.push(format!("stun:{name}:{}", address.port()));
                }
            }
        }
    }
    urls.web_socket = web_socket(hosts, &places);
    urls
}

/// The best place for WebSockets: at 443 where there is TLS there, else wherever there is TLS, else without.
fn web_socket(hosts: &[PublicHost], places: &[(Way, SocketAddr)]) -> Option<String> {
    let host = hosts.first()?;
    let of = |way| places.iter().find(move |(w, _)| *w == way).map(|(_, address)| address.port());
    let (scheme, port, default) = match (of(Way::Tls), of(Way::Tcp)) {
        (Some(port), _) => ("wss", port, 443),
        (None, Some(port)) => ("ws", port, 80),
        (None, None) => return None,
    };
    let port = if port == default { String::new() } else { format!(":{port}") };
    Some(format!("{scheme}://{host}{port}/turn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_served_at_its_own_listeners_and_the_default_realm_at_no_others() {
        let text = "listen = ['udp://127.0.0.1:3478', 'udp://127.0.0.1:443', 'udp://127.0.0.1:9000']
            realm = 'r'
            [[realms]]
            name = 'own'
            listeners = ['udp://127.0.0.1:443']
            secrets = ['s']
            [[realms]]
            name = 'page'
            listeners = ['udp://127.0.0.1:9000']
            origins = ['https://page.example']
            secrets = ['s']";
        let layer = crate::config::parse("t.toml".as_ref(), text).unwrap();
        let settings = layer.resolve(&crate::config::Host::default()).unwrap().settings;
        let ports = |realm: &str| {
            let urls = of_settings(&settings, &realm.parse().unwrap(), &[]).turn;
            urls.iter().map(|url| url.split([':', '?']).nth(2).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            [ports("r"), ports("own"), ports("page")],
            [vec!["3478", "9000"], vec!["443"], vec!["9000"]]
        );
    }

    fn derived(hosts: &[&str], listeners: &[&str]) -> IceUrls {
        let hosts: Vec<PublicHost> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let nat = |ip: IpAddr| if ip == IpAddr::from([10, 0, 0, 2]) { [198, 51, 100, 1].into() } else { ip };
        of_listeners(&hosts, listeners.iter().map(ToString::to_string), nat)
    }

    #[test]
    fn the_order_goes_from_the_fastest_to_what_gets_through_most_firewalls() {
        let all = [
            "https://192.0.2.1:443",
            "tls://192.0.2.1:5349",
            "tcp://192.0.2.1:9000",
            "http://192.0.2.1:80",
            "tcp://192.0.2.1:3478",
            "dtls://192.0.2.1:5349",
            "udp://192.0.2.1:9000",
            "udp://192.0.2.1:443",
            "tcp://192.0.2.1:443",
            "udp://192.0.2.1:3478",
        ];
        let expected = [
            "turn:turn.example.org:3478?transport=udp",
            "turn:turn.example.org:443?transport=udp",
            "turn:turn.example.org:9000?transport=udp",
            "turn:turn.example.org:80?transport=tcp",
            "turn:turn.example.org:443?transport=tcp",
            "turn:turn.example.org:3478?transport=tcp",
            "turn:turn.example.org:9000?transport=tcp",
            "turns:turn.example.org:443?transport=tcp",
            "turns:turn.example.org:5349?transport=tcp",
        ];
        let urls = derived(&["turn.example.org"], &all);
        assert_eq!(urls.turn, expected);
        assert_eq!(urls.stun, ["stun:turn.example.org:3478"]);
        assert_eq!(urls.web_socket.as_deref(), Some("wss://turn.example.org/turn"));
    }

    #[test]
    fn listeners_of_both_families_at_one_port_are_one_url_of_the_name_and_two_of_the_addresses() {
        let both = ["udp://10.0.0.2:3478", "udp://[2001:db8::1]:3478"];
        assert_eq!(derived(&["t.test"], &both).turn, ["turn:t.test:3478?transport=udp"]);
        // Behind a 1:1 NAT, the address that clients can reach.
        let addresses = ["turn:198.51.100.1:3478?transport=udp", "turn:[2001:db8::1]:3478?transport=udp"];
        let urls = derived(&[], &both);
        assert_eq!(
            (urls.turn, urls.stun),
            (addresses.map(Into::into).into(), vec!["stun:198.51.100.1:3478".into()])
        );
    }

    #[test]
    fn several_names_take_turns_at_each_way() {
        let urls = derived(&["a.test", "b.test"], &["tls://192.0.2.1:443", "udp://192.0.2.1:3478"]);
        let expected = [
            "turn:a.test:3478?transport=udp",
            "turn:b.test:3478?transport=udp",
            "turns:a.test:443?transport=tcp",
            "turns:b.test:443?transport=tcp",
        ];
        assert_eq!(urls.turn, expected);
    }

    #[test]
    fn without_a_name_there_is_neither_tls_nor_a_web_socket() {
        let urls = derived(&[], &["tls://192.0.2.1:443", "tcp://192.0.2.1:80"]);
        assert_eq!((urls.turn, urls.web_socket), (vec!["turn:192.0.2.1:80?transport=tcp".into()], None));
    }

    #[test]
    fn a_web_socket_is_secure_where_it_can_be() {
        let at = |listeners: &[&str]| derived(&["t.test"], listeners).web_socket;
        assert_eq!(at(&["tls://192.0.2.1:8443"]).as_deref(), Some("wss://t.test:8443/turn"));
        assert_eq!(
            at(&["http://192.0.2.1:80", "tls://192.0.2.1:5349"]).as_deref(),
            Some("wss://t.test:5349/turn")
        );
        assert_eq!(at(&["http://192.0.2.1:80"]).as_deref(), Some("ws://t.test/turn"));
        assert_eq!(at(&["tcp://192.0.2.1:8080"]).as_deref(), Some("ws://t.test:8080/turn"));
        assert_eq!(at(&["udp://192.0.2.1:3478", "dtls://192.0.2.1:5349"]), None);
    }
}
