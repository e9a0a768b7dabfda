//! coturn's `turnutils_uclient` in every mode that it has over UDP.
//!
//! Not here: `-t`, `-T`, `-P`, `-b`, `-S`, `-U` and what belongs to them (`-i`, `-k`, `-E`, `-F`), which are other
//! transports; `-J`, which is RFC 7635, not served; `-h`, with which it never ends; `-C`, with which user names are
//! not the `expiry:name` that is served; `-v`, which changes what it prints.

use std::thread;
use std::time::Duration;

use relay_common::reason::Reason;
use turnpike_tests::lab::{Echo, Host, PASSWORD, Path, ServerOptions, Totals, USER, Uclient};

use crate::common::{Family, Lab};

/// Messages of each client.
const MESSAGES: u64 = 20;

/// The shared secret of the time-limited users (`-W`).
const SECRET: &str = "of-the-lab";

/// How long an allocation lasts when its client leaves without a word. Longer than a good client needs, which sends
/// for six seconds.
const LIFETIME: Duration = Duration::from_secs(16);

/// A way to run it.
struct Mode {
    /// Its flags, besides the address of the server.
    flags: Vec<String>,
    /// How many clients it runs.
    clients: u64,
    /// The family of the peer, or nothing where clients talk to each other.
    peer: Option<Family>,
}

impl Mode {
    /// Two clients, as a rule one for RTP and one for RTCP, which talk to the echo at the peer's address of this family.
    fn to(peer: Family, flags: &str) -> Self {
        Self { flags: words(flags), clients: 2, peer: Some(peer) }
    }

    /// Clients that talk to each other, relay to relay, two and two.
    fn among_clients(flags: &str) -> Self {
        Self { flags: words(flags), clients: 4, peer: None }
    }

    /// Starts it on a machine of the clients' own network.
    fn start(&self, lab: &Lab, client: &Host, echoes: &[(Family, Echo)]) -> Uclient {
        let mut flags = self.flags.clone();
        if !flags.contains(&"-W".to_owned()) {
            flags.extend(["-w", PASSWORD].map(String::from));
        }
        let (clients, messages) = (self.clients.to_string(), MESSAGES.to_string());
        flags.extend(["-u", USER, "-m", &clients, "-n", &messages, "-z", "10"].map(String::from));
        if let Some(family) = self.peer {
            let (_, echo) = echoes.iter().find(|echo| echo.0 == family).expect("an echo of each family");
            let peer = echo.address();
            flags.extend(["-e".to_owned(), peer.ip().to_string(), "-r".to_owned(), peer.port().to_string()]);
        }
        Uclient::start(client, lab.server.address(), flags)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

/// What works whatever the family of the relayed address, for which it needs this flag.
fn modes(peer: Family, flag: &str) -> Vec<Mode> {
    let modes = [
        // Channels; by Send indications; without the second client of the pair.
        "",
        "-s",
        "-c",
        // ChannelData padded to four bytes although it is UDP (RFC 8656 section 12.5).
        "-l 171 -D",
        // The smallest that it sends, what just fits the Ethernet in a channel, and what needs fragments.
        "-l 1",
        "-l 1444",
        "-l 3000",
        // Requests for 24 peers that nobody asked for, some of them forbidden or of the other family.
        "-G",
        "-G -s",
        // A channel is a permission too (RFC 8656 section 12), so that those who ask for none lose nothing.
        "-I",
        // Attributes that a server need not understand: bandwidth, and three ORIGINs.
        "-a 1000000",
        "-o https://example.org:8443",
        // DONT-FRAGMENT in the Allocate and in Send indications.
        "-g",
        "-g -s",
        // Each client goes on from another port once it has allocated (RFC 8016).
        "-M",
        "-M -s",
        "-M -c",
        // From this network card.
        "-d eth0",
    ];
    let mut modes: Vec<_> = modes.iter().map(|flags| Mode::to(peer, &format!("{flags} {flag}"))).collect();
    // A user name with the time of its end, and a password made from the shared secret.
    modes.push(Mode::to(peer, &format!("-W {SECRET} {flag}")));
    for flags in ["-y", "-y -s", "-y -c"] {
        modes.push(Mode::among_clients(&format!("{flags} {flag}")));
    }
    modes
}

/// Runs all of them side by side against one server, and every message must come back.
fn complete(listen: Family, datapath: &'static str) {
    let mut options = ServerOptions { relay_ports: "50000-50999", ..ServerOptions::new(datapath) };
    options.flags.push("--mobility".to_owned());
    let relay = [Family::V4, Family::V6];
    let Some(lab) = Lab::new(listen, &relay, options.flag("--auth-secret", SECRET)) else { return };
    assert_eq!(lab.server.mode("eth0").0, datapath);
    let echoes = relay.map(|family| (family, Echo::start(&lab.peer(family))));
    // IPv4 is what a client gets that does not ask; or it asks for that; or for IPv6.
    let modes = [(Family::V4, ""), (Family::V4, "-X"), (Family::V6, "-x")];
    let modes: Vec<_> = modes.iter().flat_map(|&(peer, flag)| self::modes(peer, flag)).collect();
    let running: Vec<_> =
        modes.iter().zip(1..).map(|(mode, n)| mode.start(&lab, &lab.client_of_its_own(n), &echoes)).collect();
    let mut wrong = Vec::new();
    for (mode, client) in modes.iter().zip(running) {
        let all = mode.clients * MESSAGES;
        match client.end() {
            Ok(totals) if totals == (Totals { sent: all, received: all }) => {}
            otherwise => wrong.push(format!("{:?}: {otherwise:?}", mode.flags.join(" "))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{:#?}", lab.server.counters());
    if listen == Family::V4 {
        let by_xdp = lab.server.counters().relayed(Path::Xdp);
        assert_eq!(by_xdp.0 > 0, datapath == "xdp", "{by_xdp:?}");
    }
}

#[test]
fn all_modes_over_ipv4_by_xdp() {
    complete(Family::V4, "xdp");
}

#[test]
fn all_modes_over_ipv4_in_userspace() {
    complete(Family::V4, "userspace");
}

#[test]
fn all_modes_over_ipv6_by_xdp() {
    complete(Family::V6, "xdp");
}

#[test]
fn all_modes_over_ipv6_in_userspace() {
    complete(Family::V6, "userspace");
}

/// Once XDP knows the neighbours, it forwards every message of those who use Send indications, of those who talk to each
/// other, and of those who do both.
#[test]
fn send_indications_and_clients_among_themselves_are_on_the_fast_path() {
    let Some(lab) = Lab::new(Family::V4, &[Family::V4], ServerOptions::new("xdp")) else { return };
    let echoes = [(Family::V4, Echo::start(&lab.peer(Family::V4)))];
    let run = |mode: &Mode| {
        let before = lab.server.counters();
        let all = mode.clients * MESSAGES;
        assert_eq!(mode.start(&lab, &lab.client(), &echoes).end(), Ok(Totals { sent: all, received: all }));
        (all, &lab.server.counters() - &before)
    };
    run(&Mode::to(Family::V4, "-s"));
    for mode in [Mode::to(Family::V4, "-s"), Mode::among_clients("-y"), Mode::among_clients("-y -s")] {
        let (all, moved) = run(&mode);
        let between = moved.of(Path::Xdp, Reason::RelayToRelay);
        let (there, back) = moved.relayed(Path::Xdp);
        // One packet in 65,536 has a finished checksum that looks unfinished, and is relayed by the process.
        let chance = moved.of(Path::Xdp, Reason::UnfinishedChecksum);
        let expected = if mode.peer.is_some() { 2 * all } else { all };
        assert_eq!(there + back + between + chance, expected, "{:?}: {moved:?}", mode.flags);
        assert!(chance <= 2 && (between == 0) == mode.peer.is_some(), "{:?}: {moved:?}", mode.flags);
    }
}

/// The modes in which it misbehaves: wrong channel numbers, messages with random bytes in them, many that go without
/// a word, Send indications for a peer without permission; and `-Z`, which asks for the second address by the attribute
/// of a draft (0x8032 instead of RFC 8656's 0x8000; coturn 4.7 has it right) and then refreshes what it did not get.
/// Whatever it does, the server goes on, a good client next to
/// it loses nothing, and in the end everything is free again.
fn misbehaviour(listen: Family, relay: Family, datapath: &'static str) {
    // Short, because most of these clients leave without ending their allocations.
    let options = ServerOptions { relay_ports: "50000-50999", ..ServerOptions::new(datapath) };
    let options = options.flag("--allocation-lifetime", format!("{}s", LIFETIME.as_secs()));
    let Some(mut lab) = Lab::new(listen, &[relay], options) else { return };
    let echoes = [(relay, Echo::start(&lab.peer(relay)))];
    let bad =
        ["-N", "-N -s", "-R", "-R -s", "-R -c", "-R -G", "-N -R -y", "-O", "-O -y", "-B", "-B -s", "-Z"];
    let family = if relay == Family::V6 { "-x" } else { "-X" };
    let mode = |flags| Mode::to(relay, &format!("{flags} {family}"));
    let bad = bad.map(|flags| Mode { clients: 8, ..mode(flags) });
    let bad = bad.map(|mode| mode.start(&lab, &lab.client(), &echoes));
    let without_permission = mode("-I -s").start(&lab, &lab.client(), &echoes);
    let good = mode("").start(&lab, &lab.client(), &echoes);

    let all = 2 * MESSAGES;
    assert_eq!(good.end(), Ok(Totals { sent: all, received: all }), "a good client beside them");
    // It gives up ten seconds after its last message.
    assert_eq!(without_permission.end(), Ok(Totals { sent: all, received: 0 }), "without a permission");
    // How they end is their own business, and some would not for minutes.
    drop(bad);
    // Not a pair, because the port that the first of a pair reserves for the second is held for 30 seconds.
    let after = Mode { clients: 1, ..mode("-c") }.start(&lab, &lab.client(), &echoes).end();
    assert_eq!(after, Ok(Totals { sent: MESSAGES, received: MESSAGES }), "a good client after them");
    assert_eq!(lab.server.process().exited(), None, "the server goes on");
    // The youngest allocation is a few seconds old.
    thread::sleep(LIFETIME / 2);
    lab.nothing_is_left();
}

#[test]
fn its_misbehaviour_over_ipv4_by_xdp_harms_nobody() {
    misbehaviour(Family::V4, Family::V4, "xdp");
}

#[test]
fn its_misbehaviour_over_ipv6_in_userspace_harms_nobody() {
    misbehaviour(Family::V6, Family::V6, "userspace");
}
