//! `turnpike probe` is a client: against a server that works it says so, else which step failed.

use std::time::Duration;

use relay_common::reason::Reason;
use turnpike_tests::lab::{
    self, Host, OneNic, PASSWORD, Path, Process, Server, ServerOptions, USER, turnpike,
};

fn probe(client: &Host, server: &Server, password: &str) -> (bool, String) {
    let mut command = turnpike(client);
    let url = format!("turn:{}", server.address());
    command.args(["probe", &url, "--user", USER, "--password", password]);
    let (status, output) = Process::start(&mut command).wait(Duration::from_secs(30));
    (status.success(), output)
}

#[test]
fn or_that_all_went_well() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    for mode in ["xdp", "userspace"] {
        let server = Server::on(&net.server, mode);
        let (success, output) = probe(&net.client, &server, PASSWORD);
        assert!(success, "{mode}: {output}");
        // Its messages go from one allocation to another.
        let counters = server.counters();
        let sent = match mode {
            "userspace" => counters.relayed(Path::Userspace).0,
            _ => counters.of(Path::Xdp, Reason::RelayToRelay),
        };
        assert!(sent > 0, "the probe sent something: {counters:?}");
    }
}

#[test]
fn when_the_password_is_wrong() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, "userspace");
    let (success, output) = probe(&net.client, &server, "guess");
    assert!(!success, "{output}");
    assert!(output.contains("401"), "{output}");
}

#[test]
fn when_nobody_listens() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let mut server = Server::start(&net.server, &ServerOptions::new("userspace"));
    server.process().signal(nix::sys::signal::Signal::SIGKILL);
    server.process().wait(Duration::from_secs(5));
    let (success, output) = probe(&net.client, &server, PASSWORD);
    assert!(!success, "{output}");
}
