//! The network card of a virtual machine, with the driver virtio_net: its XDP in driver mode, what its host does, and what
//! the doctor says of it. `cargo xtask vm` has such a machine; `TURNPIKE_TEST_VIRTIO` names its two cards.

use std::env;

use serde_json::Value;
use turnpike::stun::AddressFamily;
use turnpike_tests::lab::{self, OneNic, Server, TurnClient, turnpike};

use crate::common::Call;

/// A server with such a card, and client and peer behind the other one.
fn net() -> OneNic {
    assert!(!lab::skipped());
    let names = env::var("TURNPIKE_TEST_VIRTIO").expect("two cards, a cable between them: `cargo xtask vm`");
    let (server, switch) = names.split_once(',').expect("TURNPIKE_TEST_VIRTIO=eth0,eth1");
    let net = OneNic::with_cards([server, switch]);
    assert!(net.server.run("ethtool", "-i eth0").starts_with("driver: virtio_net\n"));
    net
}

fn relays(server: &Server, mut call: Call) {
    call.settle(server);
    for _ in 0..5 {
        call.both_ways_by_xdp(server);
    }
}

#[test]
#[ignore = "runs in `cargo xtask vm`"]
fn media_goes_both_ways_over_ipv4_and_ipv6() {
    let net = net();
    let server = Server::on(&net.server, "xdp");
    assert_eq!(server.mode("eth0"), ("xdp".into(), vec![]));
    relays(&server, Call::new(&server, &net.client, &net.peer));
    drop(server);
    let [host, client, peer] = [&net.server, &net.client, &net.peer].map(|host| host.over_ipv6());
    let server = Server::on(&host, "xdp");
    let mut client = TurnClient::new(&client, server.address());
    let relayed = client.allocate_of(AddressFamily::V6);
    relays(&server, Call::with(client, relayed, &peer));
}

/// While a program is attached, the driver has its host hand over nothing unfinished.
#[test]
#[ignore = "runs in `cargo xtask vm`"]
fn checksums_that_senders_leave_to_their_cards_are_finished_by_the_host() {
    let net = net();
    for sender in [&net.client, &net.peer] {
        sender.run("ethtool", "-K eth0 tx on");
    }
    let server = Server::on(&net.server, "xdp");
    relays(&server, Call::new(&server, &net.client, &net.peer));
}

/// The queues that the driver adds for XDP while a program is attached are not too many, and how packets are spread is up
/// to the host: no command could change either.
#[test]
#[ignore = "runs in `cargo xtask vm`"]
fn the_doctor_finds_nothing_wrong_before_and_while_a_server_runs() {
    let net = net();
    for running in [false, true] {
        let server = running.then(|| Server::on(&net.server, "xdp"));
        let output = turnpike(&net.server).args(["doctor", "--json"]).output().expect("it starts");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["xdp"], true, "{answer:#}");
        let findings = answer["findings"].as_array().expect("a list");
        let of_card = findings.iter().filter(|finding| finding["about"] == "eth0");
        let todo: Vec<_> = of_card.filter(|finding| !finding["command"].is_null()).collect();
        assert!(todo.is_empty(), "{todo:#?}");
        assert!(
            findings
                .iter()
                .any(|f| f["text"].as_str().is_some_and(|text| text.starts_with("2 of 4 queues in use"))),
            "{findings:#?}"
        );
        drop(server);
    }
}
