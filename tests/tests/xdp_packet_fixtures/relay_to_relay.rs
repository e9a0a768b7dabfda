//! Two clients of one server: what one sends to the other's relayed transport address leaves in one run.

use std::net::SocketAddr;

use relay_common::flow::FlowRecord;
use relay_common::next_hop::HAIRPIN;
use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, channel_data, padded_channel_data};
use turnpike_tests::xdp::path;

use crate::scene::*;

const OTHER_CHANNEL: u16 = 0x4abc;

/// The scene's client, and the other, whose relayed transport address is the scene's peer.
struct Call {
    s: Scene,
    other: SocketAddr,
    other_listener: SocketAddr,
    /// The records of the sending side and of the receiving side, for packets from the scene's client to the other.
    out: u32,
    back: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Channel,
    Indications,
}

const ALL: [(By, By); 4] = [
    (By::Channel, By::Channel),
    (By::Channel, By::Indications),
    (By::Indications, By::Channel),
    (By::Indications, By::Indications),
];

fn ends(v6: bool) -> [&'static str; 4] {
    if v6 {
        ["[2001:db8::7]:5000", "[2001:db8:1::1]:3478", "[2001:db8:1::1]:50000", "[2001:db8:1::1]:50001"]
    } else {
        ["198.51.100.7:5000", "192.0.2.1:3478", "192.0.2.1:50000", "192.0.2.1:50001"]
    }
}

impl Call {
    /// Families of client, relayed addresses and other client.
    fn new((from, to): (By, By), [client_v6, relayed_v6, other_v6]: [bool; 3]) -> Self {
        let [client, listener, ..] = ends(client_v6);
        let [_, _, relayed, peer] = ends(relayed_v6);
        let mut s = Scene::between(client, listener, relayed, peer);
        let other = addr(if other_v6 { "[2001:db8:3::3]:9000" } else { "203.0.113.3:9000" });
        let other_listener = addr(ends(other_v6)[1]);
        s.program.listener(other_listener);
        let out = match from {
            By::Channel => s.to_peer,
            By::Indications => {
                let [record, _] = permission(s.client, s.listener, s.relayed, s.peer);
                s.program.insert(record)
            }
        };
        let record = match from {
            By::Channel => s.client_to_peer(),
            By::Indications => permission(s.client, s.listener, s.relayed, s.peer)[0],
        };
        s.program.rewrite(out, FlowRecord { next_hop: HAIRPIN, ..record });
        let record = match to {
            By::Channel => {
                let path = path(other, other_listener, s.peer, s.relayed, OTHER_CHANNEL);
                alive(FlowRecord::peer_to_client(&path))
            }
            By::Indications => permission(other, other_listener, s.peer, s.relayed)[1],
        };
        let back = s.program.insert(record.inside());
        Self { s, other, other_listener, out, back }
    }

    fn sends(&self, from: By, data: &[u8]) -> Datagram {
        let payload = match from {
            By::Channel => channel_data(CHANNEL, data, 0),
            By::Indications => send_to(self.s.peer, data),
        };
        Datagram::new(self.s.client, self.s.listener, payload)
    }

    /// The other client gets the data, two hops further on.
    #[track_caller]
    fn arrives(&mut self, seen: &Datagram, to: By, teller: SocketAddr, data: &[u8]) {
        let once_on = Datagram { ttl: seen.ttl - 1, ..seen.clone() };
        match to {
            By::Channel => {
                let out = channel_data(OTHER_CHANNEL, data, 0);
                let out = self.s.rewritten(&once_on, Datagram::new(self.other_listener, self.other, out));
                self.s.tx(seen, &out, Reason::RelayToRelay);
            }
            By::Indications => {
                let ends = (self.other_listener, self.other);
                self.s.told(&seen.frame(), &once_on, ends, (teller, data), Reason::RelayToRelay);
            }
        }
    }
}

/// The kernel drops it, as it drops whatever comes from outside with an address of its own (a "martian").
#[test]
fn what_comes_by_the_wire_in_the_name_of_a_relayed_address_goes_up() {
    for by in ALL {
        for v6 in [false, true] {
            let mut c = Call::new(by, [v6; 3]);
            let forged = Datagram::new(c.s.relayed, c.s.peer, *b"media").frame();
            c.s.passed(&forged, Reason::NoPeerBinding);
            c.arrives(&c.sends(by.0, b"media"), by.1, c.s.relayed, b"media");
        }
    }
}

#[test]
fn lessons_7_what_one_client_sends_to_the_other_leaves_in_one_run_whatever_the_families() {
    for by in ALL {
        for families in 0..8 {
            let families = [families & 1 != 0, families & 2 != 0, families & 4 != 0];
            let mut c = Call::new(by, families);
            for len in [0, 1, 2, 3, 4, 5, 160, 1199] {
                let data: Vec<u8> = (0..len).map(|i| (i * 11 + 5) as u8).collect();
                let seen = Datagram { tos: 0xb9, ..c.sends(by.0, &data) };
                c.arrives(&seen, by.1, c.s.relayed, &data);
            }
        }
    }
}

#[test]
fn padding_behind_channel_data_comes_off() {
    for to in [By::Channel, By::Indications] {
        for families in 0..8 {
            let families = [families & 1 != 0, families & 2 != 0, families & 4 != 0];
            let mut c = Call::new((By::Channel, to), families);
            for data in [&b"1"[..], b"12", b"123", b"12345"] {
                let payload = padded_channel_data(CHANNEL, data);
                let seen = Datagram { payload, ..c.sends(By::Channel, data) };
                c.arrives(&seen, to, c.s.relayed, data);
            }
        }
    }
}

#[test]
fn a_packet_that_came_without_df_leaves_so_unless_it_was_ipv6_on_the_way() {
    for (middle, df) in [(false, false), (true, true)] {
        let mut c = Call::new((By::Channel, By::Channel), [false, middle, false]);
        let seen = Datagram { dont_fragment: false, id: 0x1234, ..c.sends(By::Channel, b"x") };
        let run = c.s.program.run(&seen.frame());
        let out = Datagram::read(&run.frame);
        assert_eq!((out.dont_fragment, out.id), (df, if df { 0 } else { 0x1234 }));
    }
}

#[test]
fn lessons_17_each_of_the_two_relays_takes_one_of_the_ttl() {
    for by in ALL {
        let mut c = Call::new(by, [false; 3]);
        for ttl in 0..3 {
            c.s.dropped(&Datagram { ttl, ..c.sends(by.0, b"x") }.frame(), Reason::TtlExceeded);
        }
        let seen = Datagram { ttl: 3, ..c.sends(by.0, b"x") };
        c.arrives(&seen, by.1, c.s.relayed, b"x");
    }
}

#[test]
fn lessons_20_a_zero_checksum_leaves_only_where_all_is_ipv4() {
    for families in 0..8 {
        let families = [families & 1 != 0, families & 2 != 0, families & 4 != 0];
        if families[0] {
            continue;
        }
        let mut c = Call::new((By::Channel, By::Channel), families);
        let seen = Datagram { checksum: false, ..c.sends(By::Channel, b"x") };
        if families == [false; 3] {
            c.arrives(&seen, By::Channel, c.s.relayed, b"x");
        } else {
            c.s.passed(&seen.frame(), Reason::NoChecksum);
        }
    }
}

#[test]
fn what_the_other_side_has_no_binding_for_goes_up_untouched() {
    for by in ALL {
        let mut c = Call::new(by, [false; 3]);
        let frame = c.sends(by.0, b"x").frame();
        let record = match by.1 {
            By::Channel => alive(FlowRecord::peer_to_client(&path(
                c.other,
                c.other_listener,
                c.s.peer,
                c.s.relayed,
                OTHER_CHANNEL,
            ))),
            By::Indications => permission(c.other, c.other_listener, c.s.peer, c.s.relayed)[1],
        };
        let record = record.inside();
        c.s.program.rewrite(c.back, FlowRecord { deadline: 1, ..record });
        c.s.passed(&frame, Reason::PeerExpired);
        c.s.program.rewrite(c.back, FlowRecord { generation: 1, ..record });
        c.s.passed(&frame, Reason::Changed);
        c.s.program.rewrite(c.back, FlowRecord { next_hop: HOP_UNRESOLVED, ..record });
        c.s.passed(&frame, Reason::NextHop);
        // Nothing goes to a third relayed address in the same run, or round in a circle.
        c.s.program.rewrite(c.back, FlowRecord { next_hop: HAIRPIN, ..record });
        c.s.passed(&frame, Reason::NextHop);
        c.s.program.rewrite(c.back, FlowRecord::default());
        c.s.passed(&frame, Reason::NoPeerBinding);
    }
    // A port that is no relayed one: this host's own.
    let mut c = Call::new((By::Indications, By::Indications), [false; 3]);
    let own = SocketAddr::new(c.s.peer.ip(), 22);
    let frame = Datagram { payload: send_to(own, b"x"), ..c.sends(By::Indications, b"x") }.frame();
    c.s.passed(&frame, Reason::NoPeerBinding);
}

#[test]
fn both_sides_count_what_is_theirs() {
    for by in ALL {
        let mut c = Call::new(by, [false; 3]);
        for _ in 0..3 {
            c.s.program.run(&c.sends(by.0, b"12345").frame());
        }
        assert_eq!(c.s.program.counted_by(c.out), (3, 3 * 5));
        assert_eq!(c.s.program.counted_by(c.back), (3, 3 * 5));
    }
}
