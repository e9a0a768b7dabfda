//! The flags: what they say, and what their help does.

use clap::{CommandFactory as _, Parser};

use super::*;
use crate::config::Scheme;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: SettingsFlags,
}

fn parse(line: &str) -> Result<Layer, String> {
    let words = std::iter::once("turnpike").chain(line.split_whitespace());
    Flags::try_parse_from(words).map(|flags| flags.settings.layer()).map_err(|e| e.to_string())
}

#[test]
fn flags_say_the_same_as_the_file() {
    let flags = "--listen udp://10.0.0.2:3478 --listen udp://10.0.0.3 --listen https://10.0.0.3 --cert c.pem --key k.pem --realm example.org --shards 2 --mobility --software \
         --relay-address 198.51.100.1/10.0.0.2 --relay-ports 50000-60000 --relay-sockets each --user alice:a:b --auth-secret old \
         --auth-secret new --users-file u --auth-secrets-file s --datapath xdp --interface eth0 --max-bindings 5 --no-answer-bindings \
         --allow-peer 10.0.0.0/8 --deny-peer 192.0.2.1 --nat-discovery \
         --alternate-server 192.0.2.9:443 --alternate-server [2001:db8::9] --alternate-domain turn2.example.org \
         --alternate-when always --user-quota 3 --total-quota 4 --max-lifetime 2h \
         --allocation-bandwidth 8Mbit --allocation-packets 2000 --allocation-peers 20 --user-bandwidth 1Gbit \
         --user-packets 8000 --user-new-peers 120 --stranger-rate off \
         --ice-host turn.example.org --ice-host [2001:db8::1] --test-page \
         --admin off --password-algorithms md5,sha-256 --secret-algorithms sha-256";
    let file = r#"
            listen = ["udp://10.0.0.2:3478", "udp://10.0.0.3", "https://10.0.0.3:443"]
            tls = { cert = "c.pem", key = "k.pem" }
            realm = "example.org"
            shards = 2
            mobility = true
            software = true
            relay = { addresses = ["198.51.100.1/10.0.0.2"], ports = "50000-60000", sockets = "each" }
            datapath = { mode = "xdp", interfaces = ["eth0"], max-bindings = 5, answer-bindings = false }
            peers = { allow = ["10.0.0.0/8"], deny = ["192.0.2.1"] }
            discovery = { enabled = true }
            alternate = { servers = ["192.0.2.9:443", "[2001:db8::9]:3478"], domain = "turn2.example.org", when = "always" }
            admin = { listen = "off" }
            ice = { host = ["turn.example.org", "2001:db8::1"] }
            test-page = { enabled = true }

            [auth]
            users = ["alice:a:b"]
            secrets = ["old", "new"]
            users-file = "u"
            secrets-file = "s"
            password-algorithms = ["md5", "sha-256"]
            secret-algorithms = ["sha-256"]

            [limits]
            user-quota = 3
            total-quota = 4
            max-lifetime = 7200
            allocation-bandwidth = "8Mbit"
            allocation-packets = 2000
            allocation-peers = 20
            user-bandwidth = "1000Mbit"
            user-packets = 8000
            user-new-peers = 120
            stranger-rate = "off"
        "#;
    assert_eq!(parse(flags).unwrap(), crate::config::parse("t.toml".as_ref(), file).unwrap());
    assert_eq!(parse("").unwrap(), Layer::default());
}

/// What `--help` says of a flag.
fn help(flag: &str) -> String {
    let command = Flags::command();
    let mut all = command.get_arguments();
    let found = all.find(|argument| argument.get_long() == Some(flag)).expect("a flag");
    found.get_long_help().expect("a text").to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_help_of_listen_explains_every_scheme() {
    let text = help("listen");
    for scheme in Scheme::ALL {
        let (name, port) = (scheme.name(), scheme.default_port());
        let shown = [format!(" {name} ({port})"), format!(" {name} (port {port})")];
        assert!(shown.iter().any(|shown| text.contains(shown)), "{name} is not in {text}");
    }
}

/// The page has them all: another test sees to it.
#[test]
fn the_help_of_config_names_every_key_of_the_operators_page() {
    let page = include_str!("../../../docs/operations.md");
    let file = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let text = help("config");
    let list_of = |title: &str| {
        let (_, list) = text.split_once(title).unwrap_or_else(|| panic!("{title} is not in {text}"));
        list.split([';', '.']).next().unwrap_or_default().replace(',', " ")
    };
    let mut list = list_of("Keys are the flags' names:");
    let mut keys = 0;
    for line in file.lines() {
        if line.starts_with('[') {
            let title = line.split_inclusive(']').take_while(|part| part.ends_with(']')).collect::<String>();
            list = list_of(&format!(" {title} "));
            if list.contains("first four of [auth]") {
                list = format!("{list} {}", list_of(" [auth] "));
            }
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with([' ', '#'])) {
            assert!(list.split_whitespace().any(|word| word == key), "{key} is not in {list}");
            keys += 1;
        }
    }
    assert!(keys > 70, "{keys}");
}

#[test]
fn a_bad_peer_rule_stops_the_start_and_names_its_flag() {
    let complaint = parse("--deny-peer 10.0.0.0/8 --deny-peer 192.168.0.0/33").unwrap_err();
    assert!(complaint.contains("'192.168.0.0/33' for '--deny-peer <CIDR>'"), "{complaint}");
    assert!(complaint.contains("prefix length must be a number from 0 to 32"), "{complaint}");
    let complaint = parse("--listen sctp://10.0.0.2").unwrap_err();
    assert!(
        complaint.contains("unknown scheme \"sctp\": write udp://ADDRESS:PORT, or udp, tcp, tls"),
        "{complaint}"
    );
}
