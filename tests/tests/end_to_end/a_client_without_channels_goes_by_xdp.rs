//! A client that never binds a channel has the fast path too: Send indications leave as plain datagrams, and a peer's
//! datagrams arrive as Data indications, for as long as the permission lasts, also while the process is stopped.

use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use turnpike_tests::lab::{
    self, OneNic, PATIENCE, Path, QUIET, Received, Server, ServerOptions, TurnClient, receive, wait_for,
};

use crate::common::moved;

const LIFETIME: Duration = Duration::from_secs(3);

struct Call {
    client: TurnClient,
    relayed: SocketAddr,
    peer: UdpSocket,
}

impl Call {
    fn both_ways(&mut self, round: u32) {
        let data = format!("round {round}").into_bytes();
        let peer = self.peer.local_addr().expect("bound");
        self.client.send_indication(peer, &data);
        assert_eq!(receive(&self.peer, PATIENCE), Some((data.clone(), self.relayed)));
        self.peer.send_to(&data, self.relayed).expect("the server is reachable");
        assert_eq!(self.client.receive(PATIENCE), Some(Received::Data(peer, data)));
    }
}

fn by_indications_alone(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let options = ServerOptions::new(mode).flag("--permission-lifetime", format!("{}s", LIFETIME.as_secs()));
    let mut server = Server::start(&net.server, &options);
    let mut client = TurnClient::new(&net.client, server.address());
    let (relayed, peer) = (client.allocate(), net.peer.udp(0));
    client.permit(&[peer.local_addr().expect("bound")]);
    let permitted = Instant::now();
    let mut call = Call { client, relayed, peer };
    // XDP learns of a neighbour a little after the kernel.
    let mut round = 0;
    wait_for("forwarding by XDP", || {
        round += 1;
        let moved = moved(&server, || call.both_ways(round));
        (moved.relayed(Path::Xdp) == (1, 1)).then_some(())
    });
    let before = server.counters();

    server.process().signal(Signal::SIGSTOP);
    call.both_ways(0);
    sleep(LIFETIME.saturating_sub(permitted.elapsed()) + Duration::from_millis(100));
    call.client.send_indication(call.peer.local_addr().expect("bound"), b"late");
    call.peer.send_to(b"late", call.relayed).expect("the server is reachable");
    assert_eq!(receive(&call.peer, QUIET), None, "what the peer received");
    assert_eq!(call.client.receive(QUIET), None, "what the client received");
    server.process().signal(Signal::SIGCONT);
    assert_eq!(receive(&call.peer, QUIET), None, "nor is it relayed late");

    let moved = &server.counters() - &before;
    assert_eq!((moved.relayed(Path::Xdp), moved.relayed(Path::Userspace)), ((1, 1), (0, 0)), "{moved:?}");
}

#[test]
fn in_driver_mode() {
    by_indications_alone("xdp");
}

#[test]
fn in_generic_mode() {
    by_indications_alone("xdp-generic");
}
