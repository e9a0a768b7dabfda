//! Packets that leave, and those that nearly did.

use relay_common::next_hop::NextHop;
use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, channel_data, padded_channel_data};
use turnpike_tests::xdp::{Verdict, next_hop};

use crate::scene::*;

#[test]
fn channel_data_reaches_the_peer_without_its_header() {
    let mut s = Scene::v4();
    for len in [0, 1, 2, 3, 4, 5, 160, 1199, 1468] {
        let data: Vec<u8> = (0..len).map(|i| (i * 7 + 3) as u8).collect();
        let frame = s.client_sends(&data);
        s.tx(&frame, &s.at_peer(&frame, &data), Reason::ToPeer);
    }
}

#[test]
fn a_peers_datagram_reaches_the_client_as_channel_data() {
    let mut s = Scene::v4();
    for len in [0, 1, 2, 3, 4, 5, 160, 1199, 1468] {
        let data: Vec<u8> = (0..len).map(|i| (i * 5 + 1) as u8).collect();
        let frame = s.peer_sends(&data);
        s.tx(&frame, &s.at_client(&frame, &data), Reason::ToClient);
    }
}

#[test]
fn a_peers_payload_that_looks_like_channel_data_is_opaque() {
    let mut s = Scene::v4();
    let data = channel_data(CHANNEL, b"inner", 3);
    let frame = s.peer_sends(&data);
    s.tx(&frame, &s.at_client(&frame, &data), Reason::ToClient);
}

/// Every crossing of families.
fn crossings() -> [Scene; 4] {
    let (c4, l4, r4, p4) = ("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000");
    let (c6, l6, r6, p6) =
        ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:2::9]:6000");
    [(c4, l4, r4, p4), (c4, l4, r6, p6), (c6, l6, r4, p4), (c6, l6, r6, p6)]
        .map(|(client, listener, relayed, peer)| Scene::between(client, listener, relayed, peer))
}

/// RFC 8656 section 12.5: over UDP padding may be there, and pion's clients always have it.
#[test]
fn padding_behind_channel_data_comes_off_whatever_it_holds() {
    for mut s in crossings() {
        for len in [1, 2, 3, 5, 6, 7, 161, 1198, 1451] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + 3) as u8).collect();
            let plain = s.client_sends(&data);
            let frame = Datagram { payload: padded_channel_data(CHANNEL, &data), ..plain.clone() };
            s.tx(&frame, &s.at_peer(&frame, &data), Reason::ToPeer);
            let lengths = [&frame, &plain].map(|frame| s.program.run(&frame.frame()).frame.len());
            assert_eq!(lengths[0], lengths[1], "nothing lies behind the packet");
            if s.client.is_ipv4() && s.peer.is_ipv4() {
                let frame = Datagram { checksum: false, ..frame };
                s.tx(&frame, &s.at_peer(&frame, &data), Reason::ToPeer);
            }
        }
    }
}

/// Short frames are filled up on the wire; what fills them is no part of the packet.
#[test]
fn padding_comes_off_before_what_fills_a_short_frame() {
    let mut s = Scene::v4();
    let frame = Datagram { payload: padded_channel_data(CHANNEL, b"12345"), ..s.client_sends(b"") };
    for filling in [1, 5, 6] {
        let mut filled = frame.frame();
        filled.resize(filled.len() + filling, 0xee);
        let run = s.program.run(&filled);
        assert_eq!((run.verdict, &run.counted[..]), (Verdict::Tx, &[(Reason::ToPeer, 1)][..]));
        let out = s.at_peer(&frame, b"12345");
        assert_eq!((Datagram::read(&run.frame), run.frame.len()), (out.clone(), out.frame().len()));
    }
}

#[test]
fn padded_channel_data_is_counted_by_its_data_and_refused_as_any_other() {
    let mut s = Scene::v4();
    let frame = Datagram { payload: padded_channel_data(CHANNEL, b"12345"), ..s.client_sends(b"") };
    s.program.run(&frame.frame());
    assert_eq!(s.program.counted_by(s.to_peer), (1, 5));
    s.dropped(&Datagram { ttl: 1, ..frame.clone() }.frame(), Reason::TtlExceeded);
    s.change(|record| record.deadline = 0);
    s.dropped(&frame.frame(), Reason::Expired);
}

#[test]
fn every_crossing_of_families_is_rewritten() {
    for mut s in crossings() {
        for data in [&b"even"[..], b"odd", b""] {
            let frame = Datagram { tos: 0xb9, ..s.client_sends(data) };
            s.tx(&frame, &s.at_peer(&frame, data), Reason::ToPeer);
            let frame = Datagram { tos: 0x2e, ..s.peer_sends(data) };
            s.tx(&frame, &s.at_client(&frame, data), Reason::ToClient);
        }
    }
}

#[test]
fn lessons_17_the_ttl_is_decremented_and_one_is_not_forwarded() {
    let mut s = Scene::v4();
    let frame = Datagram { ttl: 2, ..s.client_sends(b"x") };
    s.tx(&frame, &s.at_peer(&frame, b"x"), Reason::ToPeer);
    for ttl in [0, 1] {
        let frame = Datagram { ttl, ..s.client_sends(b"x") }.frame();
        s.dropped(&frame, Reason::TtlExceeded);
        let frame = Datagram { ttl, ..s.peer_sends(b"x") }.frame();
        s.dropped(&frame, Reason::TtlExceeded);
    }
}

#[test]
fn dscp_ecn_and_df_are_kept_and_the_identification_is_zero_with_df() {
    let mut s = Scene::v4();
    for dont_fragment in [true, false] {
        let frame = Datagram { tos: 0xbb, id: 0x1234, dont_fragment, ..s.client_sends(b"media") };
        s.tx(&frame, &s.at_peer(&frame, b"media"), Reason::ToPeer);
        let frame = Datagram { tos: 0x03, id: 0x4321, dont_fragment, ..s.peer_sends(b"media") };
        s.tx(&frame, &s.at_client(&frame, b"media"), Reason::ToClient);
    }
}

#[test]
fn a_zero_udp_checksum_stays_zero_within_ipv4() {
    let mut s = Scene::v4();
    let frame = Datagram { checksum: false, ..s.client_sends(b"media") };
    s.tx(&frame, &s.at_peer(&frame, b"media"), Reason::ToPeer);
    let frame = Datagram { checksum: false, ..s.peer_sends(b"media") };
    s.tx(&frame, &s.at_client(&frame, b"media"), Reason::ToClient);
}

#[test]
fn a_udp_checksum_that_comes_to_zero_is_sent_as_all_ones() {
    let mut s = Scene::v4();
    let zero_at = |s: &Scene, word: u16| {
        let out = s.at_peer(&s.client_sends(&[0, 0]), &word.to_be_bytes()).frame();
        u16::from_be_bytes([out[40], out[41]]) == 0xffff
    };
    let word = (0..=u16::MAX).find(|w| zero_at(&s, *w)).expect("one of all payload words makes the sum zero");
    let frame = s.client_sends(&word.to_be_bytes());
    let run = s.program.run(&frame.frame());
    assert_eq!(&run.frame[40..42], &[0xff, 0xff], "RFC 768: a computed zero goes out as all ones");
    assert_eq!(Datagram::read(&run.frame), s.at_peer(&frame, &word.to_be_bytes()));
}

#[test]
fn a_flow_counts_its_packets_and_the_bytes_of_their_data() {
    let mut s = Scene::v4();
    for _ in 0..3 {
        let frame = s.client_sends(b"12345").frame();
        s.program.run(&frame);
    }
    assert_eq!(s.program.counted_by(s.to_peer), (3, 3 * 5));
    assert_eq!(s.program.counted_by(s.to_client), (0, 0));
    let frame = s.peer_sends(b"seven b").frame();
    s.program.run(&frame);
    assert_eq!(s.program.counted_by(s.to_client), (1, 7));
}

#[test]
fn a_next_hop_behind_another_interface_is_redirected_to_or_counted() {
    let mut s = Scene::v4();
    s.change(|r| r.next_hop = HOP_NO_DEVICE);
    let run = s.program.run(&s.client_sends(b"x").frame());
    assert_eq!((run.verdict, &run.counted[..]), (Verdict::Drop, &[(Reason::NoDevice, 1)][..]));

    let barred = NextHop { redirect: 0, ..next_hop(4_000_000, MTU, GATEWAY, NIC, &[], 0x0800) };
    s.program.next_hop(HOP_NO_DEVICE, barred);
    s.passed(&s.client_sends(b"x").frame(), Reason::NextHop);

    let other = nix::net::if_::if_nametoindex("eth0").or_else(|_| nix::net::if_::if_nametoindex("ifb0"));
    let other = other.expect("a second interface beside the loopback");
    s.program.device(other);
    s.program.next_hop(HOP_NO_DEVICE, next_hop(other, MTU, GATEWAY, NIC, &[], 0x0800));
    let frame = s.client_sends(b"x");
    s.sent(&frame, Verdict::Redirect, &s.at_peer(&frame, b"x"), Reason::ToPeer);
}

#[test]
fn lessons_16_what_the_next_hop_cannot_carry_goes_up_untouched() {
    let mut s = Scene::v4();
    let fits = vec![7; usize::from(MTU) - 28 - 4];
    let frame = s.peer_sends(&fits);
    s.tx(&frame, &s.at_client(&frame, &fits), Reason::ToClient);
    let frame = s.peer_sends(&vec![7; fits.len() + 1]).frame();
    s.passed(&frame, Reason::TooBig);

    let fits = vec![7; usize::from(MTU) - 28];
    let frame = s.client_sends(&fits);
    s.tx(&frame, &s.at_peer(&frame, &fits), Reason::ToPeer);
    let frame = s.client_sends(&vec![7; fits.len() + 1]).frame();
    s.passed(&frame, Reason::TooBig);
}

#[test]
fn vlan_tags_are_looked_behind_and_the_next_hops_tags_put_on() {
    let mut s = Scene::v4();
    let all = [(HOP_V4, vec![]), (HOP_VLAN, vec![VLAN_7]), (HOP_QINQ, vec![SERVICE_9, VLAN_7])];
    for (way_back, tags) in all.clone() {
        for (hop, out) in all.clone() {
            s.change(|r| (r.next_hop, r.way_back) = (hop, way_back));
            let frame = Datagram { tags: tags.clone(), ..s.client_sends(b"tagged") };
            let expected = Datagram { tags: out.clone(), ..s.at_peer(&frame, b"tagged") };
            s.tx(&frame, &expected, Reason::ToPeer);
            let frame = Datagram { tags: tags.clone(), ..s.peer_sends(b"tagged") };
            let expected = Datagram { tags: out, ..s.at_client(&frame, b"tagged") };
            s.tx(&frame, &expected, Reason::ToClient);
        }
    }
    let frame = Datagram { tags: vec![SERVICE_9, VLAN_7, VLAN_7], ..s.client_sends(b"x") }.frame();
    s.passed(&frame, Reason::NotOurs);
}

#[test]
fn ethernet_padding_is_not_payload() {
    let mut s = Scene::v4();
    for (frame, out, reason) in [
        (s.client_sends(b"x"), s.at_peer(&s.client_sends(b"x"), b"x"), Reason::ToPeer),
        (s.peer_sends(b"x"), s.at_client(&s.peer_sends(b"x"), b"x"), Reason::ToClient),
    ] {
        let mut bytes = frame.frame();
        bytes.resize(60, 0xaa);
        let run = s.program.run(&bytes);
        assert_eq!((run.verdict, &run.counted[..]), (Verdict::Tx, &[(reason, 1)][..]));
        assert_eq!(Datagram::read(&run.frame), out);
    }
}

#[test]
fn an_ipv6_packet_leaves_with_the_flow_label_of_its_record() {
    let mut s = Scene::v6();
    s.change(|r| r.flow_label = 0x000a_bcde_u32.to_be());
    for (datagram, class) in [(s.client_sends(b"x"), 0xb9), (s.peer_sends(b"x"), 0x2e)] {
        let run = s.program.run(&Datagram { tos: class, ..datagram }.frame());
        let word = u32::from_be_bytes(run.frame[14..18].try_into().unwrap());
        assert_eq!(word, 6 << 28 | u32::from(class) << 20 | 0x000a_bcde);
    }
}
