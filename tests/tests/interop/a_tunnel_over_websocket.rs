//! Clients that know no proxies reach Turnpike by `turnpike tunnel`, over secure WebSockets through squid.

use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike::stun::{ErrorCode, Method};
use turnpike_tests::lab::{self, Echo, Folder, OneNic, Process, Server, ServerOptions, Squid, TurnClient};

use crate::probe_speaks_to_coturn::probe;
use crate::tunnels;

fn serve(net: &OneNic, folder: &Folder) -> Server {
    let options = ServerOptions::new("userspace")
        .flag("--listen", format!("https://{}", net.server.at(443)))
        .flag("--cert", folder.path("cert.pem"))
        .flag("--key", folder.path("key.pem"));
    Server::start(&net.server, &options)
}

fn certificate(net: &OneNic) -> Folder {
    let folder = Folder::new();
    folder.certificate(&[&format!("IP:{}", net.server.address())]);
    folder
}

fn tunnel(net: &OneNic, folder: &Folder, proxy: &str) -> Process {
    let to = format!("wss://{}/turn", net.server.at(443));
    tunnels::start(net, &to, &folder.path("ca.pem"), proxy)
}

#[test]
fn through_a_proxy_with_a_password() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let folder = certificate(&net);
    let server = serve(&net, &folder);
    let squid = Squid::start(&net.peer, Some(("me", "hush")));
    let echo = Echo::start(&net.peer);
    tunnels::only_the_proxy(&net, &squid);
    let proxy = format!("http://me:hush@{}", squid.address());

    let url = format!("wss://{}/turn", net.server.at(443));
    let (success, output) = probe(&net.client, &[&url, "--ca", &folder.path("ca.pem"), "--proxy", &proxy]);
    assert!(success && output.contains("open at /turn, subprotocol turn"), "{output}");

    let tunnel = tunnel(&net, &folder, &proxy);
    tunnels::assert_relays(&net, &tunnel, echo.address());
    tunnels::assert_ends(tunnel, Signal::SIGTERM);
    // With its connections the server ends the allocations.
    lab::wait_for("the end of all allocations", || {
        (server.status()["allocations"]["active"] == 0).then_some(())
    });
}

#[test]
fn after_a_restart_of_the_server_clients_are_told_437_and_go_on() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let folder = certificate(&net);
    let mut server = serve(&net, &folder);
    let tunnel = tunnel(&net, &folder, "none");
    let mut client = TurnClient::new(&net.client, net.client.at(3478));
    client.allocate();
    server.process().signal(Signal::SIGKILL);
    server.process().wait(Duration::from_secs(5));
    let _server = serve(&net, &folder);
    let refused = client.request(Method::REFRESH, |request| {
        request.lifetime(Duration::from_secs(600));
    });
    assert_eq!(refused.map(drop), Err(ErrorCode::ALLOCATION_MISMATCH));
    client.allocate();
    tunnels::assert_ends(tunnel, Signal::SIGINT);
}
