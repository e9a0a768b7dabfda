//! What came in by another interface or VLAN than its sender is reached by goes up, where that matters.

use relay_common::interface::Interface;
use relay_common::next_hop::HAIRPIN;
use relay_common::reason::Reason;
use turnpike_tests::frames::Datagram;
use turnpike_tests::xdp::{INGRESS, Verdict, next_hop};

use crate::scene::{
    GATEWAY, HOP_NO_DEVICE, HOP_QINQ, HOP_UNRESOLVED, HOP_V4, HOP_V6, HOP_VLAN, MTU, NIC, SERVICE_9, Scene,
    VLAN_7,
};

/// A way back of the scene's spare rows.
const OTHER: u32 = 7;

impl Scene {
    fn ingress(&mut self, flags: u32) {
        self.program.interface(Interface { ifindex: INGRESS, slot: 1, flags, bond: 0 });
    }

    /// Both directions of the scene, with these tags.
    fn tagged(&self, tags: &[(u16, u16)]) -> [Datagram; 2] {
        [self.client_sends(b"media"), self.peer_sends(b"media")]
            .map(|datagram| Datagram { tags: tags.into(), ..datagram })
    }

    #[track_caller]
    fn all_pass(&mut self, tags: &[(u16, u16)], reason: Reason) {
        for datagram in self.tagged(tags) {
            self.passed(&datagram.frame(), reason);
        }
    }

    #[track_caller]
    fn all_leave(&mut self, tags: &[(u16, u16)]) {
        for (datagram, reason) in self.tagged(tags).into_iter().zip([Reason::ToPeer, Reason::ToClient]) {
            let run = self.program.run(&datagram.frame());
            assert_eq!((run.verdict, &run.counted[..]), (Verdict::Tx, &[(reason, 1)][..]));
        }
    }
}

#[test]
fn a_tagged_packet_must_have_the_tags_by_which_its_sender_is_reached() {
    let other_vlan = (0x8100, 8);
    let all: [(u32, &[(u16, u16)]); 3] =
        [(HOP_V4, &[]), (HOP_VLAN, &[VLAN_7]), (HOP_QINQ, &[SERVICE_9, VLAN_7])];
    for flags in [Interface::VIRTUAL, Interface::VIRTUAL | Interface::VLANS, Interface::UNKNOWN.flags] {
        let mut s = Scene::v4();
        s.ingress(flags);
        for (way_back, right) in all {
            s.change(|r| r.way_back = way_back);
            s.all_leave(right);
            let wrong: [&[(u16, u16)]; 7] = [
                &[VLAN_7],
                &[SERVICE_9, VLAN_7],
                &[other_vlan],
                &[(0x88a8, 7)],
                &[SERVICE_9, other_vlan],
                &[VLAN_7, SERVICE_9],
                &[SERVICE_9],
            ];
            for tags in wrong.into_iter().filter(|tags| *tags != right) {
                s.all_pass(tags, Reason::ReversePath);
            }
        }
    }
}

#[test]
fn a_packet_without_a_tag_must_be_one_of_no_vlan_where_the_card_has_vlans() {
    let mut s = Scene::v4();
    s.change(|r| r.way_back = HOP_VLAN);
    s.ingress(Interface::VIRTUAL | Interface::VLANS);
    s.all_pass(&[], Reason::ReversePath);
    // A card may take the tags off before XDP sees them, but not one on which no VLAN stands.
    s.ingress(Interface::VIRTUAL);
    s.all_leave(&[]);
}

#[test]
fn the_priority_of_a_tag_does_not_matter_and_one_of_vlan_0_is_none() {
    let mut s = Scene::v4();
    for flags in [Interface::VIRTUAL, Interface::UNKNOWN.flags] {
        s.ingress(flags);
        s.change(|r| r.way_back = HOP_VLAN);
        s.all_leave(&[(0x8100, 0xf007)]);
        s.all_leave(&[(0x8100, 0xe000), VLAN_7]);
        s.all_pass(&[(0x8100, 0xe000)], Reason::ReversePath);
        s.change(|r| r.way_back = HOP_V4);
        for tags in [[(0x8100, 0)].as_slice(), &[(0x88a8, 0x1000)], &[(0x88a8, 0), (0x8100, 0xe000)]] {
            s.all_leave(tags);
        }
        s.all_pass(&[(0x8100, 0), VLAN_7], Reason::ReversePath);
        s.change(|r| r.way_back = HOP_QINQ);
        s.all_leave(&[(SERVICE_9.0, SERVICE_9.1 | 0x2000), VLAN_7]);
    }
}

#[test]
fn more_than_two_tags_go_up_whatever_they_say() {
    let mut s = Scene::v4();
    for tags in [[(0x8100, 0), (0x8100, 0), VLAN_7], [SERVICE_9, VLAN_7, VLAN_7]] {
        s.change(|r| r.way_back = HOP_VLAN);
        s.all_pass(&tags, Reason::NotOurs);
    }
}

#[test]
fn a_strict_rp_filter_lets_in_what_is_answered_by_the_same_interface() {
    let strict = Interface::VIRTUAL | Interface::STRICT;
    let mut s = Scene::v4();
    s.ingress(strict);
    s.all_leave(&[]);
    s.program.next_hop(OTHER, next_hop(INGRESS + 1, MTU, GATEWAY, NIC, &[], 0x0800));
    for way_back in [OTHER, HOP_NO_DEVICE, HOP_UNRESOLVED, 0, u32::MAX, HAIRPIN] {
        s.change(|r| r.way_back = way_back);
        s.ingress(strict);
        s.all_pass(&[], Reason::ReversePath);
        s.ingress(Interface::VIRTUAL);
        s.all_leave(&[]);
    }
}

#[test]
fn rp_filter_is_a_setting_of_ipv4() {
    let mut s = Scene::v6();
    s.program.next_hop(OTHER, next_hop(INGRESS + 1, MTU, GATEWAY, NIC, &[], 0x86dd));
    s.ingress(Interface::VIRTUAL | Interface::STRICT);
    s.change(|r| r.way_back = OTHER);
    s.all_leave(&[]);
    s.change(|r| r.way_back = HOP_V6);
    s.all_leave(&[]);
}

#[test]
fn a_tag_of_another_card_is_another_vlan() {
    let mut s = Scene::v4();
    s.program.next_hop(OTHER, next_hop(INGRESS + 1, MTU, GATEWAY, NIC, &[VLAN_7], 0x0800));
    s.change(|r| r.way_back = OTHER);
    s.ingress(Interface::VIRTUAL);
    s.all_pass(&[VLAN_7], Reason::ReversePath);
}

#[test]
fn a_member_of_a_bond_is_the_bond() {
    let bond = 4_000_000;
    let mut s = Scene::v4();
    s.program.next_hop(OTHER, next_hop(bond, MTU, GATEWAY, NIC, &[VLAN_7], 0x0800));
    let flags = Interface::VIRTUAL | Interface::STRICT | Interface::VLANS;
    s.program.interface(Interface { ifindex: INGRESS, slot: 1, flags, bond });
    s.change(|r| (r.next_hop, r.way_back) = (OTHER, OTHER));
    // Out by the bond it came in by, which is no redirect.
    s.all_leave(&[VLAN_7]);
    s.all_pass(&[], Reason::ReversePath);
}

#[test]
fn what_would_not_be_forwarded_anyway_keeps_its_own_reason() {
    let mut s = Scene::v4();
    s.ingress(Interface::UNKNOWN.flags);
    s.change(|r| (r.way_back, r.next_hop) = (OTHER, HOP_UNRESOLVED));
    s.all_pass(&[], Reason::NextHop);
    s.change(|r| (r.way_back, r.next_hop) = (OTHER, HOP_V4));
    let frame = Datagram { ttl: 1, ..s.client_sends(b"x") }.frame();
    s.dropped(&frame, Reason::TtlExceeded);
}
