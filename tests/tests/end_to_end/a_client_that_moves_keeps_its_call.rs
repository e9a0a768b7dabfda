//! A client that changes its address takes its call along (RFC 8016), whichever shard the kernel chooses for it then:
//! media goes by XDP before and after, and to the new address only.

use std::mem;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use relay_common::reason::Reason;
use turnpike::stun::{ErrorCode, Message, Method};
use turnpike_tests::lab::{
    self, Echo, Host, Load, OneNic, Path, QUIET, Server, ServerOptions, Totals, TurnClient, receive,
};

use crate::common::{CHANNEL, Call, moved};

/// REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// A client with an allocation: its relayed transport address, and its ticket.
fn mobile(host: &Host, server: &Server) -> (TurnClient, SocketAddr, Vec<u8>) {
    let mut client = TurnClient::new(host, server.address());
    let answer = client.request(Method::ALLOCATE, |request| {
        request.requested_transport(UDP).mobility_ticket(&[]);
    });
    let answer = answer.expect("mobility is allowed");
    let message = Message::parse(&answer).expect("well formed");
    let relayed = message.xor_relayed_address().expect("well formed").expect("XOR-RELAYED-ADDRESS");
    (client, relayed, message.mobility_ticket().expect("MOBILITY-TICKET").to_vec())
}

/// The client is somewhere else now: its next ticket.
fn arrive(client: &mut TurnClient, ticket: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    let answer = client.request(Method::REFRESH, |request| {
        request.mobility_ticket(ticket);
    })?;
    let message = Message::parse(&answer).expect("well formed");
    Ok(message.mobility_ticket().expect("MOBILITY-TICKET").to_vec())
}

fn options(mode: &'static str) -> ServerOptions {
    ServerOptions::new(mode).flag("--shards", 4).switch("--mobility")
}

#[test]
fn from_machine_to_machine_by_xdp() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::start(&net.server, &options("xdp"));
    let other = net.net.host(4);
    let (client, relayed, mut ticket) = mobile(&net.client, &server);
    let mut call = Call::with(client, relayed, &net.peer);
    call.settle(&server);

    for host in [&other, &net.client, &other, &other, &net.client, &other] {
        // Media stays where it moved to for a second.
        thread::sleep(Duration::from_secs(1));
        let mut new = TurnClient::new(host, server.address());
        ticket = arrive(&mut new, &ticket).expect("the newest ticket");
        // Until the client sends from there, media goes to the old address (RFC 8016 section 3.2.2).
        call.both_ways_by_xdp(&server);

        let mut old = mem::replace(&mut call.client, new);
        call.settle(&server);
        call.both_ways_by_xdp(&server);
        assert_eq!(old.receive(QUIET), None, "at the old address");
        old.send(CHANNEL, b"from the old address");
        assert_eq!(receive(&call.peer, QUIET), None, "what the peer received");
    }
    call.client.end();
    call.is_dead();
}

#[test]
fn not_with_a_ticket_that_was_used() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::start(&net.server, &options("xdp"));
    let (client, relayed, ticket) = mobile(&net.client, &server);
    let mut call = Call::with(client, relayed, &net.peer);
    let mut new = TurnClient::new(&net.client, server.address());
    arrive(&mut new, &ticket).expect("not used yet");
    call.client = new;
    call.settle(&server);
    for _ in 0..8 {
        let mut thief = TurnClient::new(&net.peer, server.address());
        assert_eq!(arrive(&mut thief, &ticket), Err(ErrorCode::BAD_REQUEST));
    }
    call.both_ways_by_xdp(&server);
}

/// coturn's client allocates, changes its port, refreshes with the ticket, twice, and then does what it always does.
fn as_coturn_does(mode: &'static str, path: Path) {
    const CLIENTS: u32 = 8;
    const MESSAGES: u32 = 50;
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::start(&net.server, &options(mode));
    let echo = Echo::start(&net.peer);
    let load = Load { clients: CLIENTS, messages: MESSAGES, mobile: true, ..Load::default() };
    let mut totals = Totals { sent: 0, received: 0 };
    let moved = moved(&server, || totals = load.run(&net.client, server.address(), &echo));
    let all = u64::from(CLIENTS * MESSAGES);
    assert_eq!(totals, Totals { sent: all, received: all });
    assert_eq!(moved.of(Path::Userspace, Reason::NoAllocation), 0, "{moved:?}");
    // The first of each client moves the media; a few more may pass up before XDP knows the neighbours.
    let (to_peer, to_client) = moved.relayed(path);
    assert!(to_peer + to_client >= 2 * all - 4 * u64::from(CLIENTS), "{moved:?}");
}

#[test]
fn as_coturns_client_does_by_xdp() {
    as_coturn_does("xdp", Path::Xdp);
}

#[test]
fn as_coturns_client_does_in_userspace() {
    as_coturn_does("userspace", Path::Userspace);
}
