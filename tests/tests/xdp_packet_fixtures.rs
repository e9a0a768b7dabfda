//! Each way a packet can take through the XDP program: packet in, verdict, exact packet out, exactly which counters
//! moved. Runs the real program under `BPF_PROG_TEST_RUN` (needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON).

use std::net::SocketAddr;

use relay_common::flow::{FlowRecord, Path};
use relay_common::next_hop::NextHop;
use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Run, Verdict, next_hop, path};

const CHANNEL: u16 = 0x4001;
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const NIC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const MTU: u16 = 1500;

/// Next hops of the scene, by number: one a family, an unresolved one, and some with tags.
const HOP_V4: u32 = 1;
const HOP_V6: u32 = 2;
const HOP_UNRESOLVED: u32 = 3;
const HOP_VLAN: u32 = 4;
const HOP_QINQ: u32 = 5;
const HOP_NO_DEVICE: u32 = 6;

const VLAN_7: (u16, u16) = (0x8100, 7);
const SERVICE_9: (u16, u16) = (0x88a8, 9);

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// One binding between a client and a peer, and the program that carries it.
struct Scene {
    program: Program,
    client: SocketAddr,
    listener: SocketAddr,
    relayed: SocketAddr,
    peer: SocketAddr,
    to_peer: u32,
    to_client: u32,
}

impl Scene {
    fn v4() -> Self {
        Self::between("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000")
    }

    fn v6() -> Self {
        let (client, peer) = ("[2001:db8::7]:5000", "[2001:db8:2::9]:6000");
        Self::between(client, "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", peer)
    }

    fn between(client: &str, listener: &str, relayed: &str, peer: &str) -> Self {
        let mut program = Program::load();
        for (index, hop) in [
            (HOP_V4, next_hop(INGRESS, MTU, GATEWAY, NIC, &[], 0x0800)),
            (HOP_V6, next_hop(INGRESS, MTU, GATEWAY, NIC, &[], 0x86dd)),
            (HOP_UNRESOLVED, next_hop(0, MTU, GATEWAY, NIC, &[], 0x0800)),
            (HOP_VLAN, next_hop(INGRESS, MTU, GATEWAY, NIC, &[VLAN_7], 0x0800)),
            (HOP_QINQ, next_hop(INGRESS, MTU, GATEWAY, NIC, &[SERVICE_9, VLAN_7], 0x0800)),
            (HOP_NO_DEVICE, next_hop(4_000_000, MTU, GATEWAY, NIC, &[], 0x0800)),
        ] {
            program.next_hop(index, hop);
        }
        let (client, listener, relayed, peer) = (addr(client), addr(listener), addr(relayed), addr(peer));
        program.listener(listener);
        program.relay_address(relayed.ip());
        let mut scene = Self { program, client, listener, relayed, peer, to_peer: 0, to_client: 0 };
        scene.to_peer = scene.program.insert(scene.client_to_peer());
        scene.to_client = scene.program.insert(scene.peer_to_client());
        scene
    }

    fn path(&self) -> Path {
        path(self.client, self.listener, self.relayed, self.peer, CHANNEL)
    }

    fn client_to_peer(&self) -> FlowRecord {
        alive(FlowRecord::client_to_peer(&self.path()))
    }

    fn peer_to_client(&self) -> FlowRecord {
        alive(FlowRecord::peer_to_client(&self.path()))
    }

    /// Replaces both records after `change`.
    fn change(&mut self, change: impl Fn(&mut FlowRecord)) {
        for (number, mut record) in
            [(self.to_peer, self.client_to_peer()), (self.to_client, self.peer_to_client())]
        {
            change(&mut record);
            self.program.rewrite(number, record);
        }
    }

    fn client_sends(&self, data: &[u8]) -> Datagram {
        Datagram::new(self.client, self.listener, channel_data(CHANNEL, data, 0))
    }

    fn peer_sends(&self, data: &[u8]) -> Datagram {
        Datagram::new(self.peer, self.relayed, data)
    }

    /// What the peer must see of `data` that came as `seen`.
    fn at_peer(&self, seen: &Datagram, data: &[u8]) -> Datagram {
        self.rewritten(seen, Datagram::new(self.relayed, self.peer, data))
    }

    /// What the client must see.
    fn at_client(&self, seen: &Datagram, data: &[u8]) -> Datagram {
        self.rewritten(seen, Datagram::new(self.listener, self.client, channel_data(CHANNEL, data, 0)))
    }

    fn rewritten(&self, seen: &Datagram, out: Datagram) -> Datagram {
        Datagram {
            macs: (GATEWAY, NIC),
            ttl: seen.ttl - 1,
            tos: seen.tos,
            dont_fragment: seen.dont_fragment,
            id: if seen.dont_fragment { 0 } else { seen.id },
            checksum: seen.checksum,
            ..out
        }
    }

    #[track_caller]
    fn sent(&mut self, frame: &Datagram, verdict: Verdict, out: &Datagram, reason: Reason) {
        let run = self.program.run(&frame.frame());
        assert_eq!((run.verdict, &run.counted[..]), (verdict, &[(reason, 1)][..]));
        assert_eq!(&Datagram::read(&run.frame), out);
    }

    #[track_caller]
    fn tx(&mut self, frame: &Datagram, out: &Datagram, reason: Reason) {
        self.sent(frame, Verdict::Tx, out, reason);
    }

    #[track_caller]
    fn passed(&mut self, frame: &[u8], reason: Reason) {
        self.untouched(frame, Verdict::Pass, reason);
    }

    #[track_caller]
    fn dropped(&mut self, frame: &[u8], reason: Reason) {
        self.untouched(frame, Verdict::Drop, reason);
    }

    #[track_caller]
    fn untouched(&mut self, frame: &[u8], verdict: Verdict, reason: Reason) {
        let run = self.program.run(frame);
        assert_eq!(run, Run { verdict, frame: frame.to_vec(), counted: vec![(reason, 1)] });
    }
}

/// A record that lives for ever behind the next hop of its family.
fn alive(record: FlowRecord) -> FlowRecord {
    let next_hop = if record.dst.is_v4() { HOP_V4 } else { HOP_V6 };
    FlowRecord { deadline: u64::MAX, next_hop, ..record }
}

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

#[test]
fn every_crossing_of_families_is_rewritten() {
    let (c4, l4, r4, p4) = ("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000");
    let (c6, l6, r6, p6) =
        ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:2::9]:6000");
    for (client, listener, relayed, peer) in
        [(c4, l4, r4, p4), (c4, l4, r6, p6), (c6, l6, r4, p4), (c6, l6, r6, p6)]
    {
        let mut s = Scene::between(client, listener, relayed, peer);
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

/// How Linux leaves a checksum to the card: the pseudo header's sum, not complemented.
#[test]
fn a_checksum_that_the_senders_card_was_to_finish_goes_up_untouched() {
    for mut s in [Scene::v4(), Scene::v6()] {
        for data in [&b"even"[..], b"odd", b""] {
            for datagram in [s.client_sends(data), s.peer_sends(data)] {
                let mut frame = datagram.frame();
                let udp = frame.len() - datagram.payload.len() - 8;
                let addresses = if datagram.src.is_ipv4() { udp - 8..udp } else { udp - 32..udp };
                let words = frame[addresses].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
                let mut sum = words.sum::<u32>() + 17 + 8 + datagram.payload.len() as u32;
                while sum > 0xffff {
                    sum = (sum & 0xffff) + (sum >> 16);
                }
                frame[udp + 6..udp + 8].copy_from_slice(&(sum as u16).to_be_bytes());
                s.passed(&frame, Reason::UnfinishedChecksum);
            }
        }
    }
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
fn a_flow_counts_its_packets_and_bytes() {
    let mut s = Scene::v4();
    for _ in 0..3 {
        let frame = s.client_sends(b"12345").frame();
        s.program.run(&frame);
    }
    assert_eq!(s.program.counted_by(s.to_peer), (3, 3 * (8 + 4 + 5)));
    assert_eq!(s.program.counted_by(s.to_client), (0, 0));
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
    let mut stun = s.client_sends(b"");
    stun.payload = vec![0; 20];
    s.passed(&stun.frame(), Reason::Stun);
    for payload in [vec![], vec![0x40], vec![0x40, 1, 0], vec![0x80, 0, 0, 0], vec![0xff; 40]] {
        s.passed(&Datagram { payload, ..stun.clone() }.frame(), Reason::NotTurn);
    }
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
fn an_ipv6_packet_leaves_with_the_flow_label_of_its_record() {
    let mut s = Scene::v6();
    s.change(|r| r.flow_label = 0x000a_bcde_u32.to_be());
    for (datagram, class) in [(s.client_sends(b"x"), 0xb9), (s.peer_sends(b"x"), 0x2e)] {
        let run = s.program.run(&Datagram { tos: class, ..datagram }.frame());
        let word = u32::from_be_bytes(run.frame[14..18].try_into().unwrap());
        assert_eq!(word, 6 << 28 | u32::from(class) << 20 | 0x000a_bcde);
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
fn padded_channel_data_goes_up_and_short_channel_data_is_dropped() {
    let mut s = Scene::v4();
    let mut frame = s.client_sends(b"");
    frame.payload = channel_data(CHANNEL, b"12345", 3);
    s.passed(&frame.frame(), Reason::Padding);
    frame.payload = channel_data(CHANNEL, b"12345", 0);
    frame.payload.pop();
    s.dropped(&frame.frame(), Reason::ChannelDataLength);
    frame.payload = vec![0x40, 1, 0xff, 0xff];
    s.dropped(&frame.frame(), Reason::ChannelDataLength);
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
fn an_unresolved_next_hop_goes_up_untouched() {
    let mut s = Scene::v4();
    for hop in [HOP_UNRESOLVED, 0, 15, 16, u32::MAX] {
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

#[test]
fn vlan_tags_are_looked_behind_and_the_next_hops_tags_put_on() {
    let mut s = Scene::v4();
    for tags in [vec![], vec![VLAN_7], vec![SERVICE_9, VLAN_7]] {
        for (hop, out) in [(HOP_V4, vec![]), (HOP_VLAN, vec![VLAN_7]), (HOP_QINQ, vec![SERVICE_9, VLAN_7])] {
            s.change(|r| r.next_hop = hop);
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

fn fix_ip_checksum(frame: &mut [u8]) {
    let header = etherparse::Ipv4Header::from_slice(&frame[14..]).map(|(h, _)| h.calc_header_checksum());
    if let Ok(sum) = header {
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}
