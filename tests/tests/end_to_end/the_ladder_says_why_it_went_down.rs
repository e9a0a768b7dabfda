//! `--datapath auto` takes the best that an interface can do and says why not better; `--datapath xdp` insists.

use std::time::Duration;

use turnpike_tests::lab::{self, Host, Net, OneNic, PassProgram, Server, ServerOptions};

use crate::common::Call;

/// A server whose `eth0` is a bridge, which has no XDP of its own.
fn bridged(net: &Net) -> Host {
    let server = net.host(1);
    let address = format!("{}/24", server.address());
    server.ip("link set eth0 name wire0");
    server.ip("addr flush dev wire0");
    server.ip("link add eth0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
    server.ip("link set wire0 master eth0 up");
    server.ip("link set eth0 up");
    server.ip(&format!("addr add {address} dev eth0"));
    server
}

#[test]
fn to_generic_mode_on_an_interface_without_native_xdp() {
    if lab::skipped() {
        return;
    }
    let net = Net::new([10, 77, 0]);
    let server = bridged(&net);
    let [client, peer] = [2, 3].map(|last| net.host(last));
    let server = Server::on(&server, "auto");
    let (mode, reasons) = server.mode("eth0");
    assert_eq!(mode, "xdp-generic", "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("no native XDP")), "{reasons:?}");
    let mut call = Call::new(&server, &client, &peer);
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}

#[test]
fn and_refuses_to_start_when_driver_mode_is_insisted_on() {
    if lab::skipped() {
        return;
    }
    let net = Net::new([10, 77, 0]);
    let server = bridged(&net);
    let (status, output) =
        Server::launch(&server, &ServerOptions::new("xdp")).process().wait(Duration::from_secs(5));
    assert!(!status.success(), "{output}");
    assert!(output.contains("eth0") && output.contains("no native XDP"), "{output}");
}

#[test]
fn to_userspace_when_somebody_elses_program_holds_the_interface() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let foreign = PassProgram::attach(&net.server, "eth0");
    let server = Server::on(&net.server, "auto");
    let (mode, reasons) = server.mode("eth0");
    assert_eq!(mode, "userspace", "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("another XDP program")), "{reasons:?}");
    Call::new(&server, &net.client, &net.peer).both_ways();
    drop(foreign);
}

#[test]
fn and_forwards_on_whatever_rung_a_veth_ends_up() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, "auto");
    let (mode, reasons) = server.mode("eth0");
    assert!(mode == "xdp" || (mode == "xdp-generic" && reasons.len() == 1), "{mode}: {reasons:?}");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
    call.both_ways_by_xdp(&server);
}
