//! The data path on real interfaces: the ladder, and media through XDP while neighbours and routes change.
//! Needs root: each test makes its own network namespaces and takes them away.

mod attaching;
mod headroom;
mod media;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use relay_common::tables::Controls;
use turnpike::datapath::{Datapath, DatapathConfig, FastPath, Mode, NextHopStatus, Request};
use turnpike::time::Timestamp;
use turnpike::turn::{
    AllocationId, Binding, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr,
    RelayAddress, Transport, Via,
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
        controls: Controls::default(),
    }
}

fn binding(peer: &str) -> Binding {
    let relay: IpAddr = RELAY.parse().unwrap();
    Binding {
        id: BindingId(1),
        allocation: AllocationId(1),
        five_tuple: FiveTuple {
            client: ClientAddr(CLIENT.parse().unwrap()),
            listener: SocketAddr::new(relay, 3478),
            transport: Transport::Udp,
        },
        relayed: RelayAddr(SocketAddr::new(relay, 50_000)),
        peer: PeerAddr(peer.parse().unwrap()),
        via: Via::Channel(ChannelNumber::new(CHANNEL).unwrap()),
        meter: 0,
        deadline: Timestamp::now() + Duration::from_secs(600),
    }
}

/// A program that passes everything: this one, with nothing that is its own. A veth delivers what XDP sends to it only
/// when it has one itself.
fn pass_all(namespace: &Namespace, interface: &str) -> Datapath {
    let nothing = DatapathConfig { listeners: vec![], relay: vec![], ..config(Request::Xdp, &[interface]) };
    namespace.enter(|| Datapath::start(&nothing).unwrap())
}

/// A channel through the data path.
struct Call {
    datapath: Datapath,
    writer: Box<dyn FastPath>,
    client: UdpSocket,
    peer: UdpSocket,
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

    /// A channel whose two neighbours are found though nobody has sent anything: the kernel is asked to look for them.
    fn call(&self, request: Request) -> Call {
        let mut datapath = self.start(request);
        let mut writer = datapath.writer(0);
        writer.bind(&binding(PEER)).unwrap();
        wait_for("both neighbours are resolved", Duration::from_secs(3), || both_resolved(&datapath));
        let (client, peer) = (socket(&self.outside, CLIENT), socket(&self.outside, PEER));
        Call { datapath, writer, client, peer }
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
