//! A client that moved arrives at the shard that the kernel chose for its new 5-tuple: that one leads it to the shard
//! which holds its allocation. The test carries between the shards by hand what the shards' mailboxes carry.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;

use common::{Client, Seen, Sim, addr, channel_data, config, peer, to_client, to_peer};
use relay_common::reason::Reason;
use turnpike::stun::{Class, Method};
use turnpike::turn::{CoreConfig, FiveTuple, Input, Output, Shared};

const PEER: &str = "203.0.113.1:1000";
const CHANNEL: u16 = 0x4001;

struct Shards(Vec<Sim>);

impl Shards {
    fn new() -> Self {
        let config = Arc::new(CoreConfig { mobility: true, ..config() });
        let shared = Arc::new(Shared::new(&config, [7; 32]));
        let shard = |n: u8| Sim::sharing(config.clone(), shared.clone(), [n; 32]).numbered(n.into());
        Self((0..3).map(shard).collect())
    }

    /// A datagram arrives at a shard: all that comes of it, at whatever shard.
    fn arrives(&mut self, at: u16, five_tuple: FiveTuple, datagram: &[u8]) -> Vec<Seen> {
        let seen = self.0[usize::from(at)].client_sends(five_tuple, datagram);
        self.carry(at, seen, datagram)
    }

    fn carry(&mut self, at: u16, seen: Vec<Seen>, datagram: &[u8]) -> Vec<Seen> {
        let mut effects = Vec::new();
        let mut left: VecDeque<_> = seen.into_iter().map(|s| (at, s)).collect();
        while let Some((at, seen)) = left.pop_front() {
            let (to, more) = match seen {
                Seen::Other(Output::Forward { shard, five_tuple }) => {
                    assert_ne!(shard, at);
                    (shard, Input::Forwarded { from: at, five_tuple, datagram })
                }
                Seen::Other(Output::Steer { shard, five_tuple, here }) => {
                    assert_ne!(shard, at);
                    (shard, Input::Steer { by: at, five_tuple, here })
                }
                other => {
                    effects.push(other);
                    continue;
                }
            };
            left.extend(self.0[usize::from(to)].input(more).into_iter().map(|s| (to, s)));
        }
        effects
    }

    /// A request of a client whose 5-tuple belongs to a shard: the code of the answer, and the ticket in it.
    fn request(
        &mut self,
        at: u16,
        client: &mut Client,
        method: Method,
        fill: impl Fn(&mut turnpike::stun::Builder<'_>),
    ) -> common::Reply {
        for _ in 0..3 {
            let request = client.signed(method, &fill);
            let seen = self.arrives(at, client.five_tuple, &request);
            let reply = common::Reply(to_client(&seen).unwrap_or_else(|| panic!("{seen:?}")).to_vec());
            if ![401, 438].contains(&reply.code()) {
                return reply;
            }
            client.nonce = reply.message().nonce().unwrap().unwrap().to_vec();
        }
        panic!("no way in")
    }

    fn refresh_with(&mut self, at: u16, client: &mut Client, ticket: &[u8]) -> common::Reply {
        self.request(at, client, Method::REFRESH, |b| {
            b.mobility_ticket(ticket);
        })
    }

    fn steered(&self) -> [usize; 3] {
        [0, 1, 2].map(|n| self.0[n].core.occupancy().steered)
    }
}

/// A client of shard 0 with a channel, its ticket, and the same client at a 5-tuple of another shard.
fn moving() -> (Shards, Client, Vec<u8>, Client) {
    let mut shards = Shards::new();
    let mut client = Client::new(1000);
    let (_, ticket) = client.allocated_mobile(&mut shards.0[0]);
    assert_eq!(client.bind(&mut shards.0[0], CHANNEL, addr(PEER)).code(), 0);
    let new = client.moved(2000);
    (shards, client, ticket, new)
}

#[test]
fn everything_it_sends_reaches_the_shard_with_its_allocation() {
    let (mut shards, _, ticket, mut new) = moving();
    let reply = shards.refresh_with(1, &mut new, &ticket);
    assert_eq!(reply.code(), 0);
    assert_eq!(shards.steered(), [0, 1, 0]);

    let seen = shards.arrives(1, new.five_tuple, &channel_data(CHANNEL, b"data"));
    assert_eq!(to_peer(&seen), Some((peer(PEER), &b"data"[..])));
    assert!(shards.0[0].datapath.binding(new.five_tuple, CHANNEL).is_some());
    let permit = shards.request(1, &mut new, Method::CREATE_PERMISSION, |b| {
        b.xor_peer_address(addr("203.0.113.2:1"));
    });
    assert_eq!(permit.code(), 0);
    let binding = new.plain(Method::BINDING, Class::Request, |_| {});
    assert!(to_client(&shards.arrives(1, new.five_tuple, &binding)).is_some());

    // On to a third shard, and then to the first: each forgets the client that left it.
    let mut newer = new.moved(3000);
    let ticket = shards.refresh_with(2, &mut newer, &reply.ticket()).ticket();
    assert_eq!(shards.steered(), [0, 1, 1], "both, until there is data");
    shards.0.iter_mut().for_each(|sim| sim.sleep(2.0));
    shards.arrives(2, newer.five_tuple, &channel_data(CHANNEL, b"data"));
    assert_eq!(shards.steered(), [0, 0, 1]);
    let mut newest = new.moved(4000);
    assert_eq!(shards.refresh_with(0, &mut newest, &ticket).code(), 0);
    shards.0.iter_mut().for_each(|sim| sim.sleep(2.0));
    shards.arrives(0, newest.five_tuple, &channel_data(CHANNEL, b"data"));
    assert_eq!(shards.steered(), [0, 0, 0]);
    shards.0[0].datapath.assert_agrees_with(&shards.0[0].core);
}

#[test]
fn a_shard_keeps_nothing_for_a_request_that_is_refused() {
    let (mut shards, mut old, ticket, mut new) = moving();
    let mut bob = Client::with(2001, "bob", "builder");
    assert_eq!(shards.refresh_with(1, &mut bob, &ticket).code(), 441);
    let mut forged = ticket.clone();
    forged[20] ^= 1;
    assert_eq!(shards.refresh_with(1, &mut new, &forged).code(), 400);

    // Nothing is handed on before the password has been proven.
    let mut stranger = Client::with(2002, common::USER, "guess");
    stranger.learn_nonce(&mut shards.0[1]);
    let guess = stranger.signed(Method::REFRESH, |b| {
        b.mobility_ticket(&ticket);
    });
    let seen = shards.0[1].client_sends(stranger.five_tuple, &guess);
    assert!(!seen.iter().any(|s| matches!(s, Seen::Other(Output::Forward { .. }))), "{seen:?}");

    assert_eq!(old.refresh(&mut shards.0[0], 0).code(), 0);
    assert_eq!(shards.refresh_with(1, &mut new, &ticket).code(), 437);
    assert_eq!(shards.steered(), [0, 0, 0]);
}

#[test]
fn a_retransmission_gets_the_same_answer_whether_or_not_it_is_led_already() {
    let (mut shards, _, ticket, mut new) = moving();
    new.learn_nonce(&mut shards.0[1]);
    let request = new.signed(Method::REFRESH, |b| {
        b.mobility_ticket(&ticket);
    });
    let forwarded = Input::Forwarded { from: 1, five_tuple: new.five_tuple, datagram: &request };
    // Both were handed on before shard 1 heard anything.
    let first = shards.0[0].input(forwarded);
    let again = shards.0[0].input(forwarded);
    assert_eq!(to_client(&first), to_client(&again));
    let first = shards.carry(0, first, &request);
    assert_eq!(shards.steered(), [0, 1, 0]);
    let led = shards.arrives(1, new.five_tuple, &request);
    assert_eq!(to_client(&first), to_client(&led));
}

#[test]
fn a_shard_forgets_a_client_whose_allocation_ended() {
    for expires in [true, false] {
        let (mut shards, _, ticket, mut new) = moving();
        assert_eq!(shards.refresh_with(1, &mut new, &ticket).code(), 0);
        shards.arrives(1, new.five_tuple, &channel_data(CHANNEL, b"data"));
        if expires {
            let seen = shards.0[0].wait(700.0);
            shards.carry(0, seen, &[]);
        } else {
            let end = shards.request(1, &mut new, Method::REFRESH, |b| {
                b.lifetime(std::time::Duration::ZERO);
            });
            assert_eq!(end.code(), 0);
        }
        assert_eq!(shards.steered(), [0, 0, 0]);
        let fresh = shards.request(1, &mut new, Method::ALLOCATE, |b| {
            b.requested_transport(17);
        });
        assert_eq!(
            (fresh.code(), shards.0[1].core.allocation_count()),
            (0, 1),
            "it is shard 1's own client now"
        );
    }
}

/// What comes late must neither make an allocation at a shard that will not hear of the client again, nor go round in
/// circles.
#[test]
fn what_is_handed_on_too_late_goes_no_further() {
    let (mut shards, mut old, ticket, mut new) = moving();
    assert_eq!(old.refresh(&mut shards.0[0], 0).code(), 0);
    new.learn_nonce(&mut shards.0[1]);
    let allocate = new.signed(Method::ALLOCATE, |b| {
        b.requested_transport(17);
    });
    let refresh = new.signed(Method::REFRESH, |b| {
        b.mobility_ticket(&ticket);
    });
    let data = channel_data(CHANNEL, b"data");
    let five_tuple = new.five_tuple;
    for (at, datagram) in [(0, &allocate), (0, &data), (2, &refresh), (2, &allocate)] {
        let seen = shards.0[at].input(Input::Forwarded { from: 1, five_tuple, datagram });
        assert_eq!(common::dropped(&seen), Some(Reason::NoAllocation), "{seen:?}");
    }
}

#[test]
fn an_allocation_that_a_client_made_meanwhile_is_not_taken_from_it() {
    let (mut shards, _, _, mut new) = moving();
    let relayed = new.allocated(&mut shards.0[1]);
    new.permit(&mut shards.0[1], &[addr(PEER)]);
    let steer = Input::Steer { by: 0, five_tuple: new.five_tuple, here: true };
    shards.0[1].input(steer);
    let seen = new.send(&mut shards.0[1], addr(PEER), b"data");
    assert!(to_peer(&seen).is_some(), "{seen:?}");
    assert!(to_client(&shards.0[1].peer_sends(relayed, peer(PEER), b"data")).is_some());

    // And only who asked for a client can let it go.
    let other = new.moved(2001).five_tuple;
    shards.0[1].input(Input::Steer { by: 0, five_tuple: other, here: true });
    shards.0[1].input(Input::Steer { by: 2, five_tuple: other, here: false });
    assert_eq!(shards.steered(), [0, 1, 0]);
    shards.0[1].input(Input::Steer { by: 0, five_tuple: other, here: false });
    assert_eq!(shards.steered(), [0, 0, 0]);
}
