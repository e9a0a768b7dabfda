//! What the behaviours have in common.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use relay_common::reason::Reason;
use turnpike_tests::frames::{Datagram, channel_data};
use turnpike_tests::lab::{
    self, ADMIN, Counters, Host, Namespace, Net, OneNic, PASSWORD, PATIENCE, Path, Process, QUIET, Received,
    Server, ServerOptions, TurnClient, USER, Wire, receive, turnpike, wait_for,
};

/// A channel number.
pub(crate) const CHANNEL: u16 = 0x4001;

/// A client with a channel to a peer.
pub(crate) struct Call {
    /// The client.
    pub(crate) client: TurnClient,
    /// Its relayed transport address.
    pub(crate) relayed: SocketAddr,
    /// The peer.
    pub(crate) peer: UdpSocket,
    /// In the payloads: see [`Call::settle`].
    salt: u32,
}

/// A call through one network card, which the data path forwards both ways; `None` when the test is to be skipped.
pub(crate) fn settled(mode: &'static str) -> Option<(OneNic, Server, Call)> {
    if lab::skipped() {
        return None;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, mode);
    let mut call = Call::new(&server, &net.client, &net.peer);
    if mode == "userspace" {
        call.both_ways();
    } else {
        call.settle(&server);
    }
    Some((net, server, call))
}

impl Call {
    /// Allocates and binds [`CHANNEL`]; nothing was sent through it yet.
    pub(crate) fn new(server: &Server, client: &Host, peer: &Host) -> Self {
        let mut client = TurnClient::new(client, server.address());
        let relayed = client.allocate();
        Self::with(client, relayed, peer)
    }

    /// Binds [`CHANNEL`] of an allocation.
    pub(crate) fn with(mut client: TurnClient, relayed: SocketAddr, peer: &Host) -> Self {
        let peer = peer.udp(0);
        client.bind(CHANNEL, peer.local_addr().expect("bound"));
        Self::bound(client, relayed, peer)
    }

    /// Of a client that has bound [`CHANNEL`] to this peer's address.
    pub(crate) fn bound(client: TurnClient, relayed: SocketAddr, peer: UdpSocket) -> Self {
        Self { client, relayed, peer, salt: 0 }
    }

    /// The peer's address.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.peer.local_addr().expect("bound")
    }

    /// Sends to the peer, who must get it from the relayed transport address.
    pub(crate) fn client_sends(&self, data: &[u8]) {
        self.client.send(CHANNEL, data);
        let got = receive(&self.peer, PATIENCE);
        assert_eq!(got, Some((data.to_vec(), self.relayed)), "what the peer received");
    }

    /// Sends to the client, who must get it in the channel.
    pub(crate) fn peer_sends(&mut self, data: &[u8]) {
        self.peer.send_to(data, self.relayed).expect("the server is reachable");
        let got = self.client.receive(PATIENCE);
        assert_eq!(got, Some(Received::Channel(CHANNEL, data.to_vec())), "what the client received");
    }

    /// Once there and once back.
    pub(crate) fn both_ways(&mut self) {
        self.client_sends(format!("to the peer {}", self.salt).as_bytes());
        self.peer_sends(format!("to the client {}", self.salt).as_bytes());
    }

    /// Sends both ways until XDP forwards both: it learns of a neighbour a little after the kernel. One packet in
    /// 65,536 has a checksum that looks unfinished, and goes up; the salt changes until that is neither of these.
    pub(crate) fn settle(&mut self, server: &Server) {
        wait_for("forwarding by XDP", || {
            self.salt += 1;
            let moved = moved(server, || self.both_ways());
            (moved.relayed(Path::Xdp) == (1, 1)).then_some(())
        });
    }

    /// Once there and once back, by XDP alone.
    pub(crate) fn both_ways_by_xdp(&mut self, server: &Server) {
        let moved = moved(server, || self.both_ways());
        assert_eq!(moved.relayed(Path::Xdp), (1, 1), "by XDP: {moved:?}");
        assert_eq!(moved.relayed(Path::Userspace), (0, 0), "by the process: {moved:?}");
    }

    /// Sends both ways, and nothing must arrive.
    pub(crate) fn is_dead(&mut self) {
        self.client.send(CHANNEL, b"to the peer");
        self.peer.send_to(b"to the client", self.relayed).expect("the server is reachable");
        assert_eq!(receive(&self.peer, QUIET), None, "what the peer received");
        assert_eq!(self.client.receive(QUIET), None, "what the client received");
    }

    /// The frame that carries ChannelData from the client to the server.
    pub(crate) fn frame_to_server(&self, net: Macs, data: &[u8]) -> Datagram {
        let mut datagram =
            Datagram::new(self.client.address(), self.client.server(), channel_data(CHANNEL, data, 0));
        datagram.macs = (net.server, net.client);
        datagram
    }

    /// The frame that carries data from the peer to the relayed transport address.
    pub(crate) fn frame_to_relay(&self, net: Macs, data: &[u8]) -> Datagram {
        let mut datagram = Datagram::new(self.peer_address(), self.relayed, data);
        datagram.macs = (net.server, net.peer);
        datagram
    }
}

/// Who is who on the Ethernet.
#[derive(Clone, Copy)]
pub(crate) struct Macs {
    pub(crate) server: [u8; 6],
    pub(crate) client: [u8; 6],
    pub(crate) peer: [u8; 6],
}

impl Macs {
    /// By their first interfaces.
    pub(crate) fn of(net: &turnpike_tests::lab::OneNic) -> Self {
        let [server, client, peer] = [&net.server, &net.client, &net.peer].map(|host| host.mac("eth0"));
        Self { server, client, peer }
    }
}

/// A settings file that is removed with the test.
pub(crate) struct SettingsFile(PathBuf);

impl SettingsFile {
    /// With these settings; `name` is the test's own.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("turnpike-{name}-{}.toml", process::id())));
        file.write(text);
        file
    }

    /// Other settings, for the next reload.
    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a folder for temporary files");
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

impl Drop for SettingsFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// `turnpike reload` on the server's machine.
pub(crate) fn reload(host: &Host) -> Process {
    Process::start(turnpike(host).args(["reload", "--admin", &ADMIN.to_string()]))
}

/// How the counters moved meanwhile.
pub(crate) fn moved(server: &Server, meanwhile: impl FnOnce()) -> Counters {
    let before = server.counters();
    meanwhile();
    // What userspace sends is counted when the call returns that sent it, and may have arrived before.
    let mut after = server.counters();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        let later = server.counters();
        if later == after {
            break;
        }
        after = later;
    }
    &after - &before
}

/// Gives a machine's interface an IPv6 address of a /64, which it has at once.
pub(crate) fn add_ipv6(host: &Host, interface: &str, address: &str) {
    host.enter(|| {
        for scope in ["all", interface] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "0").expect("a setting");
        }
    });
    host.ip(&format!("addr add {address}/64 dev {interface} nodad"));
}

/// A server in userspace with its listener at the machine's IPv4 address, which relays from an IPv6 address.
pub(crate) fn serve_ipv6(host: &Host, relay: &str, peers: &str) -> Server {
    let (listen, user) = (format!("udp://{}", host.at(3478)), format!("{USER}:{PASSWORD}"));
    let flags = ["--listen", &listen, "--relay-address", relay, "--realm", "lab.test", "--user", &user];
    let more = ["--datapath", "userspace", "--allow-peer", peers];
    Server::bare(host, &[&flags[..], &more].concat())
}

/// What clients are told in place of the server's addresses, where a 1:1 NAT maps them.
pub(crate) const PUBLIC: [&str; 2] = ["198.18.0.7", "fd00:10:99::7"];

/// A server that listens at and relays from its address of either family, and what clients are told of these: with
/// `public`, others.
pub(crate) fn start_in_both_families(
    net: &OneNic,
    options: ServerOptions,
    public: Option<[&str; 2]>,
) -> (Server, [IpAddr; 2]) {
    let hosts = [net.server.clone(), net.server.over_ipv6()];
    let mut options = options.listen_on(&hosts[1]);
    for (n, host) in hosts.iter().enumerate() {
        let nat = public.map_or(String::new(), |public| format!("{}/", public[n]));
        options = options.relay_from(format!("{nat}{}", host.address()));
    }
    let told = public.map_or(hosts.map(|host| host.address()), |public| {
        public.map(|address| address.parse().expect("an address"))
    });
    (Server::start(&net.server, &options), told)
}

/// Who relays media in a mode.
pub(crate) fn path(mode: &str) -> Path {
    if mode == "userspace" { Path::Userspace } else { Path::Xdp }
}

/// Takes an address over as a standby machine does: with a gratuitous ARP (RFC 5227 section 3).
pub(crate) fn take_over(address: Ipv4Addr, machine: &Namespace, interface: &str) {
    machine.ip(&format!("addr add {address}/24 dev {interface}"));
    let mac = machine.mac(interface);
    let mut arp = [&[0xff; 6], &mac[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    arp.extend([&mac[..], &address.octets(), &[0; 6], &address.octets()].concat());
    Wire::open(machine, interface).send(&arp);
}

/// Makes a machine forward what is not for it.
pub(crate) fn forwards(machine: &Host) {
    machine.set("ipv4/ip_forward", "1");
}

/// A router between two Ethernets, at this address of both.
pub(crate) fn router(near: &Net, far: &Net, last_byte: u8) -> Host {
    let router = near.host(last_byte);
    far.plug(&router, "eth1", last_byte);
    forwards(&router);
    router
}

/// Asserts that XDP counted this many packets of one fate.
pub(crate) fn assert_xdp(moved: &Counters, reason: Reason, packets: u64) {
    assert_eq!(moved.of(Path::Xdp, reason), packets, "{} by XDP: {moved:?}", reason.name());
}
