//! Who asks, and requests that are not as they should be.

use std::time::Duration;

use turnpike::stun::{AttributeType, Builder, Class, Method};

use super::{V4, V4_OTHER, allocate, bind, channel, peers, permit, plain, seconds, udp};
use crate::both::Both;
use crate::common::{Client, PASSWORD, USER, addr, channel_data};
use crate::facts::STRANGE;
use crate::party::{BOB, Defect, Party};

pub(super) fn binding() -> Both {
    let mut both = Both::new();
    let mut anybody = Party::new(1000);
    plain(&mut both, &mut anybody, Method::BINDING, Class::Request, |_| {})
        .is(0)
        .but("Binding answered to its own address");
    plain(&mut both, &mut anybody, Method::BINDING, Class::Request, |b| {
        b.fingerprint();
    })
    .is(0);
    plain(&mut both, &mut anybody, Method::BINDING, Class::Request, |b| {
        b.bytes(STRANGE, b"?").bytes(AttributeType(0x7abd), b"");
    })
    .is(420);
    plain(&mut both, &mut anybody, Method::BINDING, Class::Request, |b| {
        b.bytes(AttributeType(0xfabc), b"may be ignored");
    })
    .is(0);
    plain(&mut both, &mut anybody, Method::BINDING, Class::Indication, |_| {}).drops();
    plain(&mut both, &mut anybody, Method::BINDING, Class::Success, |_| {}).drops();
    plain(&mut both, &mut anybody, Method::BINDING, Class::Request, |b| {
        b.lifetime(Duration::ZERO);
    })
    .is(0)
    .but("Attributes that are known but mean nothing in the request: 420");
    both
}

pub(super) fn credentials() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let wrong = [
        (Defect::NoIntegrity, 401),
        (Defect::NoUsername, 400),
        (Defect::NoRealm, 400),
        (Defect::NoNonce, 400),
        (Defect::StaleNonce, 438),
        (Defect::WrongPassword, 401),
        (Defect::UnknownUser, 401),
    ];
    let methods = [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
    // The answers are the same whether or not there is an allocation; the other server's are not quite.
    for _ in 0..2 {
        for (defect, code) in wrong {
            for method in methods {
                both.faulty(&mut alice, method, defect, udp).is(code);
            }
        }
        both.request(&mut alice, Method::ALLOCATE, udp);
    }
    both.faulty(&mut Party::new(1001), Method::ALLOCATE, Defect::OtherRealm, udp)
        .is(401)
        .but("REALM of the request not read");
    both
}

pub(super) fn newer_credentials() -> Both {
    let mut both = Both::new();
    for (port, client) in [
        (1000, Client::new(1000).modern()),
        (1001, Client::new(1001).modern().anonymous()),
        (1002, Client::new(1002).anonymous()),
    ] {
        let mut party = Party::with(client);
        let relayed = allocate(&mut both, &mut party).is(0).relayed()[0];
        assert_eq!(party.five_tuple().client.0.port(), port);
        for defect in [Defect::WrongPassword, Defect::UnknownUser] {
            both.faulty(&mut party, Method::REFRESH, defect, |_| {}).is(401);
        }
        both.faulty(&mut party, Method::REFRESH, Defect::StaleNonce, |_| {}).is(438);
        bind(&mut both, &mut party, 0x4000, addr(V4)).is(0);
        both.datagram(&mut party, &channel_data(0x4000, b"data")).relays();
        both.peer_sends(relayed, addr(V4), b"back").relays();
        both.request(&mut party, Method::REFRESH, |b| {
            b.bytes(STRANGE, b"");
        })
        .is(420);
        both.request(&mut party, Method::REFRESH, seconds(0)).is(0);
        both.request(&mut party, Method::REFRESH, |_| {}).is(437);
    }
    both
}

pub(super) fn another_user() -> Both {
    let mut both = Both::new();
    let mut party = Party::new(1000);
    allocate(&mut both, &mut party).is(0);
    party.become_user(BOB);
    both.request(&mut party, Method::REFRESH, |_| {}).is(441);
    permit(&mut both, &mut party, addr(V4)).is(441);
    bind(&mut both, &mut party, 0x4000, addr(V4)).is(441);
    allocate(&mut both, &mut party).is(437).but("Allocate of another user at a used 5-tuple: 441");
    party.become_user((USER, PASSWORD));
    both.request(&mut party, Method::REFRESH, |_| {}).is(0);
    allocate(&mut both, &mut party).is(437);
    both
}

pub(super) fn odd_requests() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let strange = |b: &mut Builder<'_>| {
        b.requested_transport(17).bytes(STRANGE, b"?").bytes(AttributeType(0x7abd), b"");
    };
    both.request(&mut alice, Method::ALLOCATE, strange).is(420);
    both.request(&mut alice, Method::REFRESH, strange)
        .is(420)
        .but("The allocation and its user are looked at before unknown attributes: 437 or 441");
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        both.request(&mut alice, method, |_| {}).is(437);
    }
    allocate(&mut both, &mut alice).is(0);
    both.request(&mut alice, Method::CHANNEL_BIND, |_| {}).is(400);
    both.request(&mut alice, Method::CHANNEL_BIND, |b| {
        b.channel_number(0x4000);
    })
    .is(400);
    both.request(&mut alice, Method::CHANNEL_BIND, peers(vec![addr(V4)])).is(400);
    both.request(&mut alice, Method::CREATE_PERMISSION, |_| {}).is(400);
    both.request(&mut alice, Method::CREATE_PERMISSION, |b| {
        b.xor_peer_address(addr(V4)).bytes(STRANGE, b"?");
    })
    .is(420);
    both.fingerprinted(&mut alice, Method::REFRESH, |_| {}).is(0);
    both.fingerprinted(&mut alice, Method::ALLOCATE, udp).is(437);
    plain(&mut both, &mut alice, Method::SEND, Class::Request, |_| {})
        .drops()
        .but("Requests of unknown methods: 401, 437 or 400");
    plain(&mut both, &mut alice, Method::ALLOCATE, Class::Indication, udp).drops();
    plain(&mut both, &mut alice, Method::REFRESH, Class::Success, |_| {}).drops();
    both.request(&mut alice, Method::REFRESH, |b| {
        b.channel_number(0x4000);
    })
    .is(0);
    both.request(&mut Party::new(1001), Method::ALLOCATE, |b| {
        b.requested_transport(17).channel_number(0x4000);
    })
    .is(0);
    both
}

pub(super) fn retransmissions() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    both.request(&mut alice, Method::ALLOCATE, |_| {}).is(400);
    both.again(&mut alice).is(400);
    allocate(&mut both, &mut alice).is(0);
    both.again(&mut alice).is(0).but("Allocate retransmitted: 437");
    for fill in [channel(0x4000, addr(V4)), channel(0x4001, addr(V4_OTHER))] {
        both.request(&mut alice, Method::CHANNEL_BIND, fill).is(0);
        both.again(&mut alice).is(0);
    }
    permit(&mut both, &mut alice, addr(V4)).is(0);
    both.again(&mut alice).is(0);
    both.request(&mut alice, Method::REFRESH, seconds(1000)).is(0);
    both.again(&mut alice).is(0);
    both.request(&mut alice, Method::REFRESH, seconds(0)).is(0);
    both.wait(39_999);
    both.again(&mut alice).is(0).but("Refresh with lifetime 0 retransmitted: 437 or 443");
    both.wait(2);
    both.again(&mut alice).is(437);

    let mut alice = Party::new(1001);
    allocate(&mut both, &mut alice).is(0);
    let (datagrams, about, _) = alice.last.clone().expect("sent");
    both.request(&mut alice, Method::REFRESH, seconds(0)).is(0);
    both.sends(&mut alice, datagrams, about)
        .is(437)
        .but("Allocate retransmitted after the allocation ended: another allocation");
    both
}
