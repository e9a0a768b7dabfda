//! Next hops in a made-up network.

use relay_common::next_hop::NextHop;

use super::super::monitor::Prefix;
use super::super::netlink::{Link, Neighbour, Route, Vlan};
use super::*;

#[path = "next_hop_network.rs"]
mod network;

use network::*;

fn header(to: [u8; 6], from: [u8; 6], rest: &[u8]) -> Vec<u8> {
    [&to[..], &from, rest].concat()
}

#[test]
fn a_peer_on_the_link_is_reached_by_its_own_mac_not_the_routers() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.route("198.51.100.7", NIC, Some("192.0.2.254"));
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.neighbour(NIC, "192.0.2.254", Neighbour::Known(mac(254)));
    bench.attach(1, "192.0.2.7");
    bench.attach(2, "198.51.100.7");
    assert_eq!(bench.l2_of(1), header(mac(7), NIC_MAC, &[8, 0]));
    assert_eq!(bench.l2_of(2), header(mac(254), NIC_MAC, &[8, 0]));
    let hop = bench.hop_of(1);
    assert_eq!((hop.ifindex, hop.mtu, hop.redirect), (NIC, 1500, 1));
}

#[test]
fn destinations_behind_one_router_share_a_row_until_the_last_is_gone() {
    let bench = Bench::new(16);
    bench.neighbour(NIC, "192.0.2.254", Neighbour::Known(mac(254)));
    for (record, to) in [(1, "198.51.100.1"), (2, "198.51.100.2"), (3, "198.51.100.2")] {
        bench.route(to, NIC, Some("192.0.2.254"));
        bench.attach(record, to);
    }
    let row = bench.row_of(1);
    assert!(row != 0 && bench.row_of(2) == row && bench.row_of(3) == row);
    assert_eq!(bench.network.0.lock().unwrap().routes_asked, 2, "a known destination is not asked for again");
    bench.hops.detach(2);
    bench.hops.detach(1);
    assert_eq!(bench.hop_of(3).ifindex, NIC);
    bench.hops.detach(3);
    assert_eq!(bench.hop_of(3).ifindex, 0);
    assert_eq!(bench.hops.status(), []);
}

#[test]
fn an_unknown_neighbour_is_asked_for_and_used_when_it_answers() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.attach(1, "192.0.2.7");
    assert_eq!(bench.hop_of(1).ifindex, 0);
    assert_eq!(bench.hops.take_kicks(), [(NIC, ip("192.0.2.7"), Kick::Resolve)]);
    assert_eq!(bench.hops.wake().read(), Ok(1));
    bench.hops.retry();
    assert_eq!(bench.hops.take_kicks(), [(NIC, ip("192.0.2.7"), Kick::Resolve)]);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.change(|c| c.neighbours.push((NIC, ip("192.0.2.7"))));
    assert_eq!(bench.l2_of(1), header(mac(7), NIC_MAC, &[8, 0]));
    bench.hops.retry();
    assert_eq!(bench.hops.take_kicks(), []);
}

#[test]
fn clients_that_name_peers_who_are_not_there_do_not_have_the_kernel_look_for_thousands() {
    let bench = Bench::new(2048);
    for record in 1..1000_u32 {
        let peer = format!("192.0.{}.{}", 2 + record / 200, record % 200);
        bench.route(&peer, NIC, None);
        bench.attach(record, &peer);
    }
    assert_eq!(bench.hops.take_kicks().len(), 256);
    for (record, to) in [(1000, "198.51.100.1"), (1001, "198.51.100.2")] {
        bench.route(to, SECOND_NIC, Some("203.0.113.1"));
        bench.attach(record, to);
    }
    bench.hops.retry();
    let asked = bench.hops.take_kicks();
    let router = (SECOND_NIC, ip("203.0.113.1"), Kick::Resolve);
    assert_eq!((asked.len(), asked[0]), (256, router), "by which most is reached");
    // One that others are not found beside is used all the same, once the kernel knows it.
    bench.neighbour(NIC, "192.0.6.150", Neighbour::Known(mac(7)));
    bench.change(|c| c.neighbours.push((NIC, ip("192.0.6.150"))));
    assert_eq!(bench.hop_of(950).ifindex, NIC);
}

#[test]
fn peers_on_the_link_leave_room_for_routers() {
    let bench = Bench::new(16);
    for record in 1..20_u32 {
        let peer = format!("192.0.2.{record}");
        bench.route(&peer, NIC, None);
        bench.attach(record, &peer);
    }
    assert_eq!((1..20).filter(|&record| bench.row_of(record) != 0).count(), 12);
    bench.route("198.51.100.1", NIC, Some("192.0.2.254"));
    bench.neighbour(NIC, "192.0.2.254", Neighbour::Known(mac(254)));
    bench.attach(20, "198.51.100.1");
    assert_eq!(bench.l2_of(20), header(mac(254), NIC_MAC, &[8, 0]));
}

#[test]
fn a_peer_that_moves_to_another_mac_is_followed_in_the_same_row() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.attach(1, "192.0.2.7");
    let (row, before) = (bench.row_of(1), bench.hop_of(1).generation);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(8)));
    bench.change(|c| c.neighbours.push((NIC, ip("192.0.2.7"))));
    assert_eq!(bench.l2_of(1), header(mac(8), NIC_MAC, &[8, 0]));
    assert_eq!(bench.row_of(1), row);
    assert_ne!(bench.hop_of(1).generation, before, "a reader of the old row can tell");
}

#[test]
fn a_neighbour_that_is_lost_sends_its_packets_up_and_is_asked_for_once() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.attach(1, "192.0.2.7");
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Unknown);
    for _ in 0..3 {
        bench.change(|c| c.neighbours.push((NIC, ip("192.0.2.7"))));
    }
    assert_eq!(bench.hop_of(1).ifindex, 0);
    assert_eq!(bench.hops.take_kicks(), [(NIC, ip("192.0.2.7"), Kick::Resolve)]);
}

#[test]
fn a_stale_neighbour_is_used_and_confirmed() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Stale(mac(7)));
    bench.attach(1, "192.0.2.7");
    assert_eq!(bench.l2_of(1), header(mac(7), NIC_MAC, &[8, 0]));
    assert_eq!(bench.hops.take_kicks(), [(NIC, ip("192.0.2.7"), Kick::Confirm)]);
}

#[test]
fn a_changed_route_moves_the_records_of_its_destinations_and_no_others() {
    let bench = Bench::new(16);
    bench.neighbour(NIC, "192.0.2.254", Neighbour::Known(mac(254)));
    bench.neighbour(SECOND_NIC, "203.0.113.254", Neighbour::Known(mac(253)));
    for (record, to) in [(1, "198.51.100.1"), (2, "198.51.100.2"), (3, "10.0.0.1")] {
        bench.route(to, NIC, Some("192.0.2.254"));
        bench.attach(record, to);
    }
    for to in ["198.51.100.1", "198.51.100.2", "10.0.0.1"] {
        bench.route(to, SECOND_NIC, Some("203.0.113.254"));
    }
    bench.change(|c| c.routes.push(Prefix::new(ip("198.51.100.0"), 24)));
    for record in [1, 2] {
        assert_eq!(bench.hop_of(record).ifindex, SECOND_NIC);
        assert_eq!(&bench.l2_of(record)[..6], mac(253));
    }
    assert_eq!(bench.hop_of(3).ifindex, NIC, "its prefix was not announced");
    bench.change(|c| c.everything = true);
    assert_eq!(bench.hop_of(3).ifindex, SECOND_NIC);
    assert_eq!(bench.hops.status().len(), 1, "the old router's row is given up");
}

#[test]
fn a_route_that_goes_away_sends_packets_up_until_it_is_back() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.attach(1, "192.0.2.7");
    bench.network.0.lock().unwrap().routes.clear();
    bench.change(|c| c.links.push(NIC));
    assert_eq!(bench.row_of(1), 0);
    bench.route("192.0.2.7", NIC, None);
    bench.change(|c| c.routes.push(Prefix::new(ip("0.0.0.0"), 0)));
    assert_eq!(bench.hop_of(1).ifindex, NIC);
    bench.hops.detach(1);
}

#[test]
fn an_interface_that_goes_down_or_changes_its_mtu_is_noticed() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.neighbour(NIC, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.attach(1, "192.0.2.7");
    let set = |link: Link| bench.network.0.lock().unwrap().links.insert(NIC, link);
    set(Link { mtu: 1400, ..link(NIC) });
    bench.change(|c| c.links.push(77));
    assert_eq!(bench.hop_of(1).mtu, 1500, "somebody else's interface is no reason to look");
    bench.change(|c| c.links.push(NIC));
    assert_eq!(bench.hop_of(1).mtu, 1400);
    set(Link { up: false, ..link(NIC) });
    bench.change(|c| c.links.push(NIC));
    assert_eq!(bench.hop_of(1).ifindex, 0);
}

#[test]
fn the_mtu_is_the_smaller_of_the_routes_and_the_interfaces() {
    let bench = Bench::new(16);
    bench.neighbour(NIC, "192.0.2.254", Neighbour::Known(mac(254)));
    for (record, to, mtu, want) in [(1, "10.0.0.1", 1280, 1280), (2, "10.0.0.2", 9000, 1500)] {
        let route = Route { oif: NIC, gateway: Some(ip("192.0.2.254")), mtu: Some(mtu) };
        bench.network.0.lock().unwrap().routes.insert(ip(to), route);
        bench.attach(record, to);
        assert_eq!(bench.hop_of(record).mtu, want);
    }
}

#[test]
fn a_vlan_interface_leaves_by_the_card_below_it_with_its_tags() {
    let bench = Bench::new(16);
    let vlan = |index, lower, ethertype, id| Link {
        vlan: Some(Vlan { lower, ethertype, id }),
        mtu: 1496,
        ..link(index)
    };
    bench.network.0.lock().unwrap().links.insert(10, vlan(10, NIC, 0x88a8, 100));
    bench.network.0.lock().unwrap().links.insert(11, vlan(11, 10, 0x8100, 7));
    bench.route("192.0.2.7", 11, None);
    bench.neighbour(11, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.attach(1, "192.0.2.7");
    assert_eq!(
        bench.l2_of(1),
        header(mac(7), [2, 0, 0, 0, 0, 11], &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 8, 0])
    );
    assert_eq!((bench.hop_of(1).ifindex, bench.hop_of(1).mtu), (NIC, 1496));
}

#[test]
fn what_has_no_way_by_an_interface_with_the_program_takes_the_slow_path() {
    let bench = Bench::new(16);
    let add = |link: Link| bench.network.0.lock().unwrap().links.insert(link.index, link).is_none();
    assert!(add(link(20)) && add(Link { mac: None, ..link(21) }));
    bench.route("10.0.0.1", 20, None);
    bench.route("10.0.0.2", 21, None);
    bench.route("10.0.0.3", 22, None);
    for (record, to) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.3"), (4, "10.0.0.4")] {
        bench.attach(record, to);
        assert_eq!(bench.row_of(record), 0, "{to}");
    }
    assert_eq!(bench.hop_of(1), NextHop::default());
}

#[test]
fn ipv6_destinations_get_the_ethertype_of_ipv6() {
    let bench = Bench::new(16);
    bench.route("2001:db8::7", SECOND_NIC, Some("fe80::1"));
    bench.neighbour(SECOND_NIC, "fe80::1", Neighbour::Known(mac(1)));
    bench.attach(1, "2001:db8::7");
    assert_eq!(bench.l2_of(1), header(mac(1), [2, 0, 0, 0, 0, 3], &[0x86, 0xdd]));
    assert_eq!(bench.hop_of(1).redirect, 0);
}

#[test]
fn when_the_rows_run_out_the_rest_takes_the_slow_path() {
    let bench = Bench::new(3);
    for n in 1..=4 {
        let to = format!("192.0.2.{n}");
        bench.route(&to, NIC, None);
        bench.neighbour(NIC, &to, Neighbour::Known(mac(n)));
        bench.attach(n.into(), &to);
    }
    assert_eq!([1, 2, 3, 4].map(|record| bench.row_of(record)), [1, 2, 0, 0]);
    for record in 1..=4 {
        bench.hops.detach(record);
    }
    assert_eq!(bench.hops.status(), []);
}

#[test]
fn each_direction_of_a_binding_has_the_others_next_hop_as_its_way_back() {
    let bench = Bench::new(16);
    bench.route("192.0.2.7", NIC, None);
    bench.route("198.51.100.7", SECOND_NIC, None);
    bench.attach(1, "192.0.2.7");
    bench.attach(2, "198.51.100.7");
    bench.hops.pair([1, 2]);
    let ways_back = || [1, 2].map(|record| bench.flows.read(record).way_back);
    assert!(bench.row_of(1) != 0 && bench.row_of(2) != 0);
    assert_eq!(ways_back(), [bench.row_of(2), bench.row_of(1)]);

    let before = bench.row_of(1);
    bench.route("192.0.2.7", SECOND_NIC, Some("198.51.100.254"));
    bench.change(|c| c.routes.push(Prefix::new(ip("192.0.2.0"), 24)));
    assert_ne!(bench.row_of(1), before);
    assert_eq!(ways_back(), [bench.row_of(2), bench.row_of(1)], "they follow routes that move");

    bench.hops.detach(1);
    assert_eq!(bench.flows.read(2).way_back, 0, "a row that is free may be another neighbour's soon");
    bench.hops.detach(2);
}

#[test]
fn a_vlan_on_a_bond_leaves_by_the_bond_with_its_tag() {
    let bench = Bench::new(16);
    let kind = |kind: &str| Some(kind.to_owned());
    let vlan = Some(Vlan { lower: NIC, ethertype: 0x8100, id: 42 });
    let links = [Link { kind: kind("bond"), ..link(NIC) }, Link { kind: kind("vlan"), vlan, ..link(10) }];
    for link in links {
        bench.network.0.lock().unwrap().links.insert(link.index, link);
    }
    bench.route("192.0.2.7", 10, None);
    bench.neighbour(10, "192.0.2.7", Neighbour::Known(mac(7)));
    bench.attach(1, "192.0.2.7");
    assert_eq!(bench.l2_of(1), header(mac(7), [2, 0, 0, 0, 0, 10], &[0x81, 0, 0, 42, 8, 0]));
    assert_eq!(bench.hop_of(1).ifindex, NIC);
}

#[test]
fn a_vlan_whose_card_is_down_or_that_has_one_tag_too_many_takes_the_slow_path() {
    let bench = Bench::new(16);
    let set = |link: Link| bench.network.0.lock().unwrap().links.insert(link.index, link);
    let tag = |lower, id| Some(Vlan { lower, ethertype: 0x8100, id });
    for (index, lower) in [(10, NIC), (11, 10), (12, 11)] {
        set(Link { vlan: tag(lower, index as u16), ..link(index) });
    }
    for (record, to, oif) in [(1, "192.0.2.7", 11), (2, "198.51.100.7", 12)] {
        bench.route(to, oif, None);
        bench.neighbour(oif, to, Neighbour::Known(mac(7)));
        bench.attach(record, to);
    }
    assert_eq!(bench.hop_of(1).l2_len, 22);
    assert_eq!(bench.row_of(2), 0, "three tags");

    for down in [NIC, 10, 11] {
        let up = bench.network.0.lock().unwrap().links[&down].clone();
        set(Link { up: false, ..up.clone() });
        bench.change(|c| c.links.push(down));
        assert_eq!(bench.row_of(1), 0, "interface {down} is down");
        set(up);
        bench.change(|c| c.links.push(down));
        assert_eq!(bench.hop_of(1).ifindex, NIC);
    }
}

/// A kernel whose route changes, and is followed, after it was told and before the one who asked goes on.
struct Racing {
    network: Network,
    hops: std::sync::Weak<NextHops>,
}

impl Kernel for Racing {
    fn route(&mut self, to: IpAddr, from: IpAddr) -> std::io::Result<Option<Route>> {
        let told = self.network.route(to, from);
        let changed = Route { oif: NIC, gateway: Some(ip("192.0.2.253")), mtu: None };
        self.network.0.lock().unwrap().routes.insert(to, changed);
        let hops = self.hops.upgrade().expect("the next hops ask");
        hops.apply(&Changes { everything: true, ..Changes::default() });
        told
    }

    fn neighbour(&mut self, _: u32, _: IpAddr) -> std::io::Result<Neighbour> {
        unreachable!("asked for under the lock")
    }

    fn link(&mut self, _: u32) -> std::io::Result<Option<Link>> {
        unreachable!("asked for under the lock")
    }
}

#[test]
fn a_route_that_changes_while_it_is_asked_for_is_asked_for_again() {
    let bench = Bench::new(16);
    bench.neighbour(NIC, "192.0.2.253", Neighbour::Known(mac(253)));
    bench.neighbour(NIC, "192.0.2.254", Neighbour::Known(mac(254)));
    bench.route("198.51.100.7", NIC, Some("192.0.2.254"));
    let racing = Racing { network: bench.network.clone(), hops: Arc::downgrade(&bench.hops) };
    bench.hops.lookups.lock().unwrap().push(Box::new(racing));
    bench.attach(1, "198.51.100.7");
    assert_eq!(bench.l2_of(1), header(mac(253), NIC_MAC, &[8, 0]));
}
