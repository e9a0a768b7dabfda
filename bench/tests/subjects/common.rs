//! What the tests share.

use std::net::UdpSocket;

use nix::unistd::geteuid;
use serde_json::Value;
use turnpike_bench::figures::Flow;
use turnpike_bench::lab::{Lab, Place};
use turnpike_bench::subjects::{Coturn, DataPath, Server, Subject, Turnpike};
use turnpike_tests::frames::channel_data;
use turnpike_tests::lab::{Namespace, PATIENCE, PassProgram, get, wait_for};

use turnpike_bench::allocations::{Allocations, Plan};

/// Whether to leave out a test that needs root.
pub(crate) fn skipped() -> bool {
    if geteuid().is_root() {
        return false;
    }
    eprintln!("NOT RUN: the lab is made of network namespaces, which needs root");
    true
}

/// The generator's namespace.
pub(crate) fn generator(lab: &Lab) -> &Namespace {
    match lab.generator() {
        Place::Namespace(namespace) => namespace,
        Place::Here => panic!("a lab in namespaces"),
    }
}

/// Programs on the generator's interfaces: a veth takes from XDP only while there are some.
pub(crate) fn awake(lab: &Lab) -> Vec<PassProgram> {
    let mut interfaces = vec![&lab.clients().interface, &lab.peers().interface];
    interfaces.dedup();
    interfaces.into_iter().map(|interface| PassProgram::attach(generator(lab), interface)).collect()
}

/// Turnpike in a lab.
pub(crate) fn turnpike(lab: Lab, path: DataPath, plan: Plan) -> Server {
    let turnpike = Turnpike::built().expect("`cargo xtask build` made it");
    turnpike.start(lab, path, &[], &plan).unwrap_or_else(|e| panic!("{path:?}, {plan:?}: {e:#}"))
}

/// Turnpike's page `/v1/status`.
pub(crate) fn status_of(server: &Server) -> Value {
    let admin = "127.0.0.1:9641".parse().expect("an address");
    let relay = server.lab().relay().expect("a lab in namespaces");
    let page = get(relay, admin, "/v1/status").expect("the admin API answers");
    serde_json::from_str(&page.body).expect("JSON")
}

/// How many packets Turnpike has relayed by XDP, and by its process.
pub(crate) fn relayed_by(server: &Server) -> [u64; 2] {
    let status = status_of(server);
    let relayed = |by: &str| {
        let all = status["traffic"].as_array().expect("a list").iter();
        let relayed =
            all.filter(|t| t["datapath"] == by && (t["reason"] == "to_peer" || t["reason"] == "to_client"));
        relayed.map(|t| t["packets"].as_u64().expect("a number")).sum()
    };
    ["xdp", "userspace"].map(relayed)
}

/// Debian's coturn in a lab, where it is installed.
pub(crate) fn coturn(lab: Lab, plan: Plan) -> Option<Server> {
    let coturn = match Coturn::of_debian() {
        Ok(coturn) => coturn,
        Err(missing) => {
            assert!(std::env::var_os("CI").is_none(), "{missing:#}");
            eprintln!("NOT RUN: {missing:#}");
            return None;
        }
    };
    let options = coturn.option_sets().remove(0);
    Some(coturn.start(lab, &options, &plan).unwrap_or_else(|e| panic!("{plan:?}: {e:#}")))
}

/// Sends data both ways through a flow, as ChannelData: client to peer and back.
pub(crate) fn there_and_back(server: &mut Server, index: usize) {
    let flow = server.flows()[index];
    // One that was there before is copied into each process that another test starts, until that becomes its program.
    let bind = || generator(server.lab()).enter(|| UdpSocket::bind(flow.peer));
    let peer = wait_for("the peer's address", || bind().ok());
    let name = server.name().to_owned();
    let client = client_of(server.allocations(), index);
    client.send(&channel_data(flow.channel, b"to the peer", 0)).expect("sent");
    let (data, from) = receive(&peer, &name);
    assert_eq!((data.as_slice(), from), (b"to the peer".as_slice(), flow.relayed), "{name}, {flow:?}");
    peer.send_to(b"to the client", flow.relayed).expect("sent");
    let (data, from) = receive(client, &name);
    assert_eq!(without_padding(&data), channel_data(flow.channel, b"to the client", 0), "{name}, {flow:?}");
    assert_eq!(from, flow.listener, "{name}");
}

/// ChannelData without what may follow it over UDP.
pub(crate) fn without_padding(data: &[u8]) -> &[u8] {
    let length = 4 + usize::from(u16::from_be_bytes([data[2], data[3]]));
    &data[..length]
}

/// The socket of a flow's client.
pub(crate) fn client_of(allocations: &Allocations, index: usize) -> &UdpSocket {
    let flows = allocations.flows();
    let mut clients: Vec<_> = flows.iter().map(|flow: &Flow| flow.client).collect();
    clients.dedup();
    let number = clients.iter().position(|client| *client == flows[index].client).expect("a client");
    allocations.socket(number as u32).expect("so few clients keep their sockets")
}

/// The next datagram.
pub(crate) fn receive(socket: &UdpSocket, name: &str) -> (Vec<u8>, std::net::SocketAddr) {
    socket.set_nonblocking(false).expect("a socket that waits");
    let (data, from) =
        turnpike_tests::lab::receive(socket, PATIENCE).unwrap_or_else(|| panic!("{name}: nothing"));
    (data, from)
}
