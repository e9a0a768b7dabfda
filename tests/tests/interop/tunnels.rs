//! What tests of `turnpike tunnel` have in common: a network that lets out nothing but what goes to its proxy, the tunnel, and
//! native clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike_tests::lab::{OneNic, PASSWORD, Process, Squid, USER, Uclient, turnpike};

/// The client's firewall lets it reach the proxy's port alone.
pub(crate) fn only_the_proxy(net: &OneNic, proxy: &Squid) {
    let proxy = proxy.address();
    for rule in [
        "add table ip lab".to_owned(),
        "add chain ip lab out { type filter hook output priority 0 ; policy drop ; }".to_owned(),
        format!("add rule ip lab out ip daddr {} tcp dport {} accept", proxy.ip(), proxy.port()),
        // What the machine says to itself.
        "add rule ip lab out oifname lo accept".to_owned(),
    ] {
        net.client.run("nft", &rule);
    }
}

/// A tunnel on the client's machine, at the port of TURN, that has reached the server. `ca` is the file with whom it trusts.
pub(crate) fn start(net: &OneNic, to: &str, ca: &str, proxy: &str) -> Process {
    let local = net.client.at(3478);
    let mut command = turnpike(&net.client);
    command.args(["tunnel", "--to", to, "--ca", ca, "--proxy", proxy]).args([
        "--listen",
        &format!("udp://{local}"),
        "--listen",
        &format!("tcp://{local}"),
    ]);
    let mut tunnel = Process::start(&mut command);
    tunnel.wait_for_output("the server can be reached");
    tunnel
}

/// Two clients of the tunnel over UDP, and two over TCP, send a hundred messages to this echo, and get all of them back.
pub(crate) fn assert_relays(net: &OneNic, tunnel: &Process, echo: SocketAddr) {
    let (ip, port) = (echo.ip().to_string(), echo.port().to_string());
    for transport in ["", "-t"] {
        let flags = ["-u", USER, "-w", PASSWORD, "-m", "2", "-n", "50", "-z", "10", "-c"];
        let to = ["-e", &ip, "-r", &port, transport];
        let flags = flags.into_iter().chain(to).filter(|flag| !flag.is_empty());
        let totals =
            Uclient::start(&net.client, net.client.at(3478), flags).end().expect("turnutils_uclient");
        assert_eq!((totals.sent, totals.received), (100, 100), "{transport:?}:\n{}", tunnel.output());
    }
}

/// A signal ends the tunnel in order. What it said does not tell the proxy's password, `hush`.
pub(crate) fn assert_ends(mut tunnel: Process, signal: Signal) {
    tunnel.signal(signal);
    let (status, output) = tunnel.wait(Duration::from_secs(5));
    assert!(status.success() && output.contains(&format!("{signal}: stopping")), "{output}");
    assert!(!output.contains("hush"), "{output}");
}
