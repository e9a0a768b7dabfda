//! The protocol core: what it takes to answer a datagram, without the sockets that it came by and leaves by.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use turnpike::stun::{Class, Method};
use turnpike::turn::{CoreConfig, Input, Output, Outputs, RelayAddr};

use common::{Client, Sim, addr, channel_data, config, peer};

#[path = "../../../relay-userspace/tests/common/mod.rs"]
pub(crate) mod common;

const DATA: [u8; 160] = [7; 160];

/// A server that refuses nothing for being asked often.
fn server() -> Sim {
    Sim::new(CoreConfig { strangers: None, ..config() }, [7; 32])
}

/// Has the core take an input, and gives how many effects that has.
fn handle(sim: &mut Sim, out: &mut Outputs, input: Input<'_>) -> usize {
    out.items.clear();
    out.bytes.clear();
    sim.core.handle(sim.now, input, out);
    out.items.len()
}

/// Measures requests and data.
pub(crate) fn bench(c: &mut Criterion) {
    bench_requests(c);
    bench_data(c);
}

fn bench_requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    let (mut sim, mut out) = (server(), Outputs::default());
    let mut client = Client::new(5000);
    let five_tuple = client.five_tuple;
    let binding = client.plain(Method::BINDING, Class::Request, |_| {});
    group.bench_function("binding", |b| {
        b.iter(|| {
            handle(&mut sim, &mut out, Input::FromClient { five_tuple, datagram: black_box(&binding) })
        });
    });
    let challenged = client.plain(Method::ALLOCATE, Class::Request, |b| {
        b.requested_transport(17);
    });
    group.bench_function("allocate-challenged", |b| {
        let input = Input::FromClient { five_tuple, datagram: &challenged };
        b.iter(|| handle(&mut sim, &mut out, black_box(input)));
    });

    // The second core is for what leaves something behind, which each time is taken away beside the clock.
    let mut sim = server();
    client.learn_nonce(&mut sim);
    let server = RefCell::new((sim, Outputs::default()));
    group.bench_function("allocate", |b| {
        // Each request is new: one that was seen before is answered as before.
        let ended = || {
            let (sim, out) = &mut *server.borrow_mut();
            let end = client.signed(Method::REFRESH, |b| {
                b.lifetime(Duration::ZERO);
            });
            handle(sim, out, Input::FromClient { five_tuple, datagram: &end });
            client.signed(Method::ALLOCATE, |b| {
                b.requested_transport(17);
            })
        };
        let allocated = |datagram: Vec<u8>| {
            let (sim, out) = &mut *server.borrow_mut();
            handle(sim, out, Input::FromClient { five_tuple, datagram: &datagram });
            let [Output::OpenRelay { allocation, .. }] = out.items[..] else { panic!("{:?}", out.items) };
            handle(sim, out, Input::RelayOpened { allocation, outcome: Ok(()) })
        };
        b.iter_batched(ended, allocated, BatchSize::PerIteration);
    });
    group.finish();
}

fn bench_data(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    let (mut sim, mut out) = (server(), Outputs::default());
    let mut client = Client::new(5000);
    let five_tuple = client.five_tuple;
    let relayed = RelayAddr(client.allocated(&mut sim));
    let (with_channel, without) = (peer("203.0.113.1:1"), peer("203.0.113.1:2"));
    client.bind(&mut sim, 0x4000, with_channel.0);
    let refreshed = client.signed(Method::CHANNEL_BIND, |b| {
        b.channel_number(0x4000).xor_peer_address(with_channel.0);
    });
    let channel = channel_data(0x4000, &DATA);
    let send = client.plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr("203.0.113.1:2")).data(&DATA).expect("it fits");
    });
    for (name, input) in [
        ("channel-bind-refreshed", Input::FromClient { five_tuple, datagram: &refreshed }),
        ("channel-data-in", Input::FromClient { five_tuple, datagram: &channel }),
        ("channel-data-out", Input::FromPeer { relayed, peer: with_channel, datagram: &DATA }),
        ("send", Input::FromClient { five_tuple, datagram: &send }),
        ("data", Input::FromPeer { relayed, peer: without, datagram: &DATA }),
    ] {
        handle(&mut sim, &mut out, input);
        let dropped = out.items.iter().any(|item| matches!(item, Output::Dropped(_)));
        assert!(!dropped, "{name}: {:?}", out.items);
        group.bench_function(name, |b| b.iter(|| handle(&mut sim, &mut out, black_box(input))));
    }
    group.finish();
}
