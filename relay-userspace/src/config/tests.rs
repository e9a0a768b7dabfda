use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::datapath::Request;

fn host() -> Host {
    Host {
        addresses: [("lo", "127.0.0.1"), ("eth0", "10.0.0.2"), ("eth1", "192.0.2.7")]
            .map(|(interface, ip)| (interface.to_owned(), ip.parse().unwrap()))
            .into(),
        default_interface: Some("eth0".into()),
        name: Some("relay7.example.org".into()),
        ..Host::default()
    }
}

fn file(text: &str) -> Result<Layer, ConfigError> {
    parse(Path::new("turnpike.toml"), text)
}

fn resolved(text: &str) -> Result<Resolved, ConfigError> {
    file(text)?.resolve(&host())
}

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const FULL: &str = r#"
listen = ["udp://10.0.0.2:3478", "udp://192.0.2.7"]
realm = "example.org"
shards = 4
mobility = true
software = true

[relay]
addresses = ["198.51.100.1/10.0.0.2", "192.0.2.7"]
ports = "50000-60000"

[auth]
users = { alice = "wonder:land", "bob" = "b" }
secrets = ["old", "new"]

[datapath]
mode = "xdp-generic"
interfaces = ["eth0"]
max-bindings = 1000000

[peers]
allow = ["10.1.0.0/16"]
deny = ["203.0.113.9"]

[limits]
user-quota = 5
total-quota = 1000
max-lifetime = "2h"

[admin]
listen = "off"
"#;

#[test]
fn every_key_of_the_file_reaches_the_settings() {
    let Resolved { settings, warnings } = resolved(FULL).unwrap();
    assert_eq!(warnings, [""; 0]);
    let shown: Vec<_> = settings.listen.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["udp://10.0.0.2:3478", "udp://192.0.2.7:3478"]);
    assert_eq!(settings.realm.as_str(), "example.org");
    assert_eq!(settings.shards, 4);
    let shown: Vec<_> = settings.relay_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["198.51.100.1/10.0.0.2", "192.0.2.7"]);
    assert_eq!(settings.relay_ports.range(), 50000..=60000);
    let users: Vec<_> = settings.users.iter().map(|u| (u.name.as_str(), u.password.expose())).collect();
    assert_eq!(users, [("alice", "wonder:land"), ("bob", "b")]);
    let secrets: Vec<_> = settings.secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["old", "new"]);
    assert_eq!(settings.datapath, Request::XdpGeneric);
    assert_eq!(settings.interfaces, ["eth0"]);
    assert_eq!(settings.max_bindings, 1_000_000);
    assert_eq!(settings.allow_peers, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(settings.deny_peers, ["203.0.113.9".parse().unwrap()]);
    assert_eq!((settings.user_quota, settings.total_quota), (Some(5), Some(1000)));
    assert_eq!(settings.max_lifetime.as_secs(), 7200);
    assert!(settings.mobility && settings.software);
    assert_eq!((settings.admin, settings.admin_is_explicit), (AdminListen::Off, true));
}

#[test]
fn nothing_said_means_the_default_routes_address_and_the_hosts_name() {
    let Resolved { settings, warnings } = Layer::default().resolve(&host()).unwrap();
    assert_eq!(settings.listen, ["udp://10.0.0.2:3478".parse().unwrap()]);
    assert_eq!(settings.relay_addresses, ["10.0.0.2".parse().unwrap()]);
    assert_eq!(settings.relay_ports, DEFAULT_RELAY_PORTS);
    assert_eq!(settings.realm.as_str(), "relay7.example.org");
    assert_eq!(settings.datapath, Request::Auto);
    assert_eq!((settings.admin, settings.admin_is_explicit), (AdminListen::On(DEFAULT_ADMIN), false));
    assert_eq!(settings.max_lifetime, DEFAULT_MAX_LIFETIME);
    assert!(!settings.mobility && !settings.software);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn relay_addresses_default_to_those_of_the_listeners_each_once() {
    let text = r#"listen = ["udp://10.0.0.2:3478", "udp://10.0.0.2:443", "udp://192.0.2.7"]"#;
    let addresses = resolved(text).unwrap().settings.relay_addresses;
    assert_eq!(addresses, ["10.0.0.2".parse().unwrap(), "192.0.2.7".parse().unwrap()]);
}

#[test]
fn a_mistake_in_the_file_is_refused_with_its_place_and_what_to_write() {
    let cases = [
        ("lisen = []", "1:1: unknown key \"lisen\": did you mean \"listen\"?"),
        ("\n[relay]\n  adresses = []", "3:3: unknown key \"adresses\": did you mean \"addresses\"?"),
        ("[limits]\nspeed = 1", "2:1: unknown key \"speed\": known here are"),
        ("[turn]\n", "1:2: unknown key \"turn\": known here are"),
        ("realm = 'a'\nrealm = 'b'", "2:1: duplicate key"),
        ("realm = ", "1:9: "),
        ("realm = ''", "1:9: the realm is empty"),
        ("listen = 'udp://10.0.0.2'", "1:10: found string, expected a list, as in [\"...\"]"),
        ("realm = 'say \"hi\"'", "1:9: the realm \"say \\\"hi\\\"\" has a quote"),
        ("realm = \"a\\u0000b\"", "1:9: the realm \"a\\0b\" has a quote, a backslash or a control character"),
        ("listen = ['10.0.0.2:3478']", "1:11: \"10.0.0.2:3478\" has no scheme: write udp://"),
        ("listen = [\n  'udp://10.0.0.2',\n  'tls://10.0.0.2',\n]", "3:3: tls:// is not supported yet"),
        ("listen = ['sctp://10.0.0.2']", "1:11: unknown scheme \"sctp\""),
        ("listen = ['udp://relay.example.org']", "1:11: \"relay.example.org\" is no IP address"),
        ("listen = ['udp://10.0.0.2:0']", "1:11: port 0"),
        (
            "listen = ['udp://2001:db8::1:3478']",
            "1:11: IPv6 addresses take brackets: write udp://[2001:db8::1:3478]:3478",
        ),
        (
            "listen = ['udp://[fe80::1%eth0]:3478']",
            "1:11: \"[fe80::1%eth0]:3478\" is an address of one link only",
        ),
        ("listen = ['udp://[10.0.0.2]']", "1:11: \"[10.0.0.2]\" is no IP address"),
        ("[relay]\naddresses = ['10.0.0.300']", "2:14: \"10.0.0.300\" is no IP address"),
        (
            "[relay]\naddresses = ['2001:db8::1/10.0.0.2']",
            "2:14: 2001:db8::1 and 10.0.0.2 are of different families",
        ),
        ("[relay]\nports = '60000-50000'", "2:9: 60000-50000 runs backwards"),
        ("[relay]\nports = '50000'", "2:9: \"50000\" is no port range"),
        ("[relay]\nports = '0-65535'", "2:9: port 0"),
        ("[relay]\nports = '1-70000'", "2:9: \"1-70000\" is no port range"),
        ("[auth]\nusers = { alice = '' }", "2:9: user \"alice\" has no password"),
        ("[auth]\nusers = ['alice']", "2:10: a user is written NAME:PASSWORD"),
        ("[auth]\nusers = [':x']", "2:10: a user without a name"),
        ("[auth]\nusers = ['a\tb:x']", "2:10: the user name \"a\\tb\" has a control character"),
        ("[auth]\nsecrets = ['s', '']", "2:17: an empty shared secret lets everybody in"),
        ("[auth]\nusers = ['a:0xhunter2']", "2:10: user \"a\": what begins with 0x is read as a key"),
        (
            "[auth]\npassword-algorithms = ['sha-1']",
            "2:24: \"sha-1\" is no password algorithm: write sha-256",
        ),
        ("[auth]\nsecret-algorithms = ['md5']", "2:22: \"md5\" makes no passwords: write sha-1 or sha-256"),
        ("[[realms]]\nusers = ['a:b']", "1:1: missing field `name`"),
        ("[[realms]]\nname = 'n'\nnane = 'n'", "3:1: unknown key \"nane\": did you mean \"name\"?"),
        ("[[realms]]\nname = 'a\"b'", "2:8: the realm \"a\\\"b\" has a quote"),
        ("[[realms]]\nname = 'n'\norigins = ['x.example']", "3:12: \"x.example\" is no origin"),
        (
            "[[realms]]\nname = 'n'\norigins = ['https://x.example/']",
            "3:12: \"https://x.example/\" is no origin",
        ),
        ("[datapath]\nmode = 'fast'", "2:8: unknown variant `fast`, expected one of `auto`, `xdp`"),
        ("[peers]\nallow = [\n'10.0.0.0/8',\n'10.0.0.0/33']", "4:1: \"10.0.0.0/33\": the prefix length"),
        ("[peers]\ndeny = ['example.org']", "2:9: \"example.org\" is not an IP address or prefix"),
        ("[limits]\nuser-quota = -1", "2:14: invalid value"),
        ("[limits]\nmax-lifetime = 'soon'", "2:16: \"soon\" is no length of time"),
        ("[discovery]\nenabled = 'yes'", "2:11: found string, expected a boolean"),
        (
            "[alternate]\nservers = ['relay.example.org']",
            "2:12: \"relay.example.org\" is no IP address with a port",
        ),
        ("[alternate]\nservers = ['192.0.2.9:0']", "2:12: \"192.0.2.9:0\" is no place where a server can"),
        ("[alternate]\nservers = ['[::]:3478']", "2:12: \"[::]:3478\" is no place where a server can"),
        ("[alternate]\ndomain = 'turn 2'", "2:10: \"turn 2\" is no domain name"),
        ("[alternate]\nwhen = 'never'", "2:8: \"never\" is neither always nor draining"),
        ("[admin]\nlisten = 'localhost'", "2:10: \"localhost\" is neither ADDRESS:PORT nor off"),
    ];
    for (text, expected) in cases {
        let complaint = file(text).expect_err(text).to_string();
        let expected = format!("turnpike.toml:{expected}");
        assert!(complaint.starts_with(&expected), "{text}\n  said      {complaint}\n  expected  {expected}");
    }
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let cases = [
        (
            "listen = ['udp://10.0.0.2:50000']",
            "listener udp://10.0.0.2:50000 lies in the relay port range 49152-65535",
        ),
        (
            "listen = ['udp://10.0.0.2', 'udp://10.0.0.2:3478']",
            "listener udp://10.0.0.2:3478 is listed twice",
        ),
        (
            "listen = ['udp://0.0.0.0']",
            "listener udp://0.0.0.0:3478: name one of this host's addresses (127.0.0.1, 10",
        ),
        (
            "listen = ['udp://[fe80::1]:3478']",
            "listener udp://[fe80::1]:3478: a link-local address reaches one link only",
        ),
        (
            "listen = ['udp://[::]']",
            "listener udp://[::]:3478: name one of this host's addresses (127.0.0.1, 10",
        ),
        (
            "listen = ['udp://[::ffff:10.0.0.2]']",
            "listener udp://[::ffff:10.0.0.2]:3478: this is an IPv4 address: write 10.0.0.2",
        ),
        ("[relay]\naddresses = ['fe80::1']", "relay address fe80::1: a link-local address"),
        (
            "[relay]\naddresses = ['fe80::1/2001:db8::1']",
            "relay address fe80::1/2001:db8::1: a link-local address",
        ),
        ("[relay]\naddresses = ['ff02::1']", "relay address ff02::1: a multicast"),
        (
            "[relay]\naddresses = ['2001:db8:1::1/2001:db8::1', '2001:db8::1']",
            "relay address 2001:db8::1 is listed twice",
        ),
        ("listen = ['udp://224.0.0.1']", "listener udp://224.0.0.1:3478: a multicast"),
        ("[relay]\naddresses = ['10.0.0.2', '192.0.2.9/10.0.0.2']", "relay address 10.0.0.2 is listed twice"),
        ("[relay]\naddresses = ['192.0.2.9/0.0.0.0']", "relay address 192.0.2.9/0.0.0.0: name one of"),
        (
            "[relay]\naddresses = ['0.0.0.0/10.0.0.2']",
            "relay address 0.0.0.0/10.0.0.2: name the public address",
        ),
        (
            "[relay]\naddresses = ['198.51.100.1/10.0.0.2', '198.51.100.1/192.0.2.7']",
            "relay address 198.51.100.1 is listed twice",
        ),
        ("shards = 1025", "shards is 1025: one for each CPU is best"),
        (
            "[discovery]\nenabled = true",
            "nat-discovery needs listeners at two addresses, on the same two ports of each: these listeners are \
             missing: udp://10.0.0.2:ANOTHER_PORT, udp://ANOTHER_ADDRESS:3478, udp://ANOTHER_ADDRESS:ANOTHER_PORT",
        ),
        ("[alternate]\nwhen = 'always'", "[alternate] has no servers: name those to send clients to"),
        (
            "[alternate]\nservers = ['10.0.0.2']",
            "alternate server 10.0.0.2:3478 is a listener of this server",
        ),
        (
            "relay = { addresses = ['198.51.100.1/10.0.0.2'] }\nalternate = { servers = ['198.51.100.1'] }",
            "alternate server 198.51.100.1:3478 is a listener of this server",
        ),
        (
            "[alternate]\nservers = ['[::ffff:10.0.0.2]:3478']",
            "alternate server 10.0.0.2:3478 is a listener of this server",
        ),
        ("[limits]\nuser-quota = 0", "user-quota is 0: nobody could allocate; leave it out for no limit"),
        ("[limits]\ntotal-quota = 0", "total-quota is 0: nobody could allocate"),
        ("[auth]\nusers = ['a:1', 'a:2']", "user \"a\" is listed twice"),
        ("[auth]\npassword-algorithms = ['md5', 'md5']", "password-algorithms has md5 twice"),
        ("[auth]\nsecret-algorithms = ['sha-1', 'sha-1']", "secret-algorithms has sha-1 twice"),
        (
            "[auth]\nusers = ['a:0x00112233445566778899aabbccddeeff']\npassword-algorithms = ['sha-256']",
            "realm \"relay7.example.org\" has no password algorithm that all of its users have a key for: user \"a\"",
        ),
        (
            "[[realms]]\nname = 'n'\nlisteners = ['udp://10.0.0.2:9']\nusers = ['a:b']",
            "realm \"n\": udp://10.0.0.2:9 is not among the listeners (udp://10.0.0.2:3478)",
        ),
        (
            "[[realms]]\nname = 'n'\nlisteners = ['udp://10.0.0.2']",
            "realm \"n\" has neither users nor secrets",
        ),
        ("[[realms]]\nname = 'n'\nusers = ['a:b']", "realm \"n\" has neither listeners nor origins"),
        (
            "realm = 'n'\n[[realms]]\nname = 'n'\nusers = ['a:b']\norigins = ['https://x']",
            "realm \"n\" is listed twice",
        ),
        (
            "[limits]\nmax-lifetime = 599",
            "max-lifetime is 9m 59s: RFC 8656 gives every allocation at least 10m",
        ),
        ("shards = 0", "shards is 0"),
        ("[datapath]\nmax-bindings = 0", "max-bindings is 0: the tables can be made for 1 to "),
    ];
    for (text, expected) in cases {
        let complaint = resolved(text).expect_err(text).to_string();
        assert!(complaint.starts_with(expected), "{text}\n  said      {complaint}\n  expected  {expected}");
    }
}

#[test]
fn what_is_odd_but_possible_is_warned_about() {
    let users = "[auth]\nusers = ['a:1']";
    let cases = [
        (
            format!("listen = ['udp://10.9.9.9']\n{users}"),
            "listener udp://10.9.9.9:3478: not an address of this host",
        ),
        (
            format!("[relay]\nports = '1000-2000'\n{users}"),
            "the relay port range 1000-2000 has ports below 1024",
        ),
        (
            format!("listen = ['udp://[2001:db8::9]']\n{users}"),
            "listener udp://[2001:db8::9]:3478: not an address of this host",
        ),
        (
            format!("listen = ['udp://10.0.0.2']\nrelay = {{ addresses = ['::1'] }}\n{users}"),
            "no IPv4 relay address: clients that do not ask for IPv6 by name",
        ),
        (format!("[datapath]\ninterfaces = ['eth7']\n{users}"), "interface eth7 has no address"),
    ];
    for (text, expected) in cases {
        let warnings = resolved(&text).unwrap().warnings;
        assert!(warnings[0].starts_with(expected), "{text}\n{warnings:?}");
    }
    let key = "0x00112233445566778899aabbccddeeff";
    let warnings = resolved(&format!("[auth]\nusers = ['a:{key}']")).unwrap().warnings;
    assert!(warnings[0].contains("does not offer sha-256: user \"a\" has no key for it"), "{warnings:?}");
    assert!(!warnings[0].contains(key));
    let mut host = host();
    host.ephemeral_ports = Some("32768-60999".parse().unwrap());
    let warnings = file(users).unwrap().resolve(&host).unwrap().warnings;
    assert!(warnings[0].contains("sysctl net.ipv4.ip_local_reserved_ports=49152-65535"), "{warnings:?}");
}

#[test]
fn lifetimes_that_the_rfc_fixes_can_be_shortened_by_flag_only_and_not_in_silence() {
    let short = Some("3s".parse().unwrap());
    let resolve = |limits| {
        let flags = Layer { limits, ..Layer::default() };
        let Resolved { settings, warnings } = flags.over(file(FULL).unwrap()).resolve(&host()).unwrap();
        assert!(warnings[0].contains("for tests only"), "{warnings:?}");
        let lifetimes = settings.lifetimes;
        [settings.max_lifetime, lifetimes.permission, lifetimes.channel].map(|lifetime| lifetime.as_secs())
    };
    let limits = Limits { permission_lifetime: short, ..Limits::default() };
    assert_eq!(resolve(limits), [7200, 3, 600]);
    let limits = Limits { allocation_lifetime: short, ..Limits::default() };
    assert_eq!(resolve(limits), [3, 300, 600]);
    assert!(file("[limits]\npermission-lifetime = '3s'").is_err());
    assert!(file("[limits]\nallocation-lifetime = '3s'").is_err());
}

#[test]
fn a_flag_replaces_what_the_file_says_and_leaves_the_rest() {
    let flags = Layer {
        listen: vec!["udp://192.0.2.7:443".parse().unwrap()],
        auth: Auth { users: vec!["carol:c".parse().unwrap()], ..Auth::default() },
        datapath: Datapath { mode: Some(Request::Userspace), ..Datapath::default() },
        peers: Peers { deny: vec!["198.51.100.0/24".parse().unwrap()], ..Peers::default() },
        limits: Limits { user_quota: Some(9), ..Limits::default() },
        discovery: Discovery { enabled: Some(true) },
        alternate: Alternate { domain: Some("turn3.example.org".parse().unwrap()), ..Alternate::default() },
        ..Layer::default()
    };
    let text =
        "[discovery]\nenabled = false\n[alternate]\nservers = ['192.0.2.9']\ndomain = 'turn2.example.org'";
    let below = file(&format!("{FULL}{text}")).unwrap();
    let above = flags.clone().over(below.clone());
    assert_eq!(above.listen, flags.listen);
    assert_eq!(above.auth.users, flags.auth.users);
    assert_eq!(above.auth.secrets, below.auth.secrets);
    assert_eq!(above.datapath.mode, Some(Request::Userspace));
    assert_eq!(above.datapath.interfaces, below.datapath.interfaces);
    assert_eq!(above.peers.deny, flags.peers.deny);
    assert_eq!(above.peers.allow, below.peers.allow);
    assert_eq!(above.limits.user_quota, Some(9));
    assert_eq!(above.limits.total_quota, Some(1000));
    assert_eq!(above.discovery.enabled, Some(true));
    assert_eq!(above.alternate.domain, flags.alternate.domain);
    assert_eq!(above.alternate.servers, below.alternate.servers);
    assert_eq!((above.realm, above.relay, above.admin), (below.realm, below.relay, below.admin));
}

#[test]
fn users_given_by_flag_replace_the_files_users_and_their_file() {
    let below =
        file("[auth]\nusers-file = '/etc/turnpike/users'\nsecrets_file = '/etc/turnpike/secrets'").unwrap();
    let flags = Layer {
        auth: Auth { users: vec!["carol:c".parse().unwrap()], ..Auth::default() },
        ..Layer::default()
    };
    let auth = flags.over(below).auth;
    assert_eq!(auth.users_file, None);
    assert_eq!(auth.secrets_file, Some("/etc/turnpike/secrets".into()));
}

#[test]
fn secret_files_are_read_beside_the_file_that_names_them_and_warned_about_when_open_to_all() {
    let folder = Folder::new("secrets");
    folder.write("users", "# the staff\nalice:a\n\nbob:b:b\n", 0o600);
    folder.write("secrets", "s3cret\n", 0o644);
    let path = folder.write("turnpike.toml", "[auth]\nusers_file='users'\nsecrets-file='secrets'", 0o644);

    let Resolved { settings, warnings } = load(Some(&path), Layer::default(), &host()).unwrap();
    let users: Vec<_> = settings.users.iter().map(|u| (u.name.as_str(), u.password.expose())).collect();
    assert_eq!(users, [("alice", "a"), ("bob", "b:b")]);
    assert_eq!(settings.secrets.iter().map(Secret::expose).collect::<Vec<_>>(), ["s3cret"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("secrets holds secrets and every user"), "{warnings:?}");

    let path = folder.write("open.toml", "[auth]\nsecrets=['x']", 0o644);
    let warnings = load(Some(&path), Layer::default(), &host()).unwrap().warnings;
    assert!(warnings[0].contains("open.toml holds secrets"), "{warnings:?}");
}

#[test]
fn a_bad_line_of_a_users_file_is_refused_with_its_number() {
    let folder = Folder::new("bad-line");
    folder.write("users", "alice:a\nbob\n", 0o600);
    let path = folder.write("turnpike.toml", "[auth]\nusers-file='users'", 0o600);
    let complaint = load(Some(&path), Layer::default(), &host()).unwrap_err().to_string();
    assert!(complaint.ends_with("users:2:1: a user is written NAME:PASSWORD"), "{complaint}");

    let missing =
        load(Some(&folder.0.join("nowhere.toml")), Layer::default(), &host()).unwrap_err().to_string();
    assert!(
        missing.starts_with("cannot read ") && missing.contains("nowhere.toml: No such file"),
        "{missing}"
    );
}

#[test]
fn no_complaint_and_no_debug_output_repeats_a_secret() {
    let shown = format!("{:?}", resolved(FULL).unwrap());
    for secret in ["wonder", "land", "\"old\"", "\"new\""] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for text in [
        "users = 'hunter2'",
        "secrets = 'hunter2'",
        "users = ['hunter2']",
        "users = { a = 4711 }",
        "users = ['a:hunter2', 'a:hunter2']",
    ] {
        let complaint = resolved(&format!("[auth]\n{text}")).unwrap_err().to_string();
        assert!(!complaint.contains("hunter2") && !complaint.contains("4711"), "{complaint}");
    }
}

#[test]
fn own_addresses_are_closed_to_peers_and_relayed_ones_open() {
    let settings = resolved("[relay]\naddresses = ['192.0.2.7']").unwrap().settings;
    let rules = settings.peer_rules(&host());
    assert!(!rules.permits("10.0.0.2".parse().unwrap()));
    assert!(rules.permits("192.0.2.7".parse().unwrap()));
    assert!(!rules.permits_port("192.0.2.7:3478".parse().unwrap()));
}

#[test]
fn realms_have_their_own_users_and_secrets_from_the_file_and_files_beside_it() {
    let folder = Folder::new("realms");
    folder.write("staff", "carol:c\n", 0o600);
    folder.write("old-and-new", "old\nnew\n", 0o644);
    let text = "realm = 'top'\n[auth]\nusers = ['alice:a']\n\
         [[realms]]\nname = 'staff'\nlisteners = ['udp://10.0.0.2']\nusers = { bob = 'b' }\nusers-file = 'staff'\n\
         [[realms]]\nname = 'pages'\norigins = ['HTTPS://Pages.example:8443']\nsecrets-file = 'old-and-new'\n";
    let path = folder.write("turnpike.toml", text, 0o600);
    let Resolved { settings, warnings } = load(Some(&path), Layer::default(), &host()).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("old-and-new holds secrets"), "{warnings:?}");
    let [staff, pages] = &settings.realms[..] else { panic!("{settings:?}") };
    let names: Vec<_> = staff.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["bob", "carol"]);
    assert_eq!(pages.secrets.len(), 2);

    let realms = settings.realms().unwrap();
    let listener = "10.0.0.2:3478".parse().unwrap();
    let asked = |origin| String::from(&**realms.of(listener, origin).name());
    assert_eq!(asked(None), "staff");
    assert_eq!(asked(Some("https://pages.example:8443")), "pages");
    assert_eq!(asked(Some("https://pages.example")), "staff");
    assert!(!format!("{settings:?}").contains("\"b\""));
}

#[test]
fn discovery_and_alternate_servers_reach_the_settings() {
    use crate::turn::{Alternate, Discovery, RedirectWhen};

    let four = ["10.0.0.2:3478", "10.0.0.2:3479", "192.0.2.7:3478", "192.0.2.7:3479"];
    let text = format!(
        "listen = {:?}\ndiscovery = {{ enabled = true }}\n[alternate]\nservers = ['10.0.0.2:443', '192.0.2.9']\n\
         domain = 'turn2.example.org'\nwhen = 'always'",
        four.map(|address| format!("udp://{address}"))
    );
    let Resolved { settings, warnings } = resolved(&text).unwrap();
    assert_eq!(warnings, [""; 0]);
    let listeners = four.map(|address| address.parse().unwrap());
    assert_eq!(settings.discovery, Some(Discovery::new(&listeners).unwrap()));
    let alternate = Alternate {
        servers: ["10.0.0.2:443", "192.0.2.9:3478"].map(|server| server.parse().unwrap()).into(),
        domain: Some("turn2.example.org".into()),
        when: RedirectWhen::Always,
    };
    assert_eq!(settings.alternate, Some(alternate));

    let nothing = resolved("").unwrap().settings;
    assert_eq!((nothing.discovery, nothing.alternate), (None, None));
    let off = resolved("[discovery]\nenabled = false").unwrap().settings;
    assert_eq!(off.discovery, None);
}

#[test]
fn a_family_without_an_alternate_server_is_warned_about() {
    for (when, instead) in [("always", "are served here"), ("draining", "are refused with 508 while")] {
        let text = format!("[alternate]\nservers = ['2001:db8::9']\nwhen = '{when}'");
        let warnings = resolved(&text).unwrap().warnings;
        let expected = format!("no alternate server has an IPv4 address: IPv4 clients {instead}");
        assert!(warnings.len() == 1 && warnings[0].starts_with(&expected), "{warnings:?}");
    }
}
