//! Data both ways, and what lets it through.

use std::net::SocketAddr;

use turnpike::stun::{AddressFamily, Class, Icmp, Method};

use super::{V4, V4_OTHER, allocate, bind, peers, permit, plain, seconds, send, v6};
use crate::both::Both;
use crate::common::{addr, channel_data};
use crate::facts::STRANGE;
use crate::party::{BOB, Party};

pub(super) fn a_call() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let relayed = allocate(&mut both, &mut alice).is(0).relayed()[0];
    permit(&mut both, &mut alice, addr(V4)).is(0);
    send(&mut both, &mut alice, addr(V4)).relays();
    both.peer_sends(relayed, addr(V4), b"to a permission").relays();
    bind(&mut both, &mut alice, 0x4000, addr(V4)).is(0);
    for bytes in [&b""[..], b"x", b"abcd", &[7; 1200]] {
        both.datagram(&mut alice, &channel_data(0x4000, bytes)).relays();
        both.peer_sends(relayed, addr(V4), bytes).relays();
    }
    // A permission is by address: the other port has it too, but not the channel.
    both.peer_sends(relayed, addr("203.0.113.1:9"), b"by indication").relays();
    both.request(&mut alice, Method::REFRESH, seconds(900)).is(0);
    both.request(&mut alice, Method::REFRESH, seconds(0)).is(0);
    both.datagram(&mut alice, &channel_data(0x4000, b"too late")).drops();
    both.peer_sends(relayed, addr(V4), b"too late").drops();
    both
}

pub(super) fn permissions() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let relayed = allocate(&mut both, &mut alice).is(0).relayed()[0];
    let many = vec![addr(V4), addr(V4_OTHER), addr(V4)];
    both.request(&mut alice, Method::CREATE_PERMISSION, peers(many)).is(0);
    both.wait(299_999);
    send(&mut both, &mut alice, addr(V4)).relays();
    permit(&mut both, &mut alice, addr(V4)).is(0);
    both.wait(2);
    send(&mut both, &mut alice, addr(V4_OTHER)).drops();
    both.peer_sends(relayed, addr(V4_OTHER), b"expired").drops();
    both.peer_sends(relayed, addr(V4), b"refreshed").relays();
    send(&mut both, &mut alice, addr("203.0.113.3:1")).drops();
    both.peer_sends(relayed, addr("203.0.113.3:1"), b"never let in").drops();

    // The last instant.
    both.request(&mut alice, Method::REFRESH, |_| {}).is(0);
    both.wait(299_998);
    send(&mut both, &mut alice, addr(V4)).drops().but("Alive at the very instant at which a lifetime ends");
    both.wait(1);
    send(&mut both, &mut alice, addr(V4)).drops();

    both.request(&mut alice, Method::CREATE_PERMISSION, peers(vec![addr(V4), v6()])).is(443);
    send(&mut both, &mut alice, addr(V4)).drops().but("Permissions of a CreatePermission that was refused");
    let mut bob = Party::of(1001, BOB);
    for forbidden in ["127.0.0.1:1", "203.0.113.1:0"] {
        allocate(&mut both, &mut bob).is(0);
        bind(&mut both, &mut bob, 0x4000, addr(forbidden)).is(403).but("Peers that no rule forbids");
    }
    both
}

pub(super) fn channels() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let (peer, other) = (addr(V4), addr(V4_OTHER));
    allocate(&mut both, &mut alice).is(0);
    // Both serve the range of RFC 5766, of which RFC 8656 section 12 has the part up to 0x4fff.
    for (number, code) in [(0x3fff, 400), (0x5000, 0), (0x7fff, 0), (0x8000, 400), (0xffff, 400)] {
        bind(&mut both, &mut alice, number, SocketAddr::new(other.ip(), number)).is(code);
    }
    bind(&mut both, &mut alice, 0x4fff, peer).is(0);
    bind(&mut both, &mut alice, 0x4001, peer).is(400);
    bind(&mut both, &mut alice, 0x4fff, other).is(400).but("Channel number bound to another peer");

    // Another port is another peer.
    let relayed = allocate(&mut both, &mut alice).is(0).relayed()[0];
    bind(&mut both, &mut alice, 0x4000, peer).is(0);
    bind(&mut both, &mut alice, 0x4001, addr("203.0.113.1:1001")).is(0);
    both.request(&mut alice, Method::REFRESH, seconds(3600)).is(0);
    both.wait(299_999);
    both.datagram(&mut alice, &channel_data(0x4000, b"alive")).relays();
    both.wait(2);
    // The permission has ended, the channel has not.
    both.datagram(&mut alice, &channel_data(0x4000, b"not permitted")).drops();
    both.peer_sends(relayed, peer, b"not permitted").drops();
    permit(&mut both, &mut alice, peer).is(0);
    both.datagram(&mut alice, &channel_data(0x4000, b"again")).relays();
    both.wait(299_997);
    both.peer_sends(relayed, peer, b"by channel").relays();
    permit(&mut both, &mut alice, peer).is(0);
    both.wait(3);
    // Now the channel has ended, and the permission has not.
    both.datagram(&mut alice, &channel_data(0x4000, b"expired")).drops();
    both.peer_sends(relayed, peer, b"by indication").relays();
    // Number and peer belong together until 5 minutes later.
    bind(&mut both, &mut alice, 0x4000, peer).is(0);
    both.datagram(&mut alice, &channel_data(0x4000, b"again")).relays();
    both.wait(899_999);
    let resting = "Channel number or peer bound otherwise within 5 minutes of its expiry";
    bind(&mut both, &mut alice, 0x4002, peer).is(400).but(resting);

    for at in [0, 1] {
        allocate(&mut both, &mut alice).is(0);
        both.request(&mut alice, Method::REFRESH, seconds(3600)).is(0);
        bind(&mut both, &mut alice, 0x4000, peer).is(0);
        both.wait(899_999 + 2 * at);
        let step = bind(&mut both, &mut alice, 0x4000, other);
        match at {
            0 => drop(step.is(400).but(resting)),
            _ => drop(step.is(0)),
        }
    }
    bind(&mut both, &mut alice, 0x4003, peer).is(0);
    both
}

pub(super) fn data() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    both.datagram(&mut alice, &channel_data(0x4000, b"no allocation")).drops();
    send(&mut both, &mut alice, addr(V4)).drops();
    let relayed = allocate(&mut both, &mut alice).is(0).relayed()[0];
    bind(&mut both, &mut alice, 0x4000, addr(V4)).is(0);
    both.datagram(&mut alice, &channel_data(0x4001, b"no such channel")).drops();
    both.datagram(&mut alice, &channel_data(0x5000, b"no channel at all")).drops();
    let good = channel_data(0x4000, b"abcde");
    both.datagram(&mut alice, &good[..8]).drops();
    both.datagram(&mut alice, &good[..3]).drops();
    both.datagram(&mut alice, &[&good[..], &[0; 3]].concat()).relays();
    both.datagram(&mut alice, &[&good[..], &[0; 4]].concat())
        .drops()
        .but("ChannelData with more behind it than padding");
    for (peer, strange, data) in [
        (None, false, Some("no peer")),
        (Some(addr(V4)), false, None),
        (Some(addr(V4)), true, Some("not understood")),
        (Some(v6()), false, Some("another family")),
    ] {
        plain(&mut both, &mut alice, Method::SEND, Class::Indication, |b| {
            if let Some(peer) = peer {
                b.xor_peer_address(peer);
            }
            if strange {
                b.bytes(STRANGE, b"?");
            }
            if let Some(data) = data {
                b.data(data.as_bytes()).expect("short");
            }
        })
        .drops();
    }
    plain(&mut both, &mut alice, Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr(V4)).data(b"").expect("short");
    })
    .relays();
    plain(&mut both, &mut alice, Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(addr(V4)).dont_fragment().data(b"whole").expect("short");
    })
    .relays()
    .but("DONT-FRAGMENT in Send: the datagram is dropped");

    let request = alice.ours.plain(Method::BINDING, Class::Request, |b| {
        b.fingerprint();
    });
    for cut in [0, 1, 19, 20, request.len() - 1] {
        if cut > 0 {
            both.datagram(&mut alice, &request[..cut]).drops();
        }
    }
    let mut damaged = request.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    both.datagram(&mut alice, &damaged).drops();
    let mut cookieless = request.clone();
    cookieless[4] ^= 1;
    both.datagram(&mut alice, &cookieless).drops();
    both.datagram(&mut alice, &[&request[..], &[0; 4]].concat())
        .drops()
        .but("Messages with something behind them");
    both.datagram(&mut alice, &[0xc0; 40]).drops();
    both.peer_sends(relayed, addr(V4_OTHER), b"no permission").drops();
    both
}

pub(super) fn icmp_errors() -> Both {
    let mut both = Both::new();
    let mut alice = Party::new(1000);
    let step = both.request(&mut alice, Method::ALLOCATE, |b| {
        b.requested_transport(17).additional_address_family(AddressFamily::V6);
    });
    let relayed = step.is(0).relayed();
    for (peer, told, kept) in [
        (addr(V4), [(3, 0), (3, 3), (3, 4), (11, 0)], [(0, 0), (4, 0), (5, 1), (12, 0)]),
        (v6(), [(1, 0), (1, 4), (2, 0), (3, 1)], [(4, 0), (128, 0), (129, 0), (137, 0)]),
    ] {
        let relayed = *relayed.iter().find(|relayed| relayed.is_ipv4() == peer.is_ipv4()).expect("of each");
        let error = |(kind, code)| Icmp { kind, code, data: 1400 };
        both.icmp_error(relayed, peer, error(told[0])).drops();
        bind(&mut both, &mut alice, 0x4000 + u16::from(peer.is_ipv6()), peer).is(0);
        for icmp in told {
            both.icmp_error(relayed, peer, error(icmp)).relays();
        }
        for icmp in kept {
            both.icmp_error(relayed, peer, error(icmp)).drops();
        }
        both.wait(300_001);
        both.icmp_error(relayed, peer, error(told[0])).drops();
    }
    both
}

pub(super) fn hairpin() -> Both {
    let mut both = Both::new();
    let (mut alice, mut bob) = (Party::new(1000), Party::of(1001, BOB));
    let of_alice = allocate(&mut both, &mut alice).is(0).relayed()[0];
    let of_bob = allocate(&mut both, &mut bob).is(0).relayed()[0];
    bind(&mut both, &mut alice, 0x4000, of_bob).is(0);
    both.datagram(&mut alice, &channel_data(0x4000, b"hello")).relays();
    both.peer_sends(of_bob, of_alice, b"hello").drops();
    permit(&mut both, &mut bob, of_alice).is(0);
    both.peer_sends(of_bob, of_alice, b"hello").relays();
    send(&mut both, &mut bob, of_alice).relays();
    both.peer_sends(of_alice, of_bob, b"sent").relays();
    both
}
