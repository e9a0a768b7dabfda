//! Allocations: how they are had, kept and lost.

use std::time::Duration;

use turnpike::stun::{AddressFamily, AttributeType, Builder, Method};

use super::{V4, allocate, bind, peers, permit, seconds, send, v6};
use crate::both::Both;
use crate::common::{Reply, Sim, addr, channel_data, config};
use crate::party::Party;

pub(super) fn allocations() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    both.request(&mut alice, Method::ALLOCATE, |_| {}).is(400);
    for (protocol, code) in [(6, 442), (1, 442), (99, 442)] {
        both.request(&mut alice, Method::ALLOCATE, |b| {
            b.requested_transport(protocol);
        })
        .is(code);
    }
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).requested_address_family(AddressFamily::Unknown(7));
    })
    .is(440);
    both.request(&mut alice, Method::ALLOCATE, |b| {
        let v6 = AddressFamily::V6;
        b.requested_transport(17).requested_address_family(v6).additional_address_family(v6);
    })
    .is(400);
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).additional_address_family(AddressFamily::V4);
    })
    .is(400);
    for (wished, granted) in [(0, 600), (1, 600), (600, 600), (601, 601), (3600, 3600), (3601, 3600)] {
        let step = both.request(&mut alice, Method::ALLOCATE, |b| {
            b.requested_transport(17).lifetime(Duration::from_secs(wished));
        });
        let answer = step.is(0).ours.answer().cloned().expect("an answer");
        assert_eq!(answer.lifetime, Some(Duration::from_secs(granted)));
        allocate(&mut both, &mut alice).is(437);
        // To the millisecond.
        both.wait(granted * 1000 - 1);
        both.request(&mut alice, Method::CREATE_PERMISSION, peers(vec![addr(V4)])).is(0);
        both.wait(2);
        both.request(&mut alice, Method::CREATE_PERMISSION, peers(vec![addr(V4)])).is(437);
    }
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).bytes(AttributeType::LIFETIME, &[1, 2]);
    })
    .is(400);
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).dont_fragment();
    })
    .is(0);
    both
}

pub(super) fn ports() -> Both {
    let mut both = Both::new();
    let even = |reserve| {
        move |b: &mut Builder<'_>| {
            b.requested_transport(17).even_port(reserve);
        }
    };
    both.request(&mut Party::new(1000), Method::ALLOCATE, even(false)).is(0);
    let step = both.request(&mut Party::new(1001), Method::ALLOCATE, even(true)).is(0);
    let answer = step.but("RESERVATION-TOKEN not given").ours.answer().cloned().expect("an answer");
    let answer = Reply(answer.bytes);
    let token = answer.message().reservation_token().expect("well-formed").expect("RESERVATION-TOKEN");
    both.request(&mut Party::new(1002), Method::ALLOCATE, |b| {
        b.requested_transport(17).reservation_token(token);
    })
    .is(0);
    let mut alice = Party::new(1003);
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).reservation_token([9; 8]);
    })
    .is(508);
    let [v6, reserved] = [AttributeType::ADDITIONAL_ADDRESS_FAMILY, AttributeType::RESERVATION_TOKEN];
    let together: [&[(AttributeType, &[u8])]; 4] = [
        &[(reserved, &[8; 8]), (AttributeType::EVEN_PORT, &[0])],
        &[(reserved, &[8; 8]), (AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])],
        &[(reserved, &[8; 8]), (v6, &[2, 0, 0, 0])],
        &[(AttributeType::EVEN_PORT, &[0x80]), (v6, &[2, 0, 0, 0])],
    ];
    for attributes in together {
        both.request(&mut alice, Method::ALLOCATE, |b| {
            b.requested_transport(17);
            for (kind, value) in attributes {
                b.bytes(*kind, value);
            }
        })
        .is(400);
    }
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).even_port(false).additional_address_family(AddressFamily::V6);
    })
    .is(0)
    .but("EVEN-PORT without R together with ADDITIONAL-ADDRESS-FAMILY: 400");
    both
}

pub(super) fn both_families() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let family = |family, seconds| {
        move |b: &mut Builder<'_>| {
            b.lifetime(Duration::from_secs(seconds)).requested_address_family(family);
        }
    };
    let two = |b: &mut Builder<'_>| {
        b.requested_transport(17).additional_address_family(AddressFamily::V6);
    };
    let relayed = both.request(&mut alice, Method::ALLOCATE, two).is(0).relayed();
    assert_eq!(relayed.len(), 2);
    for (number, peer) in [(0x4000, addr(V4)), (0x4001, v6())] {
        bind(&mut both, &mut alice, number, peer).is(0);
        both.datagram(&mut alice, &channel_data(number, b"data")).relays();
        send(&mut both, &mut alice, peer).relays();
        let relayed = relayed.iter().find(|relayed| relayed.is_ipv4() == peer.is_ipv4()).expect("of each");
        both.peer_sends(*relayed, peer, b"back").relays();
    }
    // They end one after the other, each with its own.
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::V6, 1200)).is(0);
    both.wait(600_001);
    bind(&mut both, &mut alice, 0x4000, addr(V4)).is(443);
    bind(&mut both, &mut alice, 0x4001, v6()).is(0);
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::V4, 0)).is(443);
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::V4, 600)).is(443);
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::V6, 0)).is(0);
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::V6, 0)).is(437);

    both.request(&mut alice, Method::ALLOCATE, two).is(0);
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::V4, 0)).is(0);
    permit(&mut both, &mut alice, addr(V4)).is(443);
    permit(&mut both, &mut alice, v6()).is(0);
    both.request(&mut alice, Method::REFRESH, |_| {}).is(0);
    send(&mut both, &mut alice, addr(V4)).drops();
    send(&mut both, &mut alice, v6()).relays();
    both.request(&mut alice, Method::REFRESH, family(AddressFamily::Unknown(7), 600)).is(443);
    both
}

pub(super) fn refused_families() -> Both {
    // An IPv4 relay address only.
    let mut both = Both::with(Sim::new(config(), [7; 32]));
    let mut alice = Party::new(1000);
    both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).requested_address_family(AddressFamily::V6);
    })
    .is(440);
    let step = both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).additional_address_family(AddressFamily::V6);
    });
    let answer = step.is(0).ours.answer().cloned().expect("an answer");
    assert_eq!(answer.address_error, Some((AddressFamily::V6, 440)));
    permit(&mut both, &mut alice, v6()).is(443);
    bind(&mut both, &mut alice, 0x4000, v6()).is(443);
    both.request(&mut alice, Method::REFRESH, seconds(0)).is(0);
    both.sim.out_of_sockets = true;
    allocate(&mut both, &mut alice).is(508);
    both.sim.out_of_sockets = false;
    allocate(&mut both, &mut alice).is(0);
    both
}

pub(super) fn refreshes() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    both.request(&mut alice, Method::REFRESH, seconds(0)).is(437);
    allocate(&mut both, &mut alice).is(0);
    for (wished, granted) in [(1, 600), (700, 700), (86_400, 3600)] {
        let step = both.request(&mut alice, Method::REFRESH, seconds(wished)).is(0);
        let lifetime = step.ours.answer().and_then(|answer| answer.lifetime);
        assert_eq!(lifetime, Some(Duration::from_secs(granted)));
        both.wait(granted * 1000 - 1);
    }
    both.request(&mut alice, Method::REFRESH, |_| {}).is(0);
    both.wait(599_999);
    both.request(&mut alice, Method::REFRESH, |_| {}).is(0);
    both.wait(600_001);
    both.request(&mut alice, Method::REFRESH, |_| {}).is(437);
    allocate(&mut both, &mut alice).is(0);
    both.request(&mut alice, Method::REFRESH, |b| {
        b.bytes(AttributeType::LIFETIME, &[]);
    })
    .is(400)
    .but("LIFETIME that is too short an attribute: the default");
    both
}
