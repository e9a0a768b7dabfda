//! A client that has a channel to one port of a peer and uses Send indications for others, also for that one, and a peer
//! that sends from all of them: XDP forwards each, in the form that its port calls for.

use std::net::{SocketAddr, UdpSocket};

use nix::sys::signal::Signal;
use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{
    self, OneNic, PATIENCE, Path, Received, ServerOptions, TurnClient, receive, wait_for,
};

use crate::common::{CHANNEL, moved, start_in_both_families};

/// Ports of the peer; the first has the channel.
const PORTS: usize = 3;

struct Call {
    client: TurnClient,
    relayed: SocketAddr,
    peers: [UdpSocket; PORTS],
}

impl Call {
    /// Packets of a round, to the peer and to the client.
    const ROUND: (u64, u64) = (PORTS as u64 + 1, PORTS as u64);

    fn round(&mut self, salt: u32) {
        let data = |what: &str| format!("{what} {salt}").into_bytes();
        self.client.send(CHANNEL, &data("by channel"));
        assert_eq!(receive(&self.peers[0], PATIENCE), Some((data("by channel"), self.relayed)));
        for (n, peer) in self.peers.iter().enumerate() {
            let at = peer.local_addr().expect("bound");
            let sent = data(&"port by port"[..5 + n]);
            self.client.send_indication(at, &sent);
            assert_eq!(receive(peer, PATIENCE), Some((sent.clone(), self.relayed)));
            peer.send_to(&sent, self.relayed).expect("the server is reachable");
            // RFC 8656 section 12.5: by the channel where one is bound to that very port.
            let expected = if n == 0 { Received::Channel(CHANNEL, sent) } else { Received::Data(at, sent) };
            assert_eq!(self.client.receive(PATIENCE), Some(expected));
        }
    }
}

#[test]
fn to_several_ports_of_one_peer() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    let (mut server, _) = start_in_both_families(&net, ServerOptions::new("xdp"), None);
    for (family, peer) in [(AddressFamily::V4, net.peer.clone()), (AddressFamily::V6, net.peer.over_ipv6())] {
        let mut client = TurnClient::new(&net.client, server.address());
        let relayed = client.allocate_of(family);
        let peers = [(); PORTS].map(|()| peer.udp(0));
        // It is a permission for all ports of that address (RFC 8656 section 12).
        client.bind(CHANNEL, peers[0].local_addr().expect("bound"));
        let mut call = Call { client, relayed, peers };
        let mut salt = 0;
        wait_for("forwarding by XDP", || {
            salt += 1;
            let moved = moved(&server, || call.round(salt));
            (moved.relayed(Path::Xdp) == Call::ROUND).then_some(())
        });
        let before = server.counters();
        server.process().signal(Signal::SIGSTOP);
        call.round(salt);
        server.process().signal(Signal::SIGCONT);
        let moved = &server.counters() - &before;
        assert_eq!(
            (moved.relayed(Path::Xdp), moved.relayed(Path::Userspace)),
            (Call::ROUND, (0, 0)),
            "{moved:?}"
        );
    }
}
