//! On which rung of the ladder an interface ends up, and what becomes of it when the network changes.

use super::*;

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
            .args(["--exact", "attaching::as_nobody", "--ignored", "--nocapture"])
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
