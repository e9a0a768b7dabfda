//! `turnpike probe` and a server that is not ours: over UDP, TCP and TLS, and what it says when one of them is blocked.

use std::time::Duration;

use serde_json::Value;
use turnpike_tests::lab::{self, Coturn, Folder, Host, OneNic, PASSWORD, Process, USER, turnpike};

/// Runs it, without a proxy that the machine's environment may name.
pub(crate) fn probe(client: &Host, arguments: &[&str]) -> (bool, String) {
    let mut command = turnpike(client);
    for variable in ["https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"] {
        command.env_remove(variable);
    }
    command.arg("probe").args(arguments).args(["--user", USER, "--password", PASSWORD]);
    let (status, output) = Process::start(&mut command).wait(Duration::from_secs(60));
    (status.success(), output)
}

#[test]
fn by_udp_tcp_and_tls() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Coturn::start(&net.server);
    let urls = [
        format!("turn:{}", server.address()),
        format!("turn:{}?transport=tcp", server.address()),
        format!("turns:{}", server.tls()),
    ];
    let ca = server.ca();
    let (success, output) = probe(&net.client, &[&urls[0], &urls[1], &urls[2], "--ca", &ca]);
    assert!(success, "{output}");
    for url in &urls {
        let row = output.lines().rev().find(|line| line.starts_with(url.as_str())).expect(url);
        assert!(row.contains("works") && row.contains(" ms"), "{output}");
    }
    assert!(output.contains(", the certificate is for 10.77.0.1 and trusted"), "{output}");

    let (success, json) = probe(&net.client, &[&urls[2], "--ca", &ca, "--json"]);
    let report: Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
    assert!(success && report["ok"] == true, "{json}");
    let steps: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(steps[..4], ["resolve", "TCP connect", "TLS", "Binding"], "{json}");
}

#[test]
fn and_names_what_a_firewall_and_a_wrong_authority_do() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Coturn::start(&net.server);
    // On the way there, as seen from the client: what the machine itself forbids, it is told of.
    for rule in [
        "add table ip lab",
        "add chain ip lab in { type filter hook input priority 0 ; }",
        "add rule ip lab in iifname eth0 meta l4proto udp drop",
        "add rule ip lab in tcp dport 80 drop",
    ] {
        net.server.run("nft", rule);
    }

    let other = Folder::new();
    other.certificate(&["DNS:other.example"]);
    let (udp, tcp, tls) = (
        format!("turn:{}", server.address()),
        format!("turn:{}?transport=tcp", server.address()),
        format!("turns:{}", server.tls()),
    );
    let ca = other.path("ca.pem");
    let (success, output) =
        probe(&net.client, &[&udp, &tcp, &tls, "turns:10.77.0.1:80", "turns:10.77.0.1:3478", "--ca", &ca]);
    assert!(!success, "{output}");
    for (url, why) in [
        (
            udp.as_str(),
            "Binding: no answer from UDP 10.77.0.1:3478 within 3 s: is the server down, or UDP blocked",
        ),
        (&tcp, "works"),
        (&tls, "certificate: the certificate is signed by nobody in "),
        ("turns:10.77.0.1:80", "TCP connect: 10.77.0.1:80 does not answer within 5 s"),
        // coturn tells TLS and TURN apart on either port.
        ("turns:10.77.0.1:3478", "certificate: "),
    ] {
        let row = output.lines().rev().find(|line| line.split(' ').next() == Some(url)).expect(url);
        assert!(row.contains(why), "{url}: {output}");
    }
}
