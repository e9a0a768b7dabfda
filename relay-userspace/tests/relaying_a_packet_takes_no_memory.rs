//! The packet path allocates nothing: ChannelData, Send and Data indications, in both directions, and drops.

mod common;

use std::time::Duration;

use common::heap::{Counting, allocations};
use common::{Client, Sim, addr, channel_data, config, peer};
use turnpike::policy::Rate;
use turnpike::stun::{Class, Method};
use turnpike::turn::{CoreConfig, Input, Output, Outputs, Rates, RelayAddr, Throughput};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn in_either_direction_or_when_it_is_dropped() {
    relayed_without_memory(config());
}

#[test]
fn when_it_is_counted_against_every_limit() {
    let rate = |units| Some(Rate::new(units, Duration::from_secs(1), units));
    let limit = Throughput { bytes: rate(1_000_000_000), packets: rate(1_000_000) };
    relayed_without_memory(CoreConfig {
        rates: Rates { allocation: limit, user: limit, new_peers: rate(1_000) },
        ..config()
    });
}

fn relayed_without_memory(config: CoreConfig) {
    let mut sim = Sim::new(config, [1; 32]);
    let mut client = Client::new(1);
    let relayed = RelayAddr(client.allocated(&mut sim));
    let (with_channel, without, forbidden) =
        (peer("203.0.113.1:1"), peer("203.0.113.1:2"), peer("203.0.113.2:1"));
    client.bind(&mut sim, 0x4000, with_channel.0);
    let five_tuple = client.five_tuple;
    let channel = channel_data(0x4000, &[7; 1200]);
    let send = client.plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr("203.0.113.1:2")).data(&[7; 1200]).unwrap();
    });
    let datagram = &[7; 1200][..];
    let inputs = [
        Input::FromClient { five_tuple, datagram: &channel },
        Input::FromClient { five_tuple, datagram: &send },
        Input::FromPeer { relayed, peer: with_channel, datagram },
        Input::FromPeer { relayed, peer: without, datagram },
        Input::FromPeer { relayed, peer: forbidden, datagram },
    ];
    let mut out = Outputs::default();
    let mut relay = |rounds: usize| {
        let mut relayed = 0;
        for input in std::iter::repeat_n(inputs, rounds).flatten() {
            sim.core.handle(sim.now, input, &mut out);
            relayed += out.items.iter().filter(|o| !matches!(o, Output::Dropped(_))).count();
        }
        relayed
    };
    relay(1);
    let before = allocations();
    assert_eq!(relay(1000), 4000);
    assert_eq!(allocations(), before);
}
