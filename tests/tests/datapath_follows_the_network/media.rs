//! Media through XDP while neighbours, routes and MTUs change.

use super::*;

#[test]
fn media_flows_both_ways_by_xdp_as_soon_as_the_neighbours_are_found() {
    for request in [Request::Xdp, Request::XdpGeneric] {
        let net = OneCard::new();
        let Call { datapath, mut writer, client, peer } = net.call(request);
        for _ in 0..100 {
            assert!(
                client_reaches_peer(&client, &peer) && peer_reaches_client(&client, &peer),
                "{request:?}"
            );
        }
        assert_eq!((packets(&datapath, Reason::ToPeer), packets(&datapath, Reason::ToClient)), (100, 100));
        assert_eq!(writer.forwarded(BindingId(1)).unwrap().to_peer.packets, 100);
        writer.unbind(BindingId(1));
        assert!(!client_reaches_peer(&client, &peer));
        assert_eq!(packets(&datapath, Reason::NoBinding), 1);
        assert_eq!(datapath.next_hops(), []);
        datapath.stop();
    }
}

#[test]
fn media_of_a_sender_that_leaves_checksums_to_a_virtual_card_goes_up_whole() {
    for request in [Request::Xdp, Request::XdpGeneric] {
        let net = OneCard::new();
        net.outside.run("ethtool", "-K out0 tx on");
        let Call { datapath, writer: _writer, client, peer } = net.call(request);
        let listener = socket(&net.relay, &format!("{RELAY}:3478"));
        let relayed = socket(&net.relay, &format!("{RELAY}:50000"));
        let mut buffer = [0; 100];
        client.send_to(&channel_data(b"to the peer"), (RELAY, 3478)).unwrap();
        let n = listener.recv(&mut buffer).expect("the kernel hands it to the userspace relay");
        assert_eq!(&buffer[..n], channel_data(b"to the peer"));
        peer.send_to(b"to the client", (RELAY, 50_000)).unwrap();
        let n = relayed.recv(&mut buffer).expect("the kernel hands it to the userspace relay");
        assert_eq!(&buffer[..n], b"to the client");
        assert_eq!(packets(&datapath, Reason::UnfinishedChecksum), 2, "{request:?}");
        datapath.stop();
    }
}

#[test]
fn jumbo_frames_run_in_driver_mode_and_what_no_longer_fits_goes_up() {
    for request in [Request::Xdp, Request::XdpGeneric] {
        let net = OneCard::new();
        net.outside.ip("link set out0 mtu 9000");
        net.relay.ip("link set eth0 mtu 9000");
        let Call { datapath, writer: _writer, client, peer } = net.call(request);
        let data: Vec<u8> = (0..9_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let mut buffer = vec![0; 10_000];
        for len in [3_000, 4_096, 8_000, 9_000 - 20 - 8 - 4] {
            client.send_to(&channel_data(&data[..len]), (RELAY, 3478)).unwrap();
            let n = peer.recv(&mut buffer).unwrap_or_else(|e| panic!("{request:?}, {len} to the peer: {e}"));
            assert!(buffer[..n] == data[..len], "{request:?}, {len} bytes to the peer");
            peer.send_to(&data[..len], (RELAY, 50_000)).unwrap();
            let n =
                client.recv(&mut buffer).unwrap_or_else(|e| panic!("{request:?}, {len} to the client: {e}"));
            assert!(buffer[..n] == channel_data(&data[..len]), "{request:?}, {len} bytes to the client");
        }
        assert_eq!((packets(&datapath, Reason::ToPeer), packets(&datapath, Reason::ToClient)), (4, 4));
        let relayed = socket(&net.relay, &format!("{RELAY}:50000"));
        peer.send_to(&data[..9_000 - 20 - 8], (RELAY, 50_000)).unwrap();
        assert_eq!(relayed.recv(&mut buffer).expect("it went up"), 9_000 - 20 - 8);
        assert_eq!(packets(&datapath, Reason::TooBig), 1, "{request:?}");
        datapath.stop();
    }
}

#[test]
fn jumbo_frames_are_redirected_to_another_veth() {
    let net = OneCard::new();
    let right = Namespace::new();
    lab::veth(&net.relay, "eth1", &right, "out1");
    let _far_end = pass_all(&right, "out1");
    for (namespace, interface) in
        [(&net.relay, "eth0"), (&net.relay, "eth1"), (&net.outside, "out0"), (&right, "out1")]
    {
        namespace.ip(&format!("link set {interface} mtu 9000"));
    }
    net.relay.ip("addr add 10.8.0.1/24 dev eth1");
    right.ip("addr add 10.8.0.2/24 dev out1");
    right.ip("route add 10.7.0.0/24 via 10.8.0.1");
    let mut datapath = net.relay.enter(|| Datapath::start(&config(Request::Xdp, &["eth0", "eth1"])).unwrap());
    let mut writer = datapath.writer(0);
    let peer = "10.8.0.2:5000";
    writer.bind(&binding(peer)).unwrap();
    wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
    let (client, peer) = (socket(&net.outside, CLIENT), socket(&right, peer));
    let (data, mut buffer) = (vec![7; 8_000], vec![0; 10_000]);
    client.send_to(&channel_data(&data), (RELAY, 3478)).unwrap();
    assert_eq!(peer.recv(&mut buffer).expect("from eth0 to eth1"), data.len());
    peer.send_to(&data, (RELAY, 50_000)).unwrap();
    assert_eq!(client.recv(&mut buffer).expect("and back"), data.len() + 4);

    let counted = |name: &str, reason: Reason| {
        let interface = datapath.interfaces().into_iter().find(|i| i.name == name).unwrap();
        datapath.counters_of(interface.index).unwrap()[reason as usize].packets
    };
    assert_eq!((counted("eth0", Reason::ToPeer), counted("eth0", Reason::ToClient)), (1, 0));
    assert_eq!((counted("eth1", Reason::ToPeer), counted("eth1", Reason::ToClient)), (0, 1));
    assert_eq!(datapath.counters_of(4_000_000), None);
    drop(writer);
    datapath.stop();
}

#[test]
fn a_peer_that_moves_to_another_mac_without_a_word_is_followed() {
    let net = OneCard::new();
    // Kernel defaults: 15 to 45 s until a neighbour is stale. The rest is ours.
    net.relay.enter(|| {
        std::fs::write("/proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms", "1000").unwrap();
    });
    let Call { datapath, writer: _writer, client, peer } = net.call(Request::Xdp);
    assert!(client_reaches_peer(&client, &peer));

    // Without ARP from the outside: it keeps what it knows of the relay for ever.
    let mac = net.relay.mac("eth0").map(|byte| format!("{byte:02x}")).join(":");
    let keep = format!("neigh replace {RELAY} lladdr {mac} nud permanent dev out0");
    net.outside.ip(&keep);
    net.outside.ip("link set out0 address 02:77:77:77:77:77");
    net.outside.ip(&keep);
    assert!(!client_reaches_peer(&client, &peer), "the old MAC still works: the test proves nothing");
    // Two neighbours, each of which the kernel gives up and finds in its own time.
    wait_for("media flows again both ways", Duration::from_secs(20), || {
        client_reaches_peer(&client, &peer) && peer_reaches_client(&client, &peer)
    });
    assert!(client_reaches_peer(&client, &peer));
    assert!(peer_reaches_client(&client, &peer));
    datapath.stop();
}

#[test]
fn a_peer_that_announces_another_mac_is_followed_at_once() {
    let net = OneCard::new();
    let Call { datapath, writer: _writer, client, peer } = net.call(Request::Xdp);
    assert!(client_reaches_peer(&client, &peer));
    net.outside.ip("link set out0 address 02:77:77:77:77:77");
    for address in ["10.7.0.2", "10.7.0.3"] {
        let moved = "lladdr 02:77:77:77:77:77 nud reachable dev eth0";
        net.relay.ip(&format!("neigh replace {address} {moved}"));
    }
    wait_for("media flows again", Duration::from_secs(1), || client_reaches_peer(&client, &peer));
    datapath.stop();
}

/// The client behind `eth0`, the peer behind two routers: one on `eth0`, one on `eth1`.
#[test]
fn a_route_that_changes_to_another_card_takes_the_media_along_and_back() {
    let (relay, left, right) = (Namespace::new(), Namespace::new(), Namespace::new());
    lab::veth(&relay, "eth0", &left, "out0");
    lab::veth(&relay, "eth1", &right, "out1");
    relay.ip("addr add 10.7.0.1/24 dev eth0");
    relay.ip("addr add 10.8.0.1/24 dev eth1");
    left.ip("addr add 10.7.0.2/24 dev out0");
    right.ip("addr add 10.8.0.2/24 dev out1");
    for router in [&left, &right] {
        router.ip("addr add 198.51.100.9/32 dev lo");
    }
    let _far_ends = [pass_all(&left, "out0"), pass_all(&right, "out1")];
    right.ip("route add 10.7.0.0/24 via 10.8.0.1");
    relay.ip("route add 198.51.100.0/24 via 10.7.0.2");

    let mut datapath = relay.enter(|| Datapath::start(&config(Request::Xdp, &["eth0", "eth1"])).unwrap());
    let mut writer = datapath.writer(0);
    writer.bind(&binding("198.51.100.9:5000")).unwrap();
    let resolved = |via| hop_via(&datapath, via).is_some_and(|hop| hop.resolved);
    wait_for("the first router is resolved", Duration::from_secs(3), || resolved("10.7.0.2"));
    let client = socket(&left, CLIENT);
    let (peer_left, peer_right) = (socket(&left, "198.51.100.9:5000"), socket(&right, "198.51.100.9:5000"));
    assert!(client_reaches_peer(&client, &peer_left));
    assert_eq!(datapath.next_hops().len(), 1, "client and peer are behind one neighbour");

    relay.ip("route replace 198.51.100.0/24 via 10.8.0.2");
    wait_for("the second router is resolved", Duration::from_secs(3), || resolved("10.8.0.2"));
    assert!(client_reaches_peer(&client, &peer_right), "redirected from eth0 to eth1");
    assert!(peer_reaches_client(&client, &peer_right), "and back");
    assert_eq!(packets(&datapath, Reason::ToPeer), 2);

    // The card goes down, and with it the route, of which IPv4 says nothing.
    let before = packets(&datapath, Reason::NextHop);
    relay.ip("link set eth1 down");
    wait_for("the next hop is given up", Duration::from_secs(2), || !resolved("10.8.0.2"));
    assert!(!client_reaches_peer(&client, &peer_right));
    assert_eq!(packets(&datapath, Reason::NextHop), before + 1, "up to userspace, not dropped");

    relay.ip("route add 198.51.100.0/24 via 10.7.0.2");
    wait_for("media flows by the first router", Duration::from_secs(2), || {
        client_reaches_peer(&client, &peer_left)
    });
    drop(writer);
    assert_eq!((datapath.occupancy().bindings, datapath.next_hops().len()), (0, 0));
    datapath.stop();
}

#[test]
fn the_mtu_of_the_card_or_the_route_limits_what_xdp_sends() {
    let net = OneCard::new();
    net.relay.ip(&format!("route add 10.7.0.3 dev eth0 src {RELAY} mtu 1000"));
    let mut datapath = net.start(Request::Xdp);
    let mut writer = datapath.writer(0);
    writer.bind(&binding(PEER)).unwrap();
    let mtu = |via| hop_via(&datapath, via).map(|hop| hop.mtu);
    assert_eq!((mtu("10.7.0.3"), mtu("10.7.0.2")), (Some(1000), Some(1500)));
    net.relay.ip("link set eth0 mtu 900");
    wait_for("the smaller MTU is noticed", Duration::from_secs(2), || {
        (mtu("10.7.0.3"), mtu("10.7.0.2")) == (Some(900), Some(900))
    });
    datapath.stop();
}
