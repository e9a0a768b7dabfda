//! Lesson 29: a million requests from a million spoofed addresses leave nothing behind, and a client is served
//! throughout.

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::heap::{self, Counting};
use common::{Client, addr, config};
use turnpike::stun::{Class, Method};
use turnpike::turn::{ClientAddr, FiveTuple, Input, Output, Outputs, Transport};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The process's pages in memory, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
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

#[test]
fn a_million_sources_leave_memory_flat_and_a_client_is_served_throughout() {
    const SOURCES: u32 = 1_000_000;
    let mut sim = common::Sim::new(config(), [1; 32]);
    let mut client = Client::new(1);
    client.allocated(&mut sim);
    assert_eq!(client.bind(&mut sim, 0x4000, addr("203.0.113.1:1")).code(), 0);

    let mut stranger = Client::new(2);
    stranger.nonce = b"forged nonce".into();
    let binding = stranger.plain(Method::BINDING, Class::Request, |_| ());
    let allocate = stranger.plain(Method::ALLOCATE, Class::Request, |b| {
        b.requested_transport(17);
    });
    let forged = stranger.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17);
    });
    let send = stranger.plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr("203.0.113.1:1")).data(b"x").unwrap();
    });
    // Binding requests most of all: they are what reflectors are looked for with.
    let datagrams =
        [&binding, &binding, &binding, &binding, &allocate, &binding, &forged, &binding, &send, &binding];

    let listener = client.five_tuple.listener;
    let mut out = Outputs::default();
    let mut flood = |sim: &mut common::Sim, sources: std::ops::Range<u32>| {
        let mut answered = 0;
        for n in sources {
            let client = ClientAddr(spoofed(n));
            let five_tuple = FiveTuple { client, listener, transport: Transport::Udp };
            let datagram = datagrams[n as usize % datagrams.len()];
            sim.core.handle(sim.now, Input::FromClient { five_tuple, datagram }, &mut out);
            answered += out.items.iter().filter(|o| matches!(o, Output::ToClient { .. })).count();
            sim.sleep(0.000_01);
        }
        answered
    };
    // What the first requests of a process need once.
    flood(&mut sim, 0..1_000);
    client.refresh(&mut sim, 600);
    let (occupancy, held, pages) = (sim.core.occupancy(), heap::held(), resident());

    let mut answered = 0;
    for part in 0..100 {
        answered += flood(&mut sim, part * SOURCES / 100..(part + 1) * SOURCES / 100);
        assert_eq!(client.refresh(&mut sim, 600).code(), 0);
        assert_eq!(client.bind(&mut sim, 0x4000, addr("203.0.113.1:1")).code(), 0);
    }
    assert_eq!(sim.core.occupancy(), occupancy);
    let grown = heap::held() - held;
    assert!(grown < 4096, "{grown} bytes more are held");
    let pages_grown = resident().saturating_sub(pages);
    assert!(pages_grown < 1024, "the process takes {pages_grown} KiB more");
    assert_eq!(answered, SOURCES as usize * 9 / 10, "of so many networks each is answered once");
    println!(
        "{SOURCES} requests of as many sources: {answered} answered, {grown} bytes of heap and {pages_grown} KiB of \
         resident memory more than before, {pages} KiB in all"
    );
}
