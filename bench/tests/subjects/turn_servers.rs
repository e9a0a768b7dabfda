//! TURN servers relay what clients and peers send.

use std::net::UdpSocket;

use turnpike::stun::{Builder, Class, Message, MessageType, Method, TransactionId};
use turnpike_bench::allocations::{Carriage, Plan, To, User};
use turnpike_bench::lab::{Family, Lab, RELAY_CPU, RealInterfaces};
use turnpike_bench::subjects::{DataPath, Server, Subject};
use turnpike_bench::traffic::Wire;
use turnpike_tests::frames::channel_data;

use crate::common::{
    awake, client_of, coturn, generator, receive, relayed_by, skipped, there_and_back, turnpike,
    without_padding,
};

const FAMILIES: [(Family, Family); 4] =
    [(Family::V4, Family::V4), (Family::V6, Family::V6), (Family::V4, Family::V6), (Family::V6, Family::V4)];

fn plan(clients: Family, peers: Family) -> Plan {
    Plan { allocations: 2, bindings: 2, carriage: Carriage::Channels, clients, peers, to: To::Hosts }
}

/// In every family, each in a lab of its own; `and` looks at the server then, through which 8 packets have gone.
fn relays_over_every_family(start: impl Fn(Lab, Plan) -> Option<Server>, and: impl Fn(&Server)) {
    if skipped() {
        return;
    }
    for (clients, peers) in FAMILIES {
        let lab = Lab::one_nic().expect("a lab");
        let _awake = awake(&lab);
        let Some(mut server) = start(lab, plan(clients, peers)) else { return };
        let flows = server.flows().to_vec();
        assert_eq!(flows.len(), 4);
        assert!(flows.iter().all(|flow| flow.client.is_ipv4() == (clients == Family::V4)), "{flows:?}");
        assert!(flows.iter().all(|flow| flow.relayed.is_ipv4() == (peers == Family::V4)), "{flows:?}");
        (0..flows.len()).for_each(|index| there_and_back(&mut server, index));
        assert_eq!(server.wire(), Wire::Turn);
        assert!(server.version().contains('.'), "{:?}", server.version());
        assert!(server.cpu_seconds() > 0.0);
        and(&server);
    }
}

#[test]
fn turnpike_relays_by_xdp() {
    let start = |lab, plan| Some(turnpike(lab, DataPath::Xdp, plan));
    relays_over_every_family(start, |server| assert_eq!(relayed_by(server), [8, 0]));
}

#[test]
fn turnpike_relays_by_generic_xdp() {
    let start = |lab, plan| Some(turnpike(lab, DataPath::XdpGeneric, plan));
    relays_over_every_family(start, |server| assert_eq!(relayed_by(server), [8, 0]));
}

#[test]
fn turnpike_relays_by_its_process() {
    let start = |lab, plan| Some(turnpike(lab, DataPath::Userspace, plan));
    relays_over_every_family(start, |server| assert_eq!(relayed_by(server), [0, 8]));
}

#[test]
fn coturn_relays() {
    relays_over_every_family(coturn, |_| ());
}

/// Data by indications, for which there are permissions alone.
fn relays_indications(start: impl Fn(Lab, Plan) -> Option<Server>) {
    if skipped() {
        return;
    }
    for family in Family::ALL {
        let lab = Lab::one_nic().expect("a lab");
        let _awake = awake(&lab);
        // More peers than a request takes.
        let plan = Plan { carriage: Carriage::Indications, bindings: 20, ..plan(family, family) };
        let Some(mut server) = start(lab, plan) else { return };
        let flow = *server.flows().last().expect("flows");
        assert_eq!(flow.channel, 0);
        let peer = generator(server.lab()).enter(|| UdpSocket::bind(flow.peer)).expect("the peer's address");
        let client = client_of(server.allocations(), 39);
        let mut send = Vec::new();
        let kind = MessageType::new(Method::SEND, Class::Indication);
        Builder::new(&mut send, kind, TransactionId([7; 12]))
            .xor_peer_address(flow.peer)
            .data(b"to the peer")
            .expect("short");
        client.send(&send).expect("sent");
        assert_eq!(receive(&peer, "indication"), (b"to the peer".to_vec(), flow.relayed));
        peer.send_to(b"to the client", flow.relayed).expect("sent");
        let (data, _) = receive(client, "indication");
        let data = Message::parse(&data).expect("a Data indication");
        assert_eq!(data.data(), Some(b"to the client".as_slice()));
    }
}

#[test]
fn turnpike_relays_indications() {
    relays_indications(|lab, plan| Some(turnpike(lab, DataPath::Xdp, plan)));
}

#[test]
fn coturn_relays_indications() {
    relays_indications(coturn);
}

/// From one client to another: the flow that goes back has the same channel number.
fn relays_among_clients(start: impl Fn(Lab, Plan) -> Option<Server>) {
    if skipped() {
        return;
    }
    let lab = Lab::one_nic().expect("a lab");
    let _awake = awake(&lab);
    let plan = Plan { allocations: 8, bindings: 3, to: To::EachOther, ..plan(Family::V4, Family::V4) };
    let Some(mut server) = start(lab, plan) else { return };
    let flows = server.flows().to_vec();
    for (index, flow) in flows.iter().enumerate() {
        let back: Vec<usize> = (0..flows.len())
            .filter(|&i| flows[i].relayed == flow.peer && flows[i].peer == flow.relayed)
            .collect();
        let [back] = back[..] else { panic!("{} flows go back from {flow:?}", back.len()) };
        assert_eq!(flows[back].channel, flow.channel);
        let (from, to) = (client_of(server.allocations(), index), back);
        from.send(&channel_data(flow.channel, &[index as u8; 8], 0)).expect("sent");
        let (data, _) = receive(client_of(server.allocations(), to), "relay to relay");
        assert_eq!(without_padding(&data), channel_data(flow.channel, &[index as u8; 8], 0));
    }
}

#[test]
fn turnpike_relays_among_its_clients() {
    relays_among_clients(|lab, plan| Some(turnpike(lab, DataPath::Xdp, plan)));
}

#[test]
fn coturn_relays_among_its_clients() {
    relays_among_clients(coturn);
}

#[test]
fn a_relay_with_two_cards_has_its_peers_behind_the_second() {
    if skipped() {
        return;
    }
    for path in DataPath::ALL {
        let lab = Lab::two_nics().expect("a lab");
        assert!(!lab.has_one_nic());
        let _awake = awake(&lab);
        let mut server = turnpike(lab, path, plan(Family::V4, Family::V6));
        assert_ne!(server.flows()[0].listener.ip(), server.flows()[0].relayed.ip());
        there_and_back(&mut server, 0);
    }
    let lab = Lab::two_nics().expect("a lab");
    if let Some(mut server) = coturn(lab, plan(Family::V4, Family::V4)) {
        there_and_back(&mut server, 0);
    }
}

#[test]
fn over_real_interfaces_a_server_elsewhere_is_found_and_left_as_it_was() {
    if skipped() {
        return;
    }
    let lab = Lab::one_nic().expect("a lab");
    let _awake = awake(&lab);
    let (near, namespace) = (lab.clients().clone(), generator(&lab).clone());
    let server = turnpike(lab, DataPath::Xdp, plan(Family::V4, Family::V4));
    // The same cable, looked at as an operator's machine would see it.
    namespace.ip("addr add 198.51.100.200/32 dev gen0");
    namespace.ip("addr add 203.0.113.200/32 dev gen0");
    let interfaces = RealInterfaces {
        client_interface: "gen0".into(),
        peer_interface: "gen0".into(),
        clients: vec!["198.51.100.200".parse().expect("an address")],
        peers: vec!["203.0.113.200".parse().expect("an address")],
        listeners: server.lab().addresses().listeners()[..1].to_vec(),
        relayed: Vec::new(),
    };
    namespace.enter(|| {
        let wrong = RealInterfaces {
            peers: vec!["203.0.113.201".parse().expect("an address")],
            ..interfaces.clone()
        };
        let error = Lab::real(wrong).expect_err("gen0 does not have it").to_string();
        assert!(error.contains("ip addr add 203.0.113.201 dev gen0"), "{error}");

        let user = User { name: "bench".into(), password: "bench".into() };
        let make = || {
            let real = Lab::real(interfaces.clone()).expect("real interfaces");
            assert_eq!((real.clients(), real.peers()), (&near, &near));
            Server::elsewhere(real, "another machine", &user, &plan(Family::V4, Family::V4))
        };
        let elsewhere = make().expect("allocations");
        assert_eq!(elsewhere.flows()[0].client.ip().to_string(), "198.51.100.200");
        assert_eq!(elsewhere.cpu_time(), None);
        drop(elsewhere);
        // The same ports once more: their allocations have been ended.
        make().expect("allocations");
    });
}

#[test]
fn a_server_has_the_relays_cpu_and_ends_with_its_lab() {
    if skipped() {
        return;
    }
    let server = turnpike(Lab::one_nic().expect("a lab"), DataPath::Userspace, plan(Family::V4, Family::V4));
    let pid = server.pid().expect("a process");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    assert!(status.contains(&format!("Cpus_allowed_list:\t{RELAY_CPU}\n")), "{status}");
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
