//! A server that was killed leaves nothing that keeps the next one from starting.

use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike_tests::lab::{self, OneNic, Server};

use crate::common::Call;

#[test]
fn and_forwards_by_xdp() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let mut server = Server::on(&net.server, "xdp");
    Call::new(&server, &net.client, &net.peer).both_ways();
    server.process().signal(Signal::SIGKILL);
    server.process().wait(Duration::from_secs(5));

    let server = Server::on(&net.server, "xdp");
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.settle(&server);
}
