//! What is sent right behind a ChannelBind arrives, also when the server has never heard of the peer before: a miss is
//! never a drop.

use turnpike::stun::Method;
use turnpike_tests::lab::{self, Host, OneNic, PATIENCE, Received, Server, TurnClient, receive};

fn first_media(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, mode);
    for round in 0..8 {
        let mut client = TurnClient::new(&net.client, server.address());
        let relayed = client.allocate();
        // A peer that nobody has sent anything to or from: its MAC address is still to be asked for.
        let stranger: Host = net.net.host(100 + round);
        let peer = stranger.udp(0);
        let at = peer.local_addr().expect("bound");
        let channel = 0x4000 + u16::from(round);
        client.bind(channel, at);
        client.send(channel, b"first");
        assert_eq!(receive(&peer, PATIENCE), Some((b"first".to_vec(), relayed)), "round {round}");
        peer.send_to(b"answer", relayed).expect("reachable");
        let answer = client.receive(PATIENCE);
        assert_eq!(answer, Some(Received::Channel(channel, b"answer".to_vec())), "round {round}");
    }
}

#[test]
fn in_driver_mode() {
    first_media("xdp");
}

#[test]
fn in_generic_mode() {
    first_media("xdp-generic");
}

#[test]
fn in_userspace() {
    first_media("userspace");
}

/// Between the request's arrival and the response the peer may already send: it has the permission.
#[test]
fn a_peer_that_answers_before_the_client_knows_of_its_channel_is_heard() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, "xdp");
    let mut client = TurnClient::new(&net.client, server.address());
    let relayed = client.allocate();
    let peer = net.peer.udp(0);
    let at = peer.local_addr().expect("bound");
    client.permit(&[at]);
    for number in 0..20 {
        let data = format!("early {number}").into_bytes();
        peer.send_to(&data, relayed).expect("reachable");
        client
            .request(Method::CHANNEL_BIND, |request| {
                request.channel_number(0x4001).xor_peer_address(at);
            })
            .expect("bound");
        let got = client.receive(PATIENCE);
        let (indication, channel) = (Received::Data(at, data.clone()), Received::Channel(0x4001, data));
        assert!(got == Some(indication) || got == Some(channel), "{got:?}");
    }
}
