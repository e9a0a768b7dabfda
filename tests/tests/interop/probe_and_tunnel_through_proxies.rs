//! A network that lets out nothing but HTTPS through its proxy: squid, with a password or without. `turnpike probe` says what
//! the proxy says, and a client that knows no proxies gets out by `turnpike tunnel`.

use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike::stun::{ErrorCode, Method};
use turnpike_tests::lab::{self, Coturn, Echo, Net, OneNic, Process, Squid, TurnClient, wait_for};

use crate::probe_speaks_to_coturn::probe;
use crate::tunnels;

fn tunnel(net: &OneNic, server: &Coturn, squid: &Squid) -> Process {
    let proxy = format!("http://me:hush@{}", squid.address());
    tunnels::start(net, &format!("turns:{}", server.tls()), &server.ca(), &proxy)
}

#[test]
fn a_probe_says_what_the_proxy_says() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Coturn::start(&net.server);
    let squid = Squid::start(&net.peer, Some(("me", "hush")));
    tunnels::only_the_proxy(&net, &squid);
    let (url, ca, at) = (format!("turns:{}", server.tls()), server.ca(), squid.address());
    let with = |proxy: &str, url: &str| probe(&net.client, &[url, "--ca", &ca, "--proxy", proxy]);

    let (success, output) = with(&format!("http://me:hush@{at}"), &url);
    assert!(success && output.contains("proxy CONNECT"), "{output}");
    for (proxy, url, why) in [
        (format!("http://{at}"), &url, "the proxy asks for a password"),
        (format!("http://me:guess@{at}"), &url, "the proxy refuses this user or password"),
        (
            format!("http://me:hush@{at}"),
            &format!("turn:{}?transport=tcp", server.address()),
            "the proxy does not allow CONNECT to 10.77.0.1:3478",
        ),
        ("none".to_owned(), &url, "10.77.0.1:443"),
        ("none".to_owned(), &format!("turn:{}", server.address()), "a firewall of this host forbids it"),
    ] {
        let (success, output) = with(&proxy, url);
        assert!(!success && output.contains(why), "{proxy}: {output}");
    }
}

#[test]
fn a_native_client_gets_out_by_the_tunnel() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let other = Net::new([10, 78, 0]);
    other.plug(&net.server, "eth1", 1);
    let far = other.host(3);
    far.ip("route add default via 10.78.0.1");
    let (server, echo) = (Coturn::start(&net.server), Echo::start(&far));
    let squid = Squid::start(&net.peer, Some(("me", "hush")));
    tunnels::only_the_proxy(&net, &squid);

    let tunnel = tunnel(&net, &server, &squid);
    tunnels::assert_relays(&net, &tunnel, echo.address());
    tunnels::assert_ends(tunnel, Signal::SIGTERM);
}

#[test]
fn clients_of_a_tunnel_whose_connection_broke_are_told_437_and_go_on() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Coturn::start(&net.server);
    let squid = Squid::start(&net.peer, Some(("me", "hush")));
    let tunnel = tunnel(&net, &server, &squid);
    let mut client = TurnClient::new(&net.client, net.client.at(3478));
    client.allocate();
    drop(squid);
    wait_for("the tunnel to notice", || {
        tunnel.output().contains("is lost, and its allocation with it").then_some(())
    });
    let _squid = Squid::start(&net.peer, Some(("me", "hush")));
    let refused = client.request(Method::REFRESH, |request| {
        request.lifetime(Duration::from_secs(600));
    });
    assert_eq!(refused.map(drop), Err(ErrorCode::ALLOCATION_MISMATCH));
    client.allocate();
    client.end();
}
