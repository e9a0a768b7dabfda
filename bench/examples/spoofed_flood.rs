//! What a flood of spoofed requests costs: a million requests of as many sources through one protocol core, with a client
//! that goes on refreshing and relaying in between. Prints the memory before and after, and how fast it went.
//!
//! `cargo run --release -p turnpike-bench --example spoofed_flood`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use turnpike::auth::Credentials;
use turnpike::stun::{Builder, Class, Key, Message, MessageType, Method, TransactionId};
use turnpike::time::Timestamp;
use turnpike::turn::{ClientAddr, Core, FiveTuple, Input, Output, Outputs, Shared, Transport};
use turnpike_bench::core_config::core_config;
use turnpike_bench::scale::resident;

const SOURCES: u32 = 1_000_000;
/// After so many requests of strangers the client sends one.
const EVERY: u32 = 1_000;
const PORTS: RangeInclusive<u16> = 49_152..=65_535;
const REALM: &str = "example.org";
const USER: &str = "alice";
const PASSWORD: &str = "wonderland";

fn main() {
    let mut server = Server::new();
    let nonce = server.log_in();
    let requests = Requests::new();
    let listener = server.client.listener;
    // What the first requests of a process need once.
    (0..EVERY).for_each(|n| _ = server.stranger(spoofed(n), listener, requests.nth(n)));

    let (before, start) = (resident_kib(), Instant::now());
    let mut answered = 0;
    let mut served = 0;
    for n in 0..SOURCES {
        answered += u32::from(server.stranger(spoofed(n), listener, requests.nth(n)));
        if n % EVERY == 0 {
            served += u32::from(server.refresh(&nonce));
        }
    }
    let (elapsed, after) = (start.elapsed(), resident_kib());
    let asked = SOURCES / EVERY;
    println!(
        "a million sources    {SOURCES} requests, {answered} answered, in {:.2} s",
        elapsed.as_secs_f64()
    );
    println!(
        "rate                 {:.0} requests a second on one core",
        f64::from(SOURCES) / elapsed.as_secs_f64()
    );
    println!("resident memory      {before} KiB before, {after} KiB after");
    println!("authenticated client {served} of {asked} refreshes granted");

    // All from one network.
    let mut answered = 0;
    for n in 0..SOURCES {
        answered += u32::from(server.stranger(neighbour(n), listener, requests.nth(n)));
        if n % EVERY == 0 {
            served += u32::from(server.refresh(&nonce));
        }
    }
    println!("one network          {SOURCES} requests, {answered} answered");
    println!("resident memory      {} KiB after", resident_kib());
    println!("authenticated client {served} of {} refreshes granted, from that very network", 2 * asked);
    assert_eq!(served, 2 * asked, "the client was not served throughout");
}

/// A core whose clock is the host's.
struct Server {
    core: Core,
    client: FiveTuple,
    key: Key,
    out: Outputs,
    transactions: u32,
}

impl Server {
    fn new() -> Self {
        let relay: IpAddr = Ipv4Addr::new(198, 51, 100, 7).into();
        let credentials =
            Credentials::new([(USER.into(), PASSWORD.into())], []).expect("a name and a password");
        let config = core_config(REALM, credentials, &[relay], PORTS).expect("one realm");
        let shared = Arc::new(Shared::new(&config, [7; 32]));
        let client = FiveTuple {
            client: ClientAddr(neighbour(0)),
            listener: SocketAddr::new(relay, 3478),
            transport: Transport::Udp,
        };
        Self {
            core: Core::new(Arc::new(config), shared, [7; 32]),
            client,
            key: Key::long_term(USER, REALM, PASSWORD),
            out: Outputs::default(),
            transactions: 0,
        }
    }

    /// Gets a nonce and an allocation.
    fn log_in(&mut self) -> Vec<u8> {
        let request = Requests::new().allocate;
        self.core.handle(
            Timestamp::now(),
            Input::FromClient { five_tuple: self.client, datagram: &request },
            &mut self.out,
        );
        let challenge = Message::parse(&self.out.bytes).expect("a 401");
        let nonce = challenge.nonce().ok().flatten().expect("a nonce").to_vec();
        assert!(!self.request(Method::ALLOCATE, &nonce), "the address is opened first");
        let asked = self.out.items.iter().find_map(|output| match output {
            Output::OpenRelay { allocation, .. } => Some(*allocation),
            _ => None,
        });
        let allocation = asked.expect("the address to open");
        let opened = Input::RelayOpened { allocation, outcome: Ok(()) };
        self.core.handle(Timestamp::now(), opened, &mut self.out);
        nonce
    }

    /// Whether the client's allocation was refreshed.
    fn refresh(&mut self, nonce: &[u8]) -> bool {
        self.request(Method::REFRESH, nonce)
    }

    fn request(&mut self, method: Method, nonce: &[u8]) -> bool {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.transactions.to_be_bytes());
        let mut datagram = Vec::new();
        let mut request =
            Builder::new(&mut datagram, MessageType::new(method, Class::Request), TransactionId(id));
        request.requested_transport(17).username(USER).realm(REALM).nonce(nonce).integrity(&self.key);
        let input = Input::FromClient { five_tuple: self.client, datagram: &datagram };
        self.core.handle(Timestamp::now(), input, &mut self.out);
        Message::parse(&self.out.bytes).is_ok_and(|answer| answer.class() == Class::Success)
    }

    /// Whether a stranger was answered.
    fn stranger(&mut self, from: SocketAddr, listener: SocketAddr, datagram: &[u8]) -> bool {
        let five_tuple = FiveTuple { client: ClientAddr(from), listener, transport: Transport::Udp };
        self.core.handle(Timestamp::now(), Input::FromClient { five_tuple, datagram }, &mut self.out);
        self.out.items.iter().any(|output| matches!(output, Output::ToClient { .. }))
    }
}

/// What strangers send.
struct Requests {
    binding: Vec<u8>,
    allocate: Vec<u8>,
    forged: Vec<u8>,
}

impl Requests {
    fn new() -> Self {
        let made = |method, fill: &dyn Fn(&mut Builder<'_>)| {
            let mut bytes = Vec::new();
            let kind = MessageType::new(method, Class::Request);
            fill(&mut Builder::new(&mut bytes, kind, TransactionId([0x55; 12])));
            bytes
        };
        let wrong = Key::long_term(USER, REALM, "guessed");
        Self {
            binding: made(Method::BINDING, &|_| ()),
            allocate: made(Method::ALLOCATE, &|b| _ = b.requested_transport(17)),
            forged: made(Method::ALLOCATE, &|b| {
                b.requested_transport(17)
                    .username(USER)
                    .realm(REALM)
                    .nonce(b"forged nonce")
                    .integrity(&wrong);
            }),
        }
    }

    /// Half of them Binding requests, a quarter each Allocate without credentials and with forged ones.
    fn nth(&self, n: u32) -> &[u8] {
        match n % 4 {
            0 | 1 => &self.binding,
            2 => &self.allocate,
            _ => &self.forged,
        }
    }
}

/// A million addresses in as many networks, of both families.
fn spoofed(n: u32) -> SocketAddr {
    let ip: IpAddr = if n.is_multiple_of(2) {
        Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1)).into()
    } else {
        Ipv6Addr::from_bits(0x2a00 << 112 | u128::from(n) << 72 | 1).into()
    };
    SocketAddr::new(ip, (n % 60_000) as u16 + 1024)
}

/// Addresses and ports of the client's network.
fn neighbour(n: u32) -> SocketAddr {
    let [.., a, b, c] = n.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(203, 0, 113, c).into(), u16::from_be_bytes([a, b]) + 1024)
}

/// The process's own pages in memory.
fn resident_kib() -> u64 {
    resident("self").expect("proc is mounted").anonymous >> 10
}
