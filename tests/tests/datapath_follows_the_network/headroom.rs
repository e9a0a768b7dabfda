//! LESSON 21: a driver that leaves too little room before a packet for longer headers.

use aya::maps::Array;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use relay_common::bench::{Template, WRITTEN};
use relay_common::tables::bytes_of;
use turnpike_tests::frames::Datagram;

use super::*;

/// What a peer sends: with the headers of Ethernet, IPv4 and UDP as long as a template is.
const DATA: [u8; WRITTEN - 14 - 20 - 8] = [7; WRITTEN - 14 - 20 - 8];

/// Sends a peer's datagram as frames with next to no headroom, which a veth hands over as they are.
struct Crowder(Ebpf);

impl Crowder {
    fn new(net: &OneCard) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-xdp.o");
        let object = std::fs::read(path)
            .unwrap_or_else(|e| panic!("{path}: {e}; make it with `cargo xtask build-ebpf`"));
        let mut ebpf = EbpfLoader::new().map_max_entries("TEMPLATES", 1).load(&object).unwrap();
        let mut datagram =
            Datagram::new(PEER.parse().unwrap(), format!("{RELAY}:50000").parse().unwrap(), DATA);
        datagram.macs = (net.relay.mac("eth0"), net.outside.mac("out0"));
        let frame = datagram.frame();
        assert_eq!(frame.len(), WRITTEN, "all of it is in the template");
        let mut map =
            Array::<_, [u8; size_of::<Template>()]>::try_from(ebpf.map_mut("TEMPLATES").unwrap()).unwrap();
        let bytes: [u8; size_of::<Template>()] = bytes_of(&Template::of(&frame)).try_into().unwrap();
        map.set(0, bytes, 0).unwrap();
        let crowd: &mut Xdp = ebpf.program_mut("crowd").unwrap().try_into().unwrap();
        crowd.load().unwrap();
        Self(ebpf)
    }

    fn send(&self, net: &OneCard, packets: u32) {
        let crowd: &Xdp = self.0.program("crowd").unwrap().try_into().unwrap();
        let frame = [0_u8; 128];
        net.outside.enter(|| {
            let ifindex = std::fs::read_to_string("/sys/class/net/out0/ifindex").unwrap();
            // `struct xdp_md`: where the data ends, and which interface it is said to come from.
            let context = [0, frame.len() as u32, 0, ifindex.trim().parse().unwrap(), 0, 0];
            let context: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let options = TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(1),
                ..TestRunOptions::new()
            };
            crowd.test_run(options).expect("BPF_PROG_TEST_RUN with live frames (5.18)");
        });
    }
}

fn eth0(datapath: &Datapath) -> (Mode, String) {
    let interface = datapath.interfaces().remove(0);
    (interface.mode, interface.reasons.join("; "))
}

#[test]
fn lessons_21_a_driver_without_headroom_is_found_by_its_first_packets_and_goes_on_in_generic_mode() {
    let net = OneCard::new();
    // In generic mode a veth takes what XDP sends to it only so.
    net.relay.run("ethtool", "-K eth0 gro on");
    let mut datapath = net.start(Request::Auto);
    let mut writer = datapath.writer(0);
    writer.bind(&binding(PEER)).unwrap();
    wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
    let (client, relayed) = (socket(&net.outside, CLIENT), socket(&net.relay, &format!("{RELAY}:50000")));
    let crowder = Crowder::new(&net);
    let mut buffer = [0; 100];

    assert_eq!(eth0(&datapath), (Mode::Xdp, String::new()));
    crowder.send(&net, 1);
    assert_eq!(relayed.recv(&mut buffer).expect("it goes up, for userspace to relay"), DATA.len());
    assert_eq!((packets(&datapath, Reason::NoHeadroom), &buffer[..DATA.len()]), (1, &DATA[..]));

    crowder.send(&net, 50);
    wait_for("generic mode", Duration::from_secs(3), || eth0(&datapath).0 == Mode::XdpGeneric);
    let reason = eth0(&datapath).1;
    assert!(reason.contains("driver veth leaves too little room"), "{reason}");
    let before = packets(&datapath, Reason::NoHeadroom);
    wait_for("it goes on there", Duration::from_secs(3), || {
        crowder.send(&net, 1);
        client.recv(&mut buffer).is_ok_and(|n| buffer[..n] == channel_data(&DATA))
    });
    assert_eq!(packets(&datapath, Reason::NoHeadroom), before);
    assert!(packets(&datapath, Reason::ToClient) >= 1);

    // Something else changes, after which the ladder is climbed again: not up.
    std::thread::sleep(Duration::from_secs(5));
    net.relay.ip("link set eth0 mtu 1400");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(eth0(&datapath).0, Mode::XdpGeneric);
    datapath.stop();
}

#[test]
fn who_insists_on_driver_mode_keeps_it_and_is_told() {
    let net = OneCard::new();
    let mut datapath = net.start(Request::Xdp);
    let mut writer = datapath.writer(0);
    writer.bind(&binding(PEER)).unwrap();
    wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
    Crowder::new(&net).send(&net, 50);
    wait_for("it is told", Duration::from_secs(3), || eth0(&datapath).1.contains("too little room"));
    assert_eq!(eth0(&datapath).0, Mode::Xdp);
    datapath.stop();
}
