//! Clients over streams get through each server what they send, and what is sent to them.

use std::time::Duration;

use turnpike_bench::figures::Direction;
use turnpike_bench::lab::Lab;
use turnpike_bench::runs::setup::Transport;
use turnpike_bench::streams::{Identity, StreamClients};
use turnpike_bench::subjects::{Coturn, Server, Subject, Turnpike, user};

use crate::common::skipped;

/// More than there are packets on their way at a time: each has its turn.
const CLIENTS: u32 = 100;

fn gets_everything_through(transport: Transport, start: impl Fn(Lab, &Identity) -> Server) {
    if skipped() {
        return;
    }
    let identity = Identity::new().expect("a certificate");
    let mut server = start(Lab::one_nic().expect("a lab"), &identity);
    let place = server.lab().generator().clone();
    let make = || StreamClients::make(server.lab(), &user(), transport, CLIENTS, &identity);
    let mut clients = place.enter(make).expect("clients");
    // Connections outlast a rest, and are refreshed after it.
    server.rest().expect("it stops");
    server.awake(|_| clients.refresh()).expect("refreshed");
    server.wake().expect("it goes on");
    for direction in [Direction::ToPeer, Direction::ToClient] {
        let offer = || clients.offer(direction, 168, Duration::from_secs(1), &|| server.cpu_seconds());
        let outcome = place.enter(offer).expect("a load");
        assert!(outcome.arrived >= u64::from(CLIENTS), "{direction:?}: {outcome:?}");
        assert_eq!(outcome.corrupt, 0, "{direction:?}: {outcome:?}");
        assert!(outcome.cpu_seconds > 0.0 && outcome.seconds > 0.0, "{direction:?}: {outcome:?}");
    }
    let few =
        place.enter(|| clients.offer(Direction::ToPeer, 8, Duration::ZERO, &|| 0.0)).expect_err("too few");
    assert!(few.to_string().contains("8 bytes of data are too few"), "{few}");
}

fn turnpike(lab: Lab, identity: &Identity) -> Server {
    let turnpike = Turnpike::built().expect("`cargo xtask build` made it");
    turnpike.start_for_streams(lab, identity).expect("it serves")
}

#[test]
fn turnpikes_clients_come_by_tcp() {
    gets_everything_through(Transport::Tcp, turnpike);
}

#[test]
fn clients_over_udp_are_served_like_them() {
    gets_everything_through(Transport::Udp, turnpike);
}

#[test]
fn turnpikes_clients_come_by_tls() {
    gets_everything_through(Transport::Tls, turnpike);
}

#[test]
fn turnpikes_clients_come_by_web_sockets() {
    gets_everything_through(Transport::WebSocket, turnpike);
}

#[test]
fn coturns_clients_come_by_tcp_and_tls() {
    let Ok(coturn) = Coturn::of_debian() else {
        assert!(std::env::var_os("CI").is_none(), "coturn is missing");
        return eprintln!("NOT RUN: coturn is missing");
    };
    let start = |lab, identity: &Identity| {
        coturn.start_for_streams(lab, &coturn.option_sets()[0], identity).expect("it serves")
    };
    gets_everything_through(Transport::Tcp, start);
    gets_everything_through(Transport::Tls, start);
}
