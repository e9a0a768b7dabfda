//! What `run` prints when it is ready.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use super::screen::Screen;
use super::status::interface_lines;
use crate::admin::Status;
use crate::config::{Scheme, Settings, User};
use crate::web::{IceUrls, ice_urls, page_origins};

/// Where the server can be reached, and with which credential if it made one up.
pub(super) struct Welcome<'a> {
    status: &'a Status,
    admin: Option<SocketAddr>,
    generated: Option<&'a User>,
    /// What clients are to be told.
    urls: Vec<String>,
    /// Where visitors may try them all.
    test_page: Option<String>,
}

impl<'a> Welcome<'a> {
    pub(super) fn new(
        settings: &Settings,
        status: &'a Status,
        admin: Option<SocketAddr>,
        generated: Option<&'a User>,
    ) -> Self {
        let IceUrls { mut turn, web_socket, .. } = ice_urls(settings, &settings.realm, &[]);
        let pages = settings.test_page.as_ref().and_then(|_| page_origins(settings).into_iter().next());
        let test_page = pages.map(|origin| format!("{origin}/test"));
        turn.extend(web_socket);
        let ice = &settings.ice;
        let named = !ice.hosts.is_empty() || !ice.urls.is_empty();
        // Names, as certificates have them, are known only from there.
        Self { status, admin, generated, urls: if named { turn } else { turn_urls(settings) }, test_page }
    }

    /// For people.
    pub(super) fn screen(&self) -> Screen {
        let status = self.status;
        let mut screen = Screen::default();
        screen.line(format_args!("turnpike {} is ready", status.version));
        screen.line("");
        screen.rows("listening", &status.listeners);
        screen.rows(
            "relaying",
            status.relay_addresses.iter().map(|a| format!("{a}   ports {}", status.relay_ports)),
        );
        screen.rows("data path", interface_lines(&status.interfaces));
        match self.admin {
            Some(address) => {
                screen.row("admin", format_args!("http://{address}   /metrics /livez /readyz /v1/status"))
            }
            None => screen.row("admin", "off"),
        }
        screen.rows("URL", &self.urls);
        screen.rows("test page", &self.test_page);
        if let Some(User { name, password }) = self.generated {
            let password = password.expose();
            screen.line("");
            screen.line("No user and no secret is configured. This user holds until the server stops:");
            screen.row("user", name);
            screen.row("password", password);
            let over_udp: Vec<_> =
                self.urls.iter().filter_map(|url| url.strip_suffix("?transport=udp")).collect();
            let first = self.urls.first().map(String::as_str).filter(|_| over_udp.is_empty());
            let tries = over_udp.into_iter().chain(first);
            let tries = tries.map(|url| format!("turnpike probe {url} --user {name} --password {password}"));
            screen.rows("try it", tries);
        }
        screen
    }

    /// One line for programs.
    pub(super) fn json(&self) -> String {
        let urls = &self.urls;
        let user = self.generated.map(|u| json!({ "username": u.name, "credential": u.password.expose() }));
        json!({ "status": self.status, "admin": self.admin, "url": urls.first(), "urls": urls, "generated": user })
            .to_string()
    }
}

/// What clients are to be told (RFC 7065): for each of UDP, TCP, TLS and DTLS the first listener, and the first of the other family. Behind a
/// 1:1 NAT it is the public address of each.
fn turn_urls(settings: &Settings) -> Vec<String> {
    type IsKind = fn(Scheme) -> bool;
    let kinds: [(IsKind, _, _); 4] = [
        (|scheme| scheme == Scheme::Udp, "turn", "udp"),
        (|scheme| scheme.is_stream() && !scheme.is_tls(), "turn", "tcp"),
        (Scheme::is_tls, "turns", "tcp"),
        (|scheme| scheme == Scheme::Dtls, "turns", "udp"),
    ];
    let urls = kinds.into_iter().flat_map(|(is_kind, scheme, transport)| {
        let mut listeners = settings.listen.iter().filter(move |l| is_kind(l.scheme)).map(|l| l.address);
        let first = listeners.next();
        let other = listeners.find(|l| first.is_some_and(|first| l.is_ipv4() != first.is_ipv4()));
        first.into_iter().chain(other).map(move |listener: SocketAddr| {
            let mapped = settings.relay_addresses.iter().find(|address| address.local == listener.ip());
            let ip: IpAddr = mapped.map_or(listener.ip(), |address| address.public);
            format!("{scheme}:{}?transport={transport}", SocketAddr::new(ip, listener.port()))
        })
    });
    urls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::testing::busy_status;
    use crate::config::{Host, parse};

    fn settings(text: &str) -> Settings {
        parse("t.toml".as_ref(), text).unwrap().resolve(&Host::default()).unwrap().settings
    }

    #[test]
    fn the_first_screen_has_all_that_is_needed_to_try_the_server() {
        let settings =
            settings("listen = ['udp://10.0.0.2:3478']\nrelay = { addresses = ['198.51.100.1/10.0.0.2'] }");
        let (status, user) = (busy_status(), "turnpike:0123abcd".parse().unwrap());
        let admin = Some("127.0.0.1:9641".parse().unwrap());
        let expected = "\
turnpike 0.1.0 is ready

listening    udp://10.0.0.2:3478
             udp://10.0.0.3:3478
relaying     198.51.100.1/10.0.0.2   ports 49152-65535
data path    eth0       xdp
             eth1       xdp-generic
                          driver mode: no native support (EOPNOTSUPP)
admin        http://127.0.0.1:9641   /metrics /livez /readyz /v1/status
URL          turn:198.51.100.1:3478?transport=udp

No user and no secret is configured. This user holds until the server stops:
user         turnpike
password     0123abcd
try it       turnpike probe turn:198.51.100.1:3478 --user turnpike --password 0123abcd";
        assert_eq!(Welcome::new(&settings, &status, admin, Some(&user)).screen().to_string(), expected);
    }

    #[test]
    fn a_server_of_both_families_shows_how_to_reach_each() {
        let settings = settings("listen = ['udp://[2001:db8::1]', 'udp://[2001:db8::2]', 'udp://10.0.0.2']");
        let user = "turnpike:0123abcd".parse().unwrap();
        let status = busy_status();
        let welcome = Welcome::new(&settings, &status, None, Some(&user));
        let shown = welcome.screen().to_string();
        let expected = "\
URL          turn:[2001:db8::1]:3478?transport=udp
             turn:10.0.0.2:3478?transport=udp
";
        assert!(shown.contains(expected), "{shown}");
        assert_eq!(shown.matches("turnpike probe turn:").count(), 2, "{shown}");
        assert!(
            welcome.json().contains("\"turn:[2001:db8::1]:3478?transport=udp\",\"turn:10.0.0.2"),
            "{}",
            welcome.json()
        );
    }

    #[test]
    fn each_transport_has_its_url_once() {
        let settings = settings(
            "listen = ['http://10.0.0.2', 'tcp://10.0.0.2', 'udp://10.0.0.2', 'tcp://[2001:db8::1]:443']",
        );
        let urls = turn_urls(&settings);
        assert_eq!(
            urls,
            [
                "turn:10.0.0.2:3478?transport=udp",
                "turn:10.0.0.2:80?transport=tcp",
                "turn:[2001:db8::1]:443?transport=tcp"
            ]
        );
    }

    #[test]
    fn the_test_page_is_where_the_server_is_whatever_its_name() {
        let shown = |ice: &str| {
            let settings = settings(&format!(
                "listen = ['udp://10.0.0.2', 'http://10.0.0.2']
                auth = {{ secrets = ['s'] }}
                test-page = {{ enabled = true }}
                [ice]
                {ice}"
            ));
            let screen = Welcome::new(&settings, &busy_status(), None, None).screen().to_string();
            let line = screen.lines().find_map(|line| line.strip_prefix("test page    "));
            line.expect("a line of the test page").to_owned()
        };
        assert_eq!(shown("host = 'turn.example.org'"), "http://turn.example.org/test");
        assert_eq!(shown("host = 'turnpike.x'"), "http://turnpike.x/test");
        assert_eq!(shown("urls = ['turn:turn.example.org']"), "http://10.0.0.2/test");
        assert_eq!(shown("urls = ['wss://turn.x:8443/turn']"), "https://turn.x:8443/test");
    }

    #[test]
    fn configured_credentials_are_not_shown() {
        let settings = settings(
            "listen = ['udp://10.0.0.2']\nauth = { users = ['alice:hunter2'], secrets = ['hunter3'] }",
        );
        let status = busy_status();
        let welcome = Welcome::new(&settings, &status, None, None);
        for shown in [welcome.screen().to_string(), welcome.json()] {
            assert!(shown.contains("turn:10.0.0.2:3478") && !shown.contains("hunter"), "{shown}");
        }
    }
}
