//! Packets that go up or end, byte for byte as they came.

use relay_common::flow::FlowRecord;
use relay_common::interface::{self, Interface};
use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop, path};

use crate::scene::*;

#[test]
fn lessons_20_a_zero_udp_checksum_towards_ipv6_goes_up_untouched() {
    let mut s = Scene::between(
        "198.51.100.7:5000",
        "192.0.2.1:3478",
        "[2001:db8:1::1]:50000",
        "[2001:db8:2::9]:6000",
    );
    let frame = Datagram { checksum: false, ..s.client_sends(b"media") }.frame();
    s.passed(&frame, Reason::NoChecksum);
}

/// A frame whose checksum was left to the card as Linux does: the pseudo header's sum, not complemented.
fn unfinished(datagram: &Datagram) -> Vec<u8> {
    let mut frame = datagram.frame();
    let udp = frame.len() - datagram.payload.len() - 8;
    let addresses = if datagram.src.is_ipv4() { udp - 8..udp } else { udp - 32..udp };
    let words = frame[addresses].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum = words.sum::<u32>() + 17 + 8 + datagram.payload.len() as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[udp + 6..udp + 8].copy_from_slice(&(sum as u16).to_be_bytes());
    frame
}

#[test]
fn a_checksum_that_the_senders_card_was_to_finish_goes_up_untouched() {
    for mut s in [Scene::v4(), Scene::v6()] {
        for data in [&b"even"[..], b"odd", b""] {
            for datagram in [s.client_sends(data), s.peer_sends(data)] {
                s.passed(&unfinished(&datagram), Reason::UnfinishedChecksum);
            }
        }
    }
}

#[test]
fn cards_of_hardware_deliver_finished_checksums_only_and_all_of_them_are_forwarded() {
    let mut s = Scene::v4_on(Program::load_for_hardware());
    let frame = unfinished(&s.client_sends(b"one in 65,536"));
    let run = s.program.run(&frame);
    assert_eq!((run.verdict, &run.counted[..]), (Verdict::Tx, &[(Reason::ToPeer, 1)][..]));
}

#[test]
fn a_packet_moves_the_counters_of_the_interface_it_came_in_by() {
    let mut s = Scene::v4();
    let frame = s.client_sends(b"media").frame();
    for slot in [1, 2] {
        s.program.interface(Interface { ifindex: INGRESS, slot, ..Interface::default() });
        assert_eq!(s.program.run(&frame).counted, [(Reason::ToPeer, 1)]);
        let counted = s.program.counters_of(slot)[Reason::ToPeer as usize];
        assert_eq!((counted.packets, counted.bytes), (1, frame.len() as u64 - 14));
    }
}

#[test]
fn of_an_interface_whose_entry_is_anothers_nothing_is_taken_for_granted() {
    let mut s = Scene::v4_on(Program::load_for_hardware());
    s.program.interface(Interface { ifindex: INGRESS + interface::ENTRIES, slot: 2, ..Interface::default() });
    s.passed(&unfinished(&s.client_sends(b"data")), Reason::UnfinishedChecksum);
    assert_eq!(s.program.counters_of(0)[Reason::UnfinishedChecksum as usize].packets, 1);
}

#[test]
fn a_miss_is_never_a_drop() {
    let mut s = Scene::v4();
    let other = |a: &str| addr(a);
    let mut unbound = s.client_sends(b"x");
    unbound.payload = channel_data(CHANNEL + 1, b"x", 0);
    s.passed(&unbound.frame(), Reason::NoBinding);
    s.passed(
        &Datagram { src: other("198.51.100.7:5001"), ..s.client_sends(b"x") }.frame(),
        Reason::NoBinding,
    );
    s.passed(
        &Datagram { src: other("203.0.113.9:6001"), ..s.peer_sends(b"x") }.frame(),
        Reason::NoPeerBinding,
    );
    s.passed(
        &Datagram { dst: other("192.0.2.1:50001"), ..s.peer_sends(b"x") }.frame(),
        Reason::NoPeerBinding,
    );
}

#[test]
fn lessons_11_and_18_what_is_not_addressed_to_us_is_untouched_whatever_its_port() {
    let mut s = Scene::v4();
    let elsewhere = |port: u16| addr(&format!("192.0.2.99:{port}"));
    for port in [53, 123, 443, 3478, 49152, 50000, 65535] {
        let frame = Datagram { dst: elsewhere(port), ..s.peer_sends(b"answer") }.frame();
        s.passed(&frame, Reason::NotOurs);
        let frame = Datagram { dst: elsewhere(port), ..s.client_sends(b"answer") }.frame();
        s.passed(&frame, Reason::NotOurs);
    }
    for port in [53, 123, 443] {
        let frame = Datagram { dst: addr(&format!("192.0.2.1:{port}")), ..s.peer_sends(b"answer") }.frame();
        s.passed(&frame, Reason::NotOurs);
    }
    let mut tcp = s.client_sends(b"x").frame();
    tcp[23] = 6;
    s.passed(&tcp, Reason::NotOurs);
    let mut arp = s.client_sends(b"x").frame();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    s.passed(&arp, Reason::NotOurs);
    let mut broadcast = s.client_sends(b"x").frame();
    broadcast[..6].fill(0xff);
    s.passed(&broadcast, Reason::NotOurs);
}

#[test]
fn lessons_10_and_24_an_entry_whose_record_is_another_keys_is_a_miss() {
    let mut s = Scene::v4();
    let others = path(addr("198.51.100.8:5000"), s.listener, addr("192.0.2.1:50001"), s.peer, CHANNEL);
    s.program.rewrite(s.to_peer, alive(FlowRecord::client_to_peer(&others)));
    s.program.rewrite(s.to_client, alive(FlowRecord::peer_to_client(&others)));
    s.passed(&s.client_sends(b"x").frame(), Reason::NoBinding);
    s.passed(&s.peer_sends(b"x").frame(), Reason::NoPeerBinding);
}

#[test]
fn an_expired_client_is_dropped_and_an_expired_peer_goes_up_for_its_permission() {
    let mut s = Scene::v4();
    for deadline in [0, 1] {
        s.change(|r| r.deadline = deadline);
        s.dropped(&s.client_sends(b"x").frame(), Reason::Expired);
        s.passed(&s.peer_sends(b"x").frame(), Reason::PeerExpired);
    }
}

#[test]
fn lessons_14_fragments_go_up_untouched() {
    let mut s = Scene::v4();
    for frame in [s.client_sends(b"0123456789").frame(), s.peer_sends(b"0123456789").frame()] {
        for fragment in [[0x20, 0], [0, 1], [0x20, 1], [0x1f, 0xff]] {
            let mut frame = frame.clone();
            frame[20..22].copy_from_slice(&fragment);
            s.passed(&frame, Reason::Fragment);
        }
    }
}

#[test]
fn ip_options_go_up_untouched() {
    let mut s = Scene::v4();
    let plain = s.client_sends(b"x").frame();
    let mut frame = plain[..34].to_vec();
    frame.extend_from_slice(&[1, 1, 1, 0]);
    frame.extend_from_slice(&plain[34..]);
    frame[14] = 0x46;
    s.passed(&frame, Reason::IpOptions);
}

#[test]
fn ipv6_fragments_extension_headers_and_false_lengths_go_up_untouched() {
    let mut s = Scene::v6();
    for plain in [s.client_sends(b"0123").frame(), s.peer_sends(b"01234567").frame()] {
        for (next_header, reason) in [
            (44, Reason::Fragment),
            (0, Reason::IpOptions),
            (43, Reason::IpOptions),
            (60, Reason::IpOptions),
            (6, Reason::NotOurs),
            (58, Reason::NotOurs),
        ] {
            let mut frame = plain.clone();
            frame[20] = next_header;
            s.passed(&frame, reason);
        }
        for payload_len in [0_u16, 7, 17, 0xffff] {
            let mut frame = plain.clone();
            frame[18..20].copy_from_slice(&payload_len.to_be_bytes());
            // The UDP header agrees, so that only the frame gives it away.
            if payload_len > 8 {
                frame[58..60].copy_from_slice(&payload_len.to_be_bytes());
            }
            s.passed(&frame, Reason::BadLength);
        }
    }
}

#[test]
fn lessons_15_lengths_that_contradict_each_other_go_up_untouched() {
    let mut s = Scene::v4();
    for plain in [s.client_sends(b"0123").frame(), s.peer_sends(b"01234567").frame()] {
        for udp_len in [0_u16, 1, 7, 21, 0xffff] {
            let mut frame = plain.clone();
            frame[38..40].copy_from_slice(&udp_len.to_be_bytes());
            s.passed(&frame, Reason::BadLength);
        }
        for total_len in [0_u16, 19, 20, 27, 37, 0xffff] {
            let mut frame = plain.clone();
            frame[16..18].copy_from_slice(&total_len.to_be_bytes());
            fix_ip_checksum(&mut frame);
            s.passed(&frame, Reason::BadLength);
        }
    }
}

#[test]
fn a_wrong_ip_header_checksum_goes_up_untouched() {
    let mut s = Scene::v4();
    let mut frame = s.client_sends(b"0123").frame();
    frame[24] ^= 1;
    s.passed(&frame, Reason::BadChecksum);
}

#[test]
fn channel_data_with_more_than_padding_goes_up_and_short_channel_data_is_dropped() {
    let mut s = Scene::v4();
    let mut frame = s.client_sends(b"");
    for (data, behind) in [(&b"12345"[..], [1, 2, 4, 7]), (b"1234", [1, 3, 4, 8]), (b"", [1, 2, 3, 4])] {
        for behind in behind {
            frame.payload = channel_data(CHANNEL, data, behind);
            s.passed(&frame.frame(), Reason::Padding);
        }
    }
    frame.payload = channel_data(CHANNEL, b"12345", 0);
    frame.payload.pop();
    s.dropped(&frame.frame(), Reason::ChannelDataLength);
    frame.payload = vec![0x40, 1, 0xff, 0xff];
    s.dropped(&frame.frame(), Reason::ChannelDataLength);
}

#[test]
fn an_unresolved_next_hop_goes_up_untouched() {
    let mut s = Scene::v4();
    for hop in [HOP_UNRESOLVED, 0, 15, 16, u32::MAX - 1] {
        s.change(|r| r.next_hop = hop);
        s.passed(&s.client_sends(b"x").frame(), Reason::NextHop);
        s.passed(&s.peer_sends(b"x").frame(), Reason::NextHop);
    }
}

#[test]
fn a_record_or_next_hop_that_is_being_written_goes_up_untouched() {
    let mut s = Scene::v4();
    s.change(|r| r.generation = 7);
    s.passed(&s.client_sends(b"x").frame(), Reason::Changed);
    s.change(|r| r.generation = 8);
    let mut hop = next_hop(INGRESS, MTU, GATEWAY, NIC, &[], 0x0800);
    hop.generation = 1;
    s.program.next_hop(HOP_V4, hop);
    s.passed(&s.client_sends(b"x").frame(), Reason::Changed);
}

fn fix_ip_checksum(frame: &mut [u8]) {
    let header = etherparse::Ipv4Header::from_slice(&frame[14..]).map(|(h, _)| h.calc_header_checksum());
    if let Ok(sum) = header {
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}
