//! Send and Data indications (RFC 8656 section 11).

use std::net::SocketAddr;

use relay_common::reason::Reason;
use turnpike::stun::AttributeType;
use turnpike_tests::frames::Datagram;

use crate::scene::*;

const SIZES: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 160, 1199, 1400];

/// A scene with a permission for the peer's address, and a port of the peer that has no channel.
struct Permitted {
    s: Scene,
    send: u32,
    data: u32,
    peer: SocketAddr,
}

fn permitted_in(mut s: Scene) -> Permitted {
    let peer = SocketAddr::new(s.peer.ip(), 7000);
    let [send, data] = permission(s.client, s.listener, s.relayed, peer);
    let (send, data) = (s.program.insert(send), s.program.insert(data));
    Permitted { s, send, data, peer }
}

fn permitted() -> Permitted {
    permitted_in(Scene::v4())
}

/// One for each pair of families.
fn crossings() -> impl Iterator<Item = Permitted> {
    let v4 = ("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000");
    let v6 = ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:2::9]:6000");
    [(v4, v4), (v4, v6), (v6, v4), (v6, v6)]
        .into_iter()
        .map(|(c, p)| permitted_in(Scene::between(c.0, c.1, p.2, p.3)))
}

impl Permitted {
    fn sends(&self, payload: Vec<u8>) -> Datagram {
        Datagram::new(self.s.client, self.s.listener, payload)
    }

    #[track_caller]
    fn reaches(&mut self, payload: Vec<u8>, data: &[u8]) {
        let frame = Datagram { tos: 0xb9, ..self.sends(payload) };
        let out = self.s.rewritten(&frame, Datagram::new(self.s.relayed, self.peer, data));
        self.s.tx(&frame, &out, Reason::ToPeer);
        let run = self.s.program.run(&frame.frame());
        assert_eq!(run.frame.len(), out.frame().len(), "what followed the data is cut off");
    }

    #[track_caller]
    fn goes_up(&mut self, payload: Vec<u8>) {
        let frame = self.sends(payload).frame();
        self.s.passed(&frame, Reason::Stun);
    }

    #[track_caller]
    fn is_junk(&mut self, payload: Vec<u8>) {
        let frame = self.sends(payload).frame();
        self.s.dropped(&frame, Reason::Malformed);
    }
}

/// The same but for one byte.
fn changed(payload: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut changed = payload.to_vec();
    assert_ne!(std::mem::replace(&mut changed[at], value), value);
    changed
}

fn some(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + 3) as u8).collect()
}

#[test]
fn a_send_indication_reaches_any_port_of_a_permitted_peer_whatever_the_families() {
    for mut p in crossings() {
        for len in SIZES {
            p.peer.set_port(1 + len as u16 * 41);
            p.reaches(send_to(p.peer, &some(len)), &some(len));
        }
    }
}

#[test]
fn attributes_may_come_in_any_order_and_optional_ones_are_passed_over() {
    for mut p in crossings() {
        for len in SIZES {
            let (peer, data) = (p.peer, some(len));
            let orders: [&dyn Fn() -> Vec<u8>; 5] = [
                &|| send_of(|b| done(b.data(&data).unwrap().xor_peer_address(peer))),
                &|| send_of(|b| done(b.data(&data).unwrap().xor_peer_address(peer).fingerprint())),
                &|| send_of(|b| done(b.software("x 1.2").xor_peer_address(peer).data(&data).unwrap())),
                &|| send_of(|b| done(b.dont_fragment().xor_peer_address(peer).data(&data).unwrap())),
                &|| {
                    let optional = AttributeType(0xf00d);
                    send_of(|b| done(b.xor_peer_address(peer).data(&data).unwrap().bytes(optional, &[9; 31])))
                },
            ];
            for order in orders {
                p.reaches(order(), &data);
            }
        }
    }
}

/// RFC 8489 section 14: the padding may have any value.
#[test]
fn lessons_37_what_pads_the_data_of_a_send_indication_goes_no_further() {
    let mut p = permitted();
    for len in 1..8 {
        let mut payload = send_to(p.peer, &some(len));
        let padding = len.next_multiple_of(4) - len;
        let end = payload.len();
        payload[end - padding..].fill(0xee);
        p.reaches(payload, &some(len));
    }
}

/// FINGERPRINT is over all of the data, and on a TURN port there is nothing to tell apart by it: see decision 5.
#[test]
fn a_wrong_fingerprint_in_a_send_indication_is_not_looked_at() {
    let mut p = permitted();
    let fingerprint = AttributeType::FINGERPRINT;
    let payload =
        send_of(|b| done(b.xor_peer_address(p.peer).data(b"media").unwrap().bytes(fingerprint, &[1; 4])));
    p.reaches(payload, b"media");
}

#[test]
fn dont_fragment_sets_df_from_ipv4_to_ipv4() {
    for mut p in crossings() {
        let payload = send_of(|b| done(b.xor_peer_address(p.peer).dont_fragment().data(b"x").unwrap()));
        for dont_fragment in [false, true] {
            let frame = Datagram { dont_fragment, id: 77, ..p.sends(payload.clone()) };
            let set = Datagram { dont_fragment: true, ..frame.clone() };
            let out = p.s.rewritten(&set, Datagram::new(p.s.relayed, p.peer, b"x"));
            p.s.tx(&frame, &out, Reason::ToPeer);
        }
        let frame = Datagram { dont_fragment: false, id: 77, ..p.sends(send_to(p.peer, b"x")) };
        if frame.src.is_ipv4() && p.peer.is_ipv4() {
            let out = p.s.rewritten(&frame, Datagram::new(p.s.relayed, p.peer, b"x"));
            p.s.tx(&frame, &out, Reason::ToPeer);
        }
    }
}

#[test]
fn what_is_no_plain_send_indication_goes_up_untouched() {
    let mut p = permitted();
    let (peer, data) = (p.peer, &b"media"[..]);
    let (xor_peer, other) = (AttributeType::XOR_PEER_ADDRESS, AttributeType(0x7000));
    p.goes_up(send_of(|_| {}));
    p.goes_up(send_of(|b| done(b.xor_peer_address(peer))));
    p.goes_up(send_of(|b| done(b.data(data).unwrap())));
    p.goes_up(send_of(|b| done(b.xor_peer_address(peer).bytes(other, b"x").data(data).unwrap())));
    p.goes_up(send_of(|b| done(b.xor_peer_address(peer).lifetime(Default::default()).data(data).unwrap())));
    p.goes_up(send_of(|b| done(b.xor_peer_address(peer).xor_peer_address(peer).data(data).unwrap())));
    p.goes_up(send_of(|b| done(b.xor_peer_address(peer).data(data).unwrap().data(data).unwrap())));
    p.goes_up(send_of(|b| {
        done(b.fingerprint().xor_peer_address(peer).data(data).unwrap());
    }));
    p.goes_up(send_of(|b| {
        b.xor_peer_address(peer).data(data).unwrap();
        b.bytes(AttributeType::MESSAGE_INTEGRITY, &[0; 20]);
    }));
    p.goes_up(send_of(|b| done(b.bytes(xor_peer, &[0, 1]).data(data).unwrap())));
    p.goes_up(send_of(|b| done(b.bytes(xor_peer, &[0, 3, 1, 1, 1, 1, 1, 1]).data(data).unwrap())));
    p.goes_up(send_of(|b| {
        b.xor_peer_address(peer);
        (0..8).for_each(|_| done(b.bytes(AttributeType(0x8abc), b"")));
        b.data(data).unwrap();
    }));
    p.goes_up(send_of(|b| {
        done(b.xor_peer_address(peer).bytes(AttributeType(0x8abc), &[0; 33]).data(data).unwrap());
    }));

    let plain = send_to(peer, data);
    for (at, value) in [(0, 0x01), (1, 0x17), (1, 0x06)] {
        p.goes_up(changed(&plain, at, value));
    }
}

#[test]
fn what_is_no_stun_message_at_all_ends_here() {
    let mut p = permitted();
    let plain = send_to(p.peer, b"media");
    for (at, value) in [(4, 0x22), (7, 0), (3, 1), (3, 23), (3, 28)] {
        p.is_junk(changed(&plain, at, value));
    }
    // The length of DATA leads out of the message.
    for len in [9_u16, 12, 0xfffc, 0xffff] {
        let mut payload = plain.clone();
        payload[34..36].copy_from_slice(&len.to_be_bytes());
        p.is_junk(payload);
    }
    for len in 4..plain.len() {
        p.is_junk(plain[..len].to_vec());
    }
    p.reaches(plain, b"media");
}

#[test]
fn a_peer_or_listener_that_is_not_the_permissions_goes_up() {
    let mut p = permitted();
    for peer in ["203.0.113.10:7000", "203.0.113.9:0", "[2001:db8:2::9]:7000", "[::ffff:203.0.113.9]:7000"] {
        p.goes_up(send_to(addr(peer), b"x"));
    }
    // Listener and peer both other than the permission's, whose XOR is the same.
    let (listener, peer) = (addr("192.0.2.2:3478"), addr("203.0.113.10:7000"));
    p.s.program.listener(listener);
    let frame = Datagram { dst: listener, ..p.sends(send_to(peer, b"x")) }.frame();
    p.s.passed(&frame, Reason::Stun);
    let frame = Datagram { dst: listener, ..p.sends(send_to(p.peer, b"x")) }.frame();
    p.s.passed(&frame, Reason::Stun);
    let mut frame = p.sends(send_to(p.peer, b"x"));
    frame.src.set_port(5001);
    p.s.passed(&frame.frame(), Reason::Stun);
    frame.dst = addr("192.0.2.99:3478");
    p.s.passed(&frame.frame(), Reason::NotOurs);
    frame.payload = send_of(|_| {});
    p.s.passed(&frame.frame(), Reason::NotOurs);
}

#[test]
fn an_indication_needs_what_channel_data_needs() {
    for mut p in crossings() {
        let send = p.sends(send_to(p.peer, b"media"));
        let data = Datagram::new(p.peer, p.s.relayed, *b"media");
        for ttl in [0, 1] {
            p.s.dropped(&Datagram { ttl, ..send.clone() }.frame(), Reason::TtlExceeded);
            p.s.dropped(&Datagram { ttl, ..data.clone() }.frame(), Reason::TtlExceeded);
        }
        let (v4, crossed) = (send.src.is_ipv4(), send.src.is_ipv4() != p.peer.is_ipv4());
        if v4 && crossed {
            p.s.passed(&Datagram { checksum: false, ..send.clone() }.frame(), Reason::NoChecksum);
        } else if v4 {
            let send = Datagram { checksum: false, ..send.clone() };
            let out = p.s.rewritten(&send, Datagram::new(p.s.relayed, p.peer, *b"media"));
            p.s.tx(&send, &out, Reason::ToPeer);
            let data = Datagram { checksum: false, ..data.clone() };
            let ends = (p.s.listener, p.s.client);
            p.s.told(&data.frame(), &data, ends, (p.peer, b"media"), Reason::ToClient);
        }

        let [mut to_peer, mut to_client] = permission(p.s.client, p.s.listener, p.s.relayed, p.peer);
        (to_peer.generation, to_client.generation) = (3, 3);
        p.s.program.rewrite(p.send, to_peer);
        p.s.program.rewrite(p.data, to_client);
        p.s.passed(&send.frame(), Reason::Changed);
        p.s.passed(&data.frame(), Reason::Changed);
        (to_peer.generation, to_client.generation) = (4, 4);
        (to_peer.next_hop, to_client.next_hop) = (HOP_UNRESOLVED, HOP_UNRESOLVED);
        p.s.program.rewrite(p.send, to_peer);
        p.s.program.rewrite(p.data, to_client);
        p.s.passed(&send.frame(), Reason::NextHop);
        p.s.passed(&data.frame(), Reason::NextHop);
        (to_peer.deadline, to_client.deadline) = (1, 1);
        p.s.program.rewrite(p.send, to_peer);
        p.s.program.rewrite(p.data, to_client);
        p.s.dropped(&send.frame(), Reason::Expired);
        p.s.passed(&data.frame(), Reason::PeerExpired);
    }
}

#[test]
fn a_permitted_peers_datagram_reaches_the_client_as_a_data_indication_whatever_the_families() {
    for mut p in crossings() {
        for len in SIZES {
            let seen = Datagram { tos: 0x2e, ..Datagram::new(p.peer, p.s.relayed, some(len)) };
            let ends = (p.s.listener, p.s.client);
            p.s.told(&seen.frame(), &seen, ends, (p.peer, &some(len)), Reason::ToClient);
        }
        // The port with a channel has its channel.
        let seen = p.s.peer_sends(b"media");
        p.s.tx(&seen, &p.s.at_client(&seen, b"media"), Reason::ToClient);
        // Another address has nothing.
        let mut other = Datagram::new(p.peer, p.s.relayed, *b"x");
        let ip = if other.src.is_ipv4() { "203.0.113.8" } else { "2001:db8:2::8" };
        other.src.set_ip(ip.parse().unwrap());
        p.s.passed(&other.frame(), Reason::NoPeerBinding);
    }
}

#[test]
fn lessons_37_the_padding_of_a_data_indication_is_zero_whatever_lay_there() {
    for mut p in crossings() {
        for len in 1..8 {
            for behind in 0..12 {
                let seen = Datagram::new(p.peer, p.s.relayed, some(len));
                let mut frame = seen.frame();
                frame.resize(frame.len() + behind, 0xee);
                let ends = (p.s.listener, p.s.client);
                p.s.told(&frame, &seen, ends, (p.peer, &some(len)), Reason::ToClient);
            }
        }
    }
}

#[test]
fn lessons_16_a_data_indication_larger_than_the_wire_goes_up_untouched() {
    let mut p = permitted();
    let fits = some(usize::from(MTU) - 20 - 8 - 36);
    assert_eq!(fits.len() % 4, 0);
    let seen = Datagram::new(p.peer, p.s.relayed, fits.clone());
    p.s.told(&seen.frame(), &seen, (p.s.listener, p.s.client), (p.peer, &fits), Reason::ToClient);
    let frame = Datagram::new(p.peer, p.s.relayed, some(fits.len() + 1)).frame();
    p.s.passed(&frame, Reason::TooBig);
}

#[test]
fn each_data_indication_has_a_transaction_id_of_its_own() {
    let mut p = permitted();
    let frame = Datagram::new(p.peer, p.s.relayed, *b"x").frame();
    let mut ids: Vec<_> = (0..20).map(|_| p.s.program.run(&frame).frame[50..62].to_vec()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_permission_counts_its_packets_and_bytes() {
    let mut p = permitted();
    for _ in 0..3 {
        p.s.program.run(&p.sends(send_to(p.peer, b"12345")).frame());
        p.s.program.run(&Datagram::new(p.peer, p.s.relayed, *b"123").frame());
    }
    assert_eq!(p.s.program.counted_by(p.send), (3, 3 * 5));
    assert_eq!(p.s.program.counted_by(p.data), (3, 3 * 3));
}
