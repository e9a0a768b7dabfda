//! What is refused, and what is warned about.

use super::*;

#[test]
fn a_mistake_in_the_file_is_refused_with_its_place_and_what_to_write() {
    let cases = [
        ("lisen = []", "1:1: unknown key \"lisen\": did you mean \"listen\"?"),
        ("\n[relay]\n  adresses = []", "3:3: unknown key \"adresses\": did you mean \"addresses\"?"),
        (
            "[limits]\nspeed = 1",
            "2:1: unknown key \"speed\": known here are allocation-bandwidth, allocation-packets, ",
        ),
        ("[turn]\n", "1:2: unknown key \"turn\": known here are"),
        ("realm = 'a'\nrealm = 'b'", "2:1: duplicate key"),
        ("realm = ", "1:9: "),
        ("realm = ''", "1:9: the realm is empty"),
        ("listen = 'udp://10.0.0.2'", "1:10: found string, expected a list, as in [\"...\"]"),
        ("realm = 'say \"hi\"'", "1:9: the realm \"say \\\"hi\\\"\" has a quote"),
        ("realm = \"a\\u0000b\"", "1:9: the realm \"a\\0b\" has a quote, a backslash or a control character"),
        ("listen = ['10.0.0.2:3478']", "1:11: \"10.0.0.2:3478\" has no scheme: write udp://"),
        ("listen = [\n  'udp://10.0.0.2',\n  'tls://10.0.0.2:0',\n]", "3:3: port 0"),
        ("[tls]\ncert = 'a'\nky = 'b'", "3:1: unknown key \"ky\": did you mean \"key\"?"),
        ("[[tls.certificate]]\ncert = 'a'", "1:1: missing field `key`"),
        ("[[tls.passthrough]]\nnames = ['a b']\nto = 'x:1'", "2:10: \"a b\" is no domain name"),
        ("[[tls.passthrough]]\nnames = ['a']\nto = 'x'", "3:6: \"x\" is no HOST:PORT"),
        ("[http]\nupstream = 'http://127.0.0.1'", "2:12: \"http://127.0.0.1\" is no HOST:PORT"),
        ("[http]\nwebsocket-origins = ['x.example']", "2:22: \"x.example\" is no origin"),
        ("[proxy-protocol]\nfrom = ['10.0.0.1/33']", "2:9: \"10.0.0.1/33\": the prefix length"),
        ("[streams]\nhandshakes = -1", "2:14: -1 cannot be"),
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
        ("[datapath]\nmode = 'fast'", "2:8: \"fast\" is none of auto, xdp, xdp-generic, userspace"),
        ("[peers]\nallow = [\n'10.0.0.0/8',\n'10.0.0.0/33']", "4:1: \"10.0.0.0/33\": the prefix length"),
        ("[peers]\ndeny = ['example.org']", "2:9: \"example.org\" is not an IP address or prefix"),
        ("[limits]\nuser-quota = -1", "2:14: -1 cannot be: write a whole number from 0 to 4294967295"),
        ("[limits]\nmax-lifetime = 'soon'", "2:16: \"soon\" is no length of time"),
        ("[discovery]\nenabled = 'yes'", "2:11: found string, expected true or false"),
        (
            "[alternate]\nservers = ['relay.example.org']",
            "2:12: \"relay.example.org\" is no IP address with a port",
        ),
        ("[alternate]\nservers = ['192.0.2.9:0']", "2:12: \"192.0.2.9:0\" is no place where a server can"),
        ("[alternate]\nservers = ['[[2001:db8::9']", "2:12: \"[[2001:db8::9\" is no IP address with a port"),
        ("[alternate]\nservers = ['192.0.2.9]']", "2:12: \"192.0.2.9]\" is no IP address with a port"),
        // An address, or an address and a port?
        (
            "[alternate]\nservers = ['2001:db8::9:3478']",
            "2:12: IPv6 addresses take brackets: write [2001:db8::9:3478]:3478",
        ),
        ("[alternate]\nservers = ['[fe80::1]']", "2:12: \"[fe80::1]\" is no place where a server can"),
        ("[alternate]\nservers = ['[fe80::1%1]:1']", "2:12: \"[fe80::1%1]:1\" is an address of one link"),
        ("[ice]\nhosts = 'a'", "2:1: unknown key \"hosts\": did you mean \"host\"?"),
        (
            "[ice]\nhost = 'https://turn.example.org'",
            "2:8: \"https://turn.example.org\" is no name of a host",
        ),
        ("[ice]\nhost = ['a.test', '10.0.0.300']", "2:8: \"10.0.0.300\" is no name of a host"),
        ("[ice]\nhost = 1", "2:8: a host must be a name in quotes, or a list of them"),
        ("[ice]\nurls = ['turn://a.test']", "2:9: \"turn://a.test\": there is no // in such a URL"),
        ("[ice]\nurls = ['turn:a.test:0']", "2:9: \"turn:a.test:0\": the port is no number"),
        ("[ice]\nurls = ['turn:a.test:+1']", "2:9: \"turn:a.test:+1\": the port is no number"),
        ("[ice]\nurls = ['turn:a.test?transport=sctp']", "2:9: \"turn:a.test?transport=sctp\": after the ?"),
        ("[ice]\nurls = ['stun:a.test?transport=udp']", "2:9: \"stun:a.test?transport=udp\": after the ?"),
        ("[ice]\nurls = ['http://a.test/turn']", "2:9: \"http://a.test/turn\": unknown scheme"),
        ("[ice]\nurls = ['wss://a.test']", "2:9: \"wss://a.test\" has no path: write wss://HOST/turn"),
        ("[[ice.tenants]]\nkey = 'x'", "2:7: a key of less than 12 characters can be guessed"),
        ("[[ice.tenants]]\nkey = 'a b c d e f g h'", "2:7: a key is made of letters, digits and signs"),
        ("[[ice.tenants]]\nkey-sha256 = 'abc'", "2:14: the hash of a key has 64 hexadecimal digits"),
        ("[[ice.tenants]]\nname = 'a/b'", "2:8: \"a/b\" is no name of a tenant"),
        ("[[ice.tenants]]\nname = 'test-page'", "2:8: \"test-page\" stands for the visitors"),
        ("[[ice.tenants]]\nname = 'a'\norigins = ['*']", "3:12: \"*\" is no origin"),
        ("[[ice.tenants]]\nname = 'a'\nkeys = 'x'", "3:1: unknown key \"keys\": did you mean \"key\"?"),
        ("[test-page]\nenable = true", "2:1: unknown key \"enable\": did you mean \"enabled\"?"),
        ("listen = ['udp://[fe80::1%1]:1']", "1:11: \"[fe80::1%1]:1\" is an address of one link"),
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
            "realm = 'r'\nauth = { users = ['a:1'] }\nice = { tenants = [{ name = 'a', key = '0123456789ab' }] }",
            "ice: tenant \"a\": realm \"r\" has no secret to make credentials with",
        ),
        (
            "auth = { secrets = ['s'] }\nice = { tenants = [{ name = 'a', key = '0123456789ab', realm = 'r' }] }",
            "ice: tenant \"a\": there is no realm \"r\"",
        ),
        (
            "auth = { secrets = ['s'] }\nice = { tenants = [{ name = 'a' }] }",
            "ice: tenant \"a\" has no key: give it key-file, key or key-sha256",
        ),
        (
            "auth = { secrets = ['s'] }\n[[ice.tenants]]\nname = 'a'\nkey = '0123456789ab'\n\
             [[ice.tenants]]\nname = 'b'\nkey = '0123456789ab'",
            "ice: a key of tenant \"b\" is listed twice, or another tenant has it",
        ),
        (
            "auth = { secrets = ['s'] }\n[[ice.tenants]]\nname = 'a'\nkey = '0123456789ab'\n\
             [[ice.tenants]]\nname = 'a'\nkey = 'ba9876543210'",
            "ice: tenant \"a\" is listed twice",
        ),
        (
            "auth = { secrets = ['s'] }\n[[ice.tenants]]\nname = 'a'\nkey = '0123456789ab'\nlifetime = '2d'",
            "ice: tenant \"a\": lifetime is 2days: write 1s or more, and no more than its max-lifetime of 1day",
        ),
        (
            "auth = { secrets = ['s'] }\n[[ice.tenants]]\nname = 'a'\nkey = '0123456789ab'\nrate = 0",
            "ice: tenant \"a\": rate is 0: nobody could ask",
        ),
        (
            "ice = { address-rate = 2000000 }",
            "ice: address-rate is 2000000: a million in a second are the most",
        ),
        (
            "realm = 'r'\ntest-page = { enabled = true }",
            "test-page: realm \"r\" has no secret to make credentials with",
        ),
        (
            "auth = { secrets = ['s'] }\ntest_page = { enabled = true, lifetime = '1h' }",
            "test-page: lifetime is 1h: a test takes up to 30s, 10m are the most",
        ),
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
        (
            "listen = ['dtls://10.0.0.2']",
            "listener dtls://10.0.0.2:5349 has no certificate: name one with --cert",
        ),
        (
            "listen = ['udp://10.0.0.2:5349', 'dtls://10.0.0.2']",
            "listeners udp://10.0.0.2:5349 and dtls://10.0.0.2:5349 have one port: DTLS has one of its own",
        ),
        (
            "listen = ['tls://10.0.0.2:443', 'udp://10.0.0.2:443', 'https://10.0.0.2']",
            "listeners tls://10.0.0.2:443 and https://10.0.0.2:443 have one port",
        ),
        (
            "listen = ['https://10.0.0.2']",
            "listener https://10.0.0.2:443 has no certificate: name one with --cert FILE --key FILE",
        ),
        ("[tls]\ncert = 'c.pem'", "the certificate c.pem has no key: name it (--key)"),
        ("[tls]\nkey = 'k.pem'", "the key k.pem has no certificate: name it (--cert)"),
        ("[tls]\ncert = '/no/c.pem'\nkey = '/no/k.pem'", "cannot read /no/c.pem: No such file"),
        ("[[tls.passthrough]]\nnames = []\nto = 'x:1'", "tls.passthrough to x:1 has no names"),
        (
            "[[tls.passthrough]]\nnames = ['a.b']\nto = 'x:1'\n[[tls.passthrough]]\nnames = ['A.B']\nto = 'y:1'",
            "tls.passthrough has a.b twice",
        ),
        (
            "listen = ['http://10.0.0.2']\n[http]\nupstream = '10.0.0.2:80'",
            "http.upstream 10.0.0.2:80 is the listener http://10.0.0.2:80 of this server itself",
        ),
        ("[streams]\nconnections = 0", "streams.connections is 0: nobody could connect"),
        ("[streams]\nhandshake-time = '10ms'", "streams.handshake-time is below a second"),
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
            "auth = { secrets = ['s'] }\ntest-page = { enabled = true }".into(),
            "test-page: no key is set, so everybody",
        ),
        (
            "test-page = { key = '0123456789ab' }".into(),
            "test-page has a key but is off: write enabled = true",
        ),
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
        (
            format!("[[tls.passthrough]]\nnames = ['a.b']\nto = 'x:1'\n{users}"),
            "nothing listens for TLS: [tls] is for tls://, https:// and dtls:// listeners",
        ),
    ];
    for (text, expected) in cases {
        let warnings = resolved(&text).unwrap().warnings;
        assert!(warnings[0].starts_with(expected), "{text}\n{warnings:?}");
    }
    let warnings = resolved(&format!("[relay]\naddresses = ['203.0.113.4']\n{users}")).unwrap().warnings;
    assert!(warnings[0].ends_with("behind a 1:1 NAT write 203.0.113.4/LOCAL"), "{warnings:?}");
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
fn a_family_without_an_alternate_server_is_warned_about() {
    for (when, instead) in [("always", "are served here"), ("draining", "are refused with 508 while")] {
        let text = format!("[alternate]\nservers = ['[2001:db8::9]']\nwhen = '{when}'");
        let warnings = resolved(&text).unwrap().warnings;
        let expected = format!("no alternate server has an IPv4 address: IPv4 clients {instead}");
        assert!(warnings.len() == 1 && warnings[0].starts_with(&expected), "{warnings:?}");
    }
}
