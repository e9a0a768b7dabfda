use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use super::*;
use crate::net::relays::Relays;
use crate::turn::RelayAddr;

/// More than are taken in one turn, or on the way of one datagram.
const ERRORS: usize = 500;

/// A relayed transport address, a peer, and a batch.
fn scene() -> (Relays, RelayToken, UdpSocket, Batch) {
    let bound = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (mut relays, peer) = (Relays::default(), bound());
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let free = bound().local_addr().unwrap();
    let token = relays.open(RelayAddr(free)).unwrap();
    (relays, token, peer, Batch::new())
}

/// Has as many ICMP errors wait at a relayed transport address as a flood of forged ones would.
fn fill_error_queue(socket: &UdpSocket) {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut sent = 0;
    while sent < ERRORS {
        sent += usize::from(socket.send_to(b"anybody there?", closed).is_ok());
    }
}

#[test]
fn a_flood_of_errors_keeps_nobody_from_being_received() {
    let (relays, token, peer, mut batch) = scene();
    let socket = &relays.own(token).unwrap().socket;
    peer.send_to(b"media", socket.local_addr().unwrap()).unwrap();
    fill_error_queue(socket);
    // The turn of a shard: some errors, with more of them behind, then what peers sent.
    batch.receive_errors(token, socket, &Counters::default());
    let slots = batch.receive(socket, 16);
    assert_eq!(slots, 0..1);
    assert_eq!(batch.received(0).datagram, b"media");
}

#[test]
fn a_flood_of_errors_fails_no_datagram() {
    let (relays, token, peer, mut batch) = scene();
    let socket = &relays.own(token).unwrap().socket;
    let counters = Counters::default();
    for dont_fragment in [false, true] {
        fill_error_queue(socket);
        for i in 0..20 {
            let own = Route::own(Some(Token::Relay(token)), peer.local_addr().unwrap(), Some(Reason::ToPeer));
            batch.push(Route { dont_fragment, ..own }, &[i], 0..0, Arrival::default());
        }
        batch.send(|_| Some((socket, None)), &counters);
        let mut sums = super::super::counters::Stats::default();
        counters.add_to(&mut sums);
        assert_eq!(sums.reason(Reason::SendFailed).packets, 0, "DF: {dont_fragment}");
        for i in 0..20 {
            let mut buffer = [0; 16];
            assert_eq!((peer.recv(&mut buffer).unwrap(), buffer[0]), (1, i));
        }
    }
}
