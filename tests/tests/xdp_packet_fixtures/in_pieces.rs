//! Frames larger than a page, which come in pieces: the headers in the first, and the rest where the program cannot look.

use relay_common::interface::Interface;
use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, padded_channel_data};
use turnpike_tests::xdp::{INGRESS, Program, Verdict, next_hop};

use crate::scene::*;

const JUMBO: u16 = 9000;

/// More than the first piece holds.
fn large() -> Vec<u8> {
    (0..8_000_u32).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn jumbo(mut scene: Scene) -> Scene {
    for (hop, ethertype) in [(HOP_V4, 0x0800), (HOP_V6, 0x86dd)] {
        scene.program.next_hop(hop, next_hop(INGRESS, JUMBO, GATEWAY, NIC, &[], ethertype));
    }
    scene
}

#[test]
fn a_frame_in_pieces_is_forwarded_whole_between_all_families() {
    let (c4, l4, r4, p4) = ("198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "203.0.113.9:6000");
    let (c6, l6, r6, p6) =
        ("[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:2::9]:6000");
    for (client, listener, relayed, peer) in
        [(c4, l4, r4, p4), (c4, l4, r6, p6), (c6, l6, r4, p4), (c6, l6, r6, p6)]
    {
        let mut s = jumbo(Scene::between(client, listener, relayed, peer));
        let data = large();
        let frame = s.client_sends(&data);
        s.tx(&frame, &s.at_peer(&frame, &data), Reason::ToPeer);
        let frame = s.peer_sends(&data);
        s.tx(&frame, &s.at_client(&frame, &data), Reason::ToClient);
    }
}

#[test]
fn a_frame_in_pieces_is_larger_than_the_next_hops_mtu_by_one_byte_or_fits() {
    let mut s = jumbo(Scene::v4());
    let most = usize::from(JUMBO) - 20 - 8;
    let data = vec![7; most - 4];
    let frame = s.peer_sends(&data);
    s.tx(&frame, &s.at_client(&frame, &data), Reason::ToClient);
    s.passed(&s.peer_sends(&vec![7; most - 3]).frame(), Reason::TooBig);
}

#[test]
fn a_frame_in_pieces_whose_padding_cannot_be_seen_goes_up() {
    let mut s = jumbo(Scene::v4());
    let frame = Datagram { payload: padded_channel_data(CHANNEL, &large()[..7_999]), ..s.client_sends(b"") };
    s.passed(&frame.frame(), Reason::InPieces);
}

#[test]
fn of_a_frame_in_pieces_that_is_shorter_than_it_says_nothing_is_believed() {
    let mut s = jumbo(Scene::v4());
    let mut frame = s.client_sends(&large()).frame();
    frame.truncate(frame.len() - 1);
    s.passed(&frame, Reason::BadLength);
}

#[test]
fn a_frame_in_pieces_goes_to_another_interface_only_where_that_takes_it() {
    const OTHER: u32 = 4_000_000;
    let mut s = Scene::v4();
    s.program.next_hop(HOP_V4, next_hop(OTHER, JUMBO, GATEWAY, NIC, &[], 0x0800));
    let frame = s.client_sends(&large());
    s.passed(&frame.frame(), Reason::NextHop);
    s.program.interface(Interface { ifindex: OTHER, flags: Interface::WHOLE, ..Interface::default() });
    s.passed(&frame.frame(), Reason::NextHop);
    // There is no such device: that it is asked for shows that the way there was taken.
    s.program.interface(Interface { ifindex: OTHER, ..Interface::default() });
    let run = s.program.run(&frame.frame());
    assert_eq!((run.verdict, &run.counted[..]), (Verdict::Drop, &[(Reason::NoDevice, 1)][..]));
}

#[test]
fn the_entry_for_old_kernels_forwards_what_comes_in_one_piece() {
    let mut s = Scene::v4_on(Program::load_whole());
    let data = vec![9; 1468];
    let frame: Datagram = s.client_sends(&data);
    s.tx(&frame, &s.at_peer(&frame, &data), Reason::ToPeer);
    let frame = s.peer_sends(&data);
    s.tx(&frame, &s.at_client(&frame, &data), Reason::ToClient);
    let mut short = s.client_sends(&data).frame();
    short.truncate(short.len() - 1);
    s.passed(&short, Reason::BadLength);
}
