//! Without a single capability the server relays everything in userspace, and says what it lacks.

use std::time::Duration;

use turnpike_tests::lab::{self, Echo, Load, OneNic, Path, Server, ServerOptions};

#[test]
fn and_says_what_it_lacks() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let options = ServerOptions { unprivileged: true, ..ServerOptions::new("auto") };
    let server = Server::start(&net.server, &options);
    let (mode, reasons) = server.mode("eth0");
    assert_eq!(mode, "userspace");
    assert!(reasons.iter().any(|reason| reason.contains("CAP_BPF")), "{reasons:?}");
    let status = server.status();
    let sockets = status["relay_sockets"].as_str().expect("a text");
    assert!(sockets.starts_with("one for each allocation") && sockets.contains("CAP_NET_RAW"), "{sockets}");

    let echo = Echo::start(&net.peer);
    let totals = Load { clients: 4, ..Load::default() }.run(&net.client, server.address(), &echo);
    assert_eq!(totals.received, totals.sent);
    assert_eq!(server.counters().relayed(Path::Userspace), (totals.sent, totals.received));
}

#[test]
fn unless_xdp_is_insisted_on() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let options = ServerOptions { unprivileged: true, ..ServerOptions::new("xdp") };
    let (status, output) = Server::launch(&net.server, &options).process().wait(Duration::from_secs(5));
    assert!(!status.success(), "{output}");
    assert!(output.contains("eth0") && output.contains("CAP_BPF"), "{output}");
}
