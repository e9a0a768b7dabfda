//! The data path on real interfaces: the ladder, and media through XDP while neighbours and routes change.
//! Needs root: each test makes its own network namespaces and takes them away.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use turnpike::datapath::{Datapath, DatapathConfig, Mode, NextHopStatus, Request};
use turnpike::time::Timestamp;
use turnpike::turn::{
    Binding, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, RelayAddress, Transport,
};
use turnpike_tests::lab::{self, Namespace};

const RELAY: &str = "10.7.0.1";
const CLIENT: &str = "10.7.0.2:4000";
const PEER: &str = "10.7.0.3:5000";
const CHANNEL: u16 = 0x4001;

fn config(request: Request, interfaces: &[&str]) -> DatapathConfig {
    let relay: IpAddr = RELAY.parse().unwrap();
    DatapathConfig {
        request,
        interfaces: Some(interfaces.iter().map(|&i| i.into()).collect()),
        listeners: vec![SocketAddr::new(relay, 3478)],
        relay: vec![RelayAddress { public: relay, local: relay }],
        relay_ports: 49152..=65535,
        max_bindings: 64,
        shards: 1,
    }
}

fn binding(peer: &str) -> Binding {
    let relay: IpAddr = RELAY.parse().unwrap();
    Binding {
        id: BindingId(1),
        five_tuple: FiveTuple {
            client: ClientAddr(CLIENT.parse().unwrap()),
            listener: SocketAddr::new(relay, 3478),
            transport: Transport::Udp,
        },
        relayed: RelayAddr(SocketAddr::new(relay, 50_000)),
        peer: PeerAddr(peer.parse().unwrap()),
        channel: ChannelNumber::new(CHANNEL).unwrap(),
        deadline: Timestamp::now() + Duration::from_secs(600),
    }
}

/// A program that passes everything: this one, with nothing that is its own. A veth delivers what XDP sends to it only
/// when it has one itself.
fn pass_all(namespace: &Namespace, interface: &str) -> Datapath {
    let nothing = DatapathConfig { listeners: vec![], relay: vec![], ..config(Request::Xdp, &[interface]) };
    namespace.enter(|| Datapath::start(&nothing).unwrap())
}

/// A relay whose card `eth0` leads to one namespace with the client and the peer.
struct OneCard {
    relay: Namespace,
    outside: Namespace,
    _far_end: Datapath,
}

impl OneCard {
    fn new() -> Self {
        let (relay, outside) = (Namespace::new(), Namespace::new());
        lab::veth(&relay, "eth0", &outside, "out0");
        relay.ip("addr add 10.7.0.1/24 dev eth0");
        outside.ip("addr add 10.7.0.2/24 dev out0");
        outside.ip("addr add 10.7.0.3/24 dev out0");
        let far_end = pass_all(&outside, "out0");
        Self { relay, outside, _far_end: far_end }
    }

    fn start(&self, request: Request) -> Datapath {
        self.relay.enter(|| Datapath::start(&config(request, &["eth0"])).unwrap())
    }
}

fn socket(namespace: &Namespace, address: &str) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

fn channel_data(payload: &[u8]) -> Vec<u8> {
    [&CHANNEL.to_be_bytes()[..], &(payload.len() as u16).to_be_bytes(), payload].concat()
}

/// Whether one packet of the client reaches the peer, as it must.
fn client_reaches_peer(client: &UdpSocket, peer: &UdpSocket) -> bool {
    client.send_to(&channel_data(b"to the peer"), (RELAY, 3478)).unwrap();
    let mut buffer = [0; 100];
    match peer.recv_from(&mut buffer) {
        Ok((n, from)) => {
            assert_eq!((&buffer[..n], from.to_string()), (&b"to the peer"[..], format!("{RELAY}:50000")));
            true
        }
        Err(_) => false,
    }
}

fn peer_reaches_client(client: &UdpSocket, peer: &UdpSocket) -> bool {
    peer.send_to(b"to the client", (RELAY, 50_000)).unwrap();
    let mut buffer = [0; 100];
    match client.recv_from(&mut buffer) {
        Ok((n, from)) => {
            assert_eq!(
                (&buffer[..n], from.to_string()),
                (&channel_data(b"to the client")[..], format!("{RELAY}:3478"))
            );
            true
        }
        Err(_) => false,
    }
}

/// How long it took to come true.
fn wait_for(what: &str, limit: Duration, mut true_yet: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !true_yet() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

fn packets(datapath: &Datapath, reason: Reason) -> u64 {
    datapath.counters()[reason as usize].packets
}

fn hop_via(datapath: &Datapath, via: &str) -> Option<NextHopStatus> {
    datapath.next_hops().into_iter().find(|hop| hop.via.to_string() == via)
}

fn both_resolved(datapath: &Datapath) -> bool {
    let hops = datapath.next_hops();
    hops.len() == 2 && hops.iter().all(|hop| hop.resolved)
}

#[test]
fn a_veth_runs_in_driver_mode_and_is_left_clean() {
    let net = OneCard::new();
    let datapath = net.start(Request::Auto);
    let interfaces = datapath.interfaces();
    let [eth0] = &interfaces[..] else { panic!("{interfaces:?}") };
    assert_eq!((eth0.name.as_str(), eth0.mode, eth0.reasons.as_slice()), ("eth0", Mode::Xdp, &[][..]));
    assert!(net.relay.ip("link show eth0").contains(" xdp "));
    datapath.stop();
    assert!(!net.relay.ip("link show eth0").contains("xdp"));
}

#[test]
fn a_veth_whose_other_end_would_not_hear_of_xdp_frames_runs_in_generic_mode() {
    let (relay, outside) = (Namespace::new(), Namespace::new());
    lab::veth(&relay, "eth0", &outside, "out0");
    let start = |request| relay.enter(|| Datapath::start(&config(request, &["eth0"])).unwrap());
    let datapath = start(Request::Auto);
    assert_eq!(datapath.interfaces()[0].mode, Mode::XdpGeneric);
    let interfaces = datapath.interfaces();
    let [reason] = interfaces[0].reasons.as_slice() else { panic!("one reason") };
    assert!(reason.contains("the other end of eth0 runs no XDP program"), "{reason}");
    datapath.stop();
    assert_eq!(start(Request::Xdp).interfaces()[0].mode, Mode::Xdp, "who insists knows better");
}

#[test]
fn a_driver_without_native_xdp_runs_in_generic_mode_and_says_why() {
    let relay = Namespace::new();
    relay.ip("link add ifb7 type ifb");
    relay.ip("link set ifb7 up");
    let datapath = relay.enter(|| Datapath::start(&config(Request::Auto, &["ifb7"])).unwrap());
    let interfaces = datapath.interfaces();
    let [ifb] = &interfaces[..] else { panic!("{interfaces:?}") };
    assert_eq!(ifb.mode, Mode::XdpGeneric);
    assert_eq!(ifb.reasons, ["driver ifb has no native XDP"]);
    datapath.stop();

    let Err(error) = relay.enter(|| Datapath::start(&config(Request::Xdp, &["ifb7"]))) else {
        panic!("started")
    };
    assert_eq!(
        error.to_string(),
        "--datapath xdp: ifb7: driver ifb has no native XDP; --datapath auto would use what there is"
    );
}

#[test]
fn an_interface_with_another_program_is_left_alone_and_relays_in_userspace() {
    let net = OneCard::new();
    let first = net.start(Request::Xdp);
    let second = net.start(Request::Auto);
    assert_eq!(second.interfaces()[0].mode, Mode::Userspace);
    let reasons = second.interfaces()[0].reasons.clone();
    assert!(reasons.iter().all(|r| r.contains("another XDP program is attached")), "{reasons:?}");
    assert!(net.relay.enter(|| Datapath::start(&config(Request::XdpGeneric, &["eth0"]))).is_err());
    second.stop();
    assert!(net.relay.ip("link show eth0").contains(" xdp "), "the first program is still there");
    first.stop();
}

#[test]
fn without_privileges_it_relays_in_userspace_and_names_the_capabilities() {
    let net = OneCard::new();
    let output = net.relay.enter(|| {
        Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--bounding-set=-all",
                "--inh-caps=-all",
            ])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "as_nobody", "--ignored", "--nocapture"])
            .output()
            .unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by another test, without privileges"]
fn as_nobody() {
    let datapath = Datapath::start(&config(Request::Auto, &["eth0"])).unwrap();
    let eth0 = datapath.interfaces().remove(0);
    assert_eq!(eth0.mode, Mode::Userspace);
    let [reason] = eth0.reasons.as_slice() else { panic!("{:?}", eth0.reasons) };
    assert!(reason.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"), "{reason}");
}

#[test]
fn media_flows_both_ways_by_xdp_as_soon_as_the_neighbours_are_found() {
    for request in [Request::Xdp, Request::XdpGeneric] {
        let net = OneCard::new();
        let mut datapath = net.start(request);
        let mut writer = datapath.writer(0);
        writer.bind(&binding(PEER)).unwrap();
        // Nobody sends anything: the kernel is asked to look for them.
        wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
        let (client, peer) = (socket(&net.outside, CLIENT), socket(&net.outside, PEER));
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
        let mut datapath = net.start(request);
        let mut writer = datapath.writer(0);
        writer.bind(&binding(PEER)).unwrap();
        wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
        let (client, peer) = (socket(&net.outside, CLIENT), socket(&net.outside, PEER));
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
fn a_peer_that_moves_to_another_mac_without_a_word_is_followed() {
    let net = OneCard::new();
    // Kernel defaults: 15 to 45 s until a neighbour is stale. The rest is ours.
    net.relay.enter(|| {
        std::fs::write("/proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms", "1000").unwrap();
    });
    let mut datapath = net.start(Request::Xdp);
    let mut writer = datapath.writer(0);
    writer.bind(&binding(PEER)).unwrap();
    wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
    let (client, peer) = (socket(&net.outside, CLIENT), socket(&net.outside, PEER));
    assert!(client_reaches_peer(&client, &peer));

    // Without ARP from the outside: it keeps what it knows of the relay for ever.
    let mac = net.relay.mac("eth0").map(|byte| format!("{byte:02x}")).join(":");
    let keep = format!("neigh replace {RELAY} lladdr {mac} nud permanent dev out0");
    net.outside.ip(&keep);
    net.outside.ip("link set out0 address 02:77:77:77:77:77");
    net.outside.ip(&keep);
    assert!(!client_reaches_peer(&client, &peer), "the old MAC still works: the test proves nothing");
    wait_for("media flows again", Duration::from_secs(20), || client_reaches_peer(&client, &peer));
    // The client is another neighbour, which the kernel gives up and finds in its own time.
    wait_for("and back", Duration::from_secs(3), || peer_reaches_client(&client, &peer));
    datapath.stop();
}

#[test]
fn a_peer_that_announces_another_mac_is_followed_at_once() {
    let net = OneCard::new();
    let mut datapath = net.start(Request::Xdp);
    let mut writer = datapath.writer(0);
    writer.bind(&binding(PEER)).unwrap();
    wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
    let (client, peer) = (socket(&net.outside, CLIENT), socket(&net.outside, PEER));
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

#[test]
fn a_program_at_the_other_end_of_a_veth_is_noticed_when_it_comes_and_when_it_goes() {
    let (relay, outside) = (Namespace::new(), Namespace::new());
    lab::veth(&relay, "eth0", &outside, "out0");
    let datapath = relay.enter(|| Datapath::start(&config(Request::Auto, &["eth0"])).unwrap());
    let mode = || datapath.interfaces()[0].mode;
    assert_eq!(mode(), Mode::XdpGeneric);
    let far_end = pass_all(&outside, "out0");
    // Nothing announces it: the kernel is asked every ten seconds.
    wait_for("driver mode", Duration::from_secs(20), || mode() == Mode::Xdp);
    assert_eq!(datapath.interfaces()[0].reasons, [""; 0]);
    assert!(relay.ip("link show eth0").contains(" xdp "));
    far_end.stop();
    wait_for("generic mode again", Duration::from_secs(20), || mode() == Mode::XdpGeneric);
    assert!(datapath.interfaces()[0].reasons[0].contains("the other end of eth0 runs no XDP program"));
    assert!(relay.ip("link show eth0").contains(" xdpgeneric "));
    datapath.stop();
    assert!(!relay.ip("link show eth0").contains("xdp"));
}

/// The relayed address on `eth0`, the client behind an interface that comes later.
#[test]
fn an_address_that_comes_later_is_served_where_a_listener_is_on_all_of_them() {
    let net = OneCard::new();
    let right = Namespace::new();
    let all = DatapathConfig {
        interfaces: None,
        listeners: vec!["0.0.0.0:3478".parse().unwrap()],
        ..config(Request::Xdp, &[])
    };
    let mut datapath = net.relay.enter(|| Datapath::start(&all).unwrap());
    let modes = |datapath: &Datapath| datapath.interfaces().iter().map(|i| i.mode).collect::<Vec<_>>();
    assert_eq!(modes(&datapath), [Mode::Xdp]);

    lab::veth(&net.relay, "eth1", &right, "out1");
    let _far_end = pass_all(&right, "out1");
    net.relay.ip("addr add 10.9.0.1/24 dev eth1");
    right.ip("addr add 10.9.0.2/24 dev out1");
    wait_for("both are attached", Duration::from_secs(2), || modes(&datapath) == [Mode::Xdp, Mode::Xdp]);
    let late = FiveTuple {
        client: ClientAddr("10.9.0.2:4000".parse().unwrap()),
        listener: "10.9.0.1:3478".parse().unwrap(),
        transport: Transport::Udp,
    };
    let mut writer = datapath.writer(0);
    writer.bind(&Binding { five_tuple: late, ..binding(PEER) }).unwrap();
    wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
    let (client, peer) = (socket(&right, "10.9.0.2:4000"), socket(&net.outside, PEER));
    let mut buffer = [0; 100];
    client.send_to(&channel_data(b"to the peer"), "10.9.0.1:3478").unwrap();
    let (n, from) = peer.recv_from(&mut buffer).expect("redirected from eth1 to eth0");
    assert_eq!((&buffer[..n], from.to_string()), (&b"to the peer"[..], format!("{RELAY}:50000")));
    assert!(peer.send_to(b"to the client", (RELAY, 50_000)).is_ok() && client.recv(&mut buffer).is_ok());
    assert_eq!((packets(&datapath, Reason::ToPeer), packets(&datapath, Reason::ToClient)), (1, 1));

    // Its packets go up while it is gone, and it is not spoken of: it may have been any container's.
    net.relay.ip("link del eth1");
    wait_for("one is attached", Duration::from_secs(2), || modes(&datapath) == [Mode::Xdp]);
    let before = packets(&datapath, Reason::NextHop);
    peer.send_to(b"to the client", (RELAY, 50_000)).unwrap();
    wait_for("it went up", Duration::from_secs(1), || packets(&datapath, Reason::NextHop) == before + 1);
    assert_eq!(packets(&datapath, Reason::NoDevice), 0);
    drop(writer);
    datapath.stop();
}
