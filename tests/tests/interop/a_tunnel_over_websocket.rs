//! Clients that know no proxies reach Turnpike by `turnpike tunnel`, over secure WebSockets through squid.

use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike::stun::{ErrorCode, Method};
use turnpike_tests::lab::{
    self, Echo, Folder, OneNic, PASSWORD, Process, Server, ServerOptions, Squid, TurnClient, USER, Uclient,
    turnpike,
};

use crate::probe_speaks_to_coturn::probe;

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

/// The client's firewall lets it reach the proxy's port alone.
fn only_the_proxy(net: &OneNic, proxy: &Squid) {
    let proxy = proxy.address();
    for rule in [
        "add table ip lab".to_owned(),
        "add chain ip lab out { type filter hook output priority 0 ; policy drop ; }".to_owned(),
        format!("add rule ip lab out ip daddr {} tcp dport {} accept", proxy.ip(), proxy.port()),
        "add rule ip lab out oifname lo accept".to_owned(),
    ] {
        net.client.run("nft", &rule);
    }
}

fn tunnel(net: &OneNic, folder: &Folder, proxy: &str) -> Process {
    let local = net.client.at(3478);
    let mut command = turnpike(&net.client);
    command
        .args([
            "tunnel",
            "--to",
            &format!("wss://{}/turn", net.server.at(443)),
            "--ca",
            &folder.path("ca.pem"),
        ])
        .args(["--proxy", proxy])
        .args(["--listen", &format!("udp://{local}"), "--listen", &format!("tcp://{local}")]);
    let mut process = Process::start(&mut command);
    process.wait_for_output("the server can be reached");
    process
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
    only_the_proxy(&net, &squid);
    let proxy = format!("http://me:hush@{}", squid.address());

    let url = format!("wss://{}/turn", net.server.at(443));
    let (success, output) = probe(&net.client, &[&url, "--ca", &folder.path("ca.pem"), "--proxy", &proxy]);
    assert!(success && output.contains("open at /turn, subprotocol turn"), "{output}");

    let mut tunnel = tunnel(&net, &folder, &proxy);
    let peer = echo.address();
    let (peer_ip, peer_port) = (peer.ip().to_string(), peer.port().to_string());
    for transport in ["", "-t"] {
        let flags = ["-u", USER, "-w", PASSWORD, "-m", "2", "-n", "50", "-z", "10", "-c"];
        let to = ["-e", &peer_ip, "-r", &peer_port, transport];
        let flags = flags.into_iter().chain(to).filter(|flag| !flag.is_empty());
        let totals =
            Uclient::start(&net.client, net.client.at(3478), flags).end().expect("turnutils_uclient");
        assert_eq!((totals.sent, totals.received), (100, 100), "{transport:?}:\n{}", tunnel.output());
    }
    tunnel.signal(Signal::SIGTERM);
    let (status, output) = tunnel.wait(Duration::from_secs(5));
    assert!(status.success() && !output.contains("hush"), "{output}");
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
    let mut tunnel = tunnel(&net, &folder, "none");
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
    tunnel.signal(Signal::SIGINT);
    assert!(tunnel.wait(Duration::from_secs(5)).0.success());
}
