//! The URLs that clients are given, in the order in which they are to be tried.
//!
//! Browsers gather from all of them at once and prefer UDP, so the order is for people, for clients that try one after the
//! other, and for those that take the first few only. It goes from the fastest to the one that gets through most firewalls.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::config::{IceUrl, Listen, Origin, PublicHost, Realm, Settings, StreamSettings};
use crate::front::WEB_SOCKET_PATH;

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
    of_listeners(&settings.ice.hosts, listeners.map(ToString::to_string), |ip| public(settings, ip))
}

/// The origins (RFC 6454) that our own pages have in browsers, the one to tell people first: where the operator lists the URL of
/// WebSockets, its own, as a proxy may stand before the listeners; then what the listeners of streams make, each of which
/// serves the pages.
pub fn page_origins(settings: &Settings) -> Vec<Origin> {
    let listed = settings.ice.urls.iter().filter_map(|url| {
        let beside = url.as_str().strip_prefix("ws")?.strip_suffix(WEB_SOCKET_PATH)?;
        Some(format!("http{beside}"))
    });
    let places = places(settings.listen.iter().map(ToString::to_string));
    let made = for_browsers(&places).flat_map(|(way, address)| {
        let hosts = match &settings.ice.hosts[..] {
            [] => vec![public(settings, address.ip()).into()],
            hosts => hosts.to_vec(),
        };
        hosts.into_iter().map(move |host| web_address("http", way, &host, address.port()))
    });
    let mut origins: Vec<Origin> = Vec::new();
    // A URL with more of a path makes none: it is a proxy's, which need not have the pages beside it.
    for origin in listed.chain(made).filter_map(|text| text.parse().ok()) {
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins
}

/// Who else is served on the ports of streams. While there is a test page, it may open WebSockets wherever others must be
/// listed, or it would show that to be broken.
///
/// Its origins are those that the settings make. A request's own `Host` would not do: no page can forge it, but one that is not
/// ours can make its own name lead here once it is loaded (DNS rebinding), and without TLS nothing would tell.
pub fn stream_settings(settings: &Settings) -> StreamSettings {
    let mut streams = settings.streams.clone();
    // An empty list is no list: every page may.
    if settings.test_page.is_some() && !streams.websocket_origins.is_empty() {
        streams.websocket_origins.extend(page_origins(settings));
    }
    streams
}

/// The address by which one of this host is known outside.
fn public(settings: &Settings, ip: IpAddr) -> IpAddr {
    let of_nat = settings.relay_addresses.iter().find(|address| address.local == ip);
    of_nat.map_or(ip, |address| address.public)
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
    let places = places(listeners);
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

/// How TURN is spoken where, in the order of preference.
fn places(listeners: impl Iterator<Item = String>) -> Vec<(Way, SocketAddr)> {
    let read = |listener: String| {
        let (scheme, address) = listener.split_once("://")?;
        Some((Way::of(scheme)?, address.parse().ok()?))
    };
    let mut places: Vec<(Way, SocketAddr)> = listeners.filter_map(read).collect();
    places.sort_by_key(|(way, address)| way.rank(address.port()));
    places
}

/// Where HTTP is served, the best place first: at 443 where there is TLS there, else wherever there is TLS, else without.
fn for_browsers(places: &[(Way, SocketAddr)]) -> impl Iterator<Item = (Way, SocketAddr)> {
    let of = |way| places.iter().copied().filter(move |(w, _)| *w == way);
    of(Way::Tls).chain(of(Way::Tcp))
}

fn web_socket(hosts: &[PublicHost], places: &[(Way, SocketAddr)]) -> Option<String> {
    let (way, address) = for_browsers(places).next()?;
    Some(web_address("ws", way, hosts.first()?, address.port()) + WEB_SOCKET_PATH)
}

/// `SCHEME://HOST:PORT`, with the scheme that this one has where there is TLS, and without the port that need not be written.
fn web_address(scheme: &str, way: Way, host: &PublicHost, port: u16) -> String {
    let (secure, default) = if way == Way::Tls { ("s", 443) } else { ("", 80) };
    let port = if port == default { String::new() } else { format!(":{port}") };
    format!("{scheme}{secure}://{host}{port}")
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

    fn page_origins_of(listen: &[&str], ice: &str) -> Vec<String> {
        let text = format!(
            "listen = ['udp://10.0.0.2']\nrelay = {{ addresses = ['198.51.100.1/10.0.0.2'] }}\n[ice]\n{ice}"
        );
        let layer = crate::config::parse("t.toml".as_ref(), &text).unwrap();
        let mut settings = layer.resolve(&crate::config::Host::default()).unwrap().settings;
        // Without the certificate that a file would have to name.
        settings.listen.extend(listen.iter().map(|listen| listen.parse::<Listen>().unwrap()));
        page_origins(&settings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_pages_are_at_the_name_of_the_server_whatever_it_is() {
        let all =
            ["http://10.0.0.2:80", "tcp://10.0.0.2:8080", "tls://10.0.0.2:5349", "https://10.0.0.2:443"];
        let at = |name: &str| {
            let port = |scheme: &str, port: &str| format!("{scheme}://{name}{port}");
            vec![port("https", ""), port("https", ":5349"), port("http", ""), port("http", ":8080")]
        };
        for name in ["turn.example.org", "turnpike.x", "ws.turn", "[2001:db8::1]"] {
            assert_eq!(page_origins_of(&all, &format!("host = '{name}'")), at(name));
        }
        // Without a name, by the address that clients can reach.
        assert_eq!(page_origins_of(&all, ""), at("198.51.100.1"));
        let only_turn = "host = 'turn.x'\nurls = ['turn:turn.x']";
        assert_eq!(page_origins_of(&all, only_turn), at("turn.x"), "listed, and no WebSocket among them");
        assert_eq!(page_origins_of(&[], ""), [""; 0]);
    }

    #[test]
    fn a_listed_web_socket_says_where_the_pages_are_unless_its_path_is_another() {
        let of = |listed: &str| page_origins_of(&["http://10.0.0.2:8080"], &format!("urls = ['{listed}']"));
        let own = "http://198.51.100.1:8080";
        assert_eq!(of("wss://Turn.Example.org/turn"), ["https://turn.example.org", own]);
        assert_eq!(of("wss://turn.x:443/turn"), ["https://turn.x", own]);
        assert_eq!(of("ws://turn.x:443/turn"), ["http://turn.x:443", own]);
        assert_eq!(of("ws://turn.x:80/turn"), ["http://turn.x", own]);
        assert_eq!(of("wss://[2001:DB8:0::1]:0443/turn"), ["https://[2001:db8::1]", own]);
        assert_eq!(of("wss://turn.x/a/turn"), [own]);
        assert_eq!(of("wss://turn.x/relay"), [own]);
    }

    #[test]
    fn the_test_page_is_among_the_listed_origins_while_it_is_served() {
        let origins = |listed: &str, page: bool| {
            let text = format!(
                "listen = ['http://10.0.0.2']
                auth = {{ secrets = ['s'] }}
                ice = {{ host = ['a.test', 'b.test'] }}
                test-page = {{ enabled = {page} }}
                http = {{ websocket-origins = [{listed}] }}"
            );
            let layer = crate::config::parse("t.toml".as_ref(), &text).unwrap();
            let settings = layer.resolve(&crate::config::Host::default()).unwrap().settings;
            let origins = stream_settings(&settings).websocket_origins;
            origins.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all = ["https://app.test", "http://a.test", "http://b.test"];
        assert_eq!(origins("'https://app.test'", true), all);
        assert_eq!(origins("'https://app.test'", false), all[..1]);
        assert_eq!(origins("", true), [""; 0], "every page");
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
