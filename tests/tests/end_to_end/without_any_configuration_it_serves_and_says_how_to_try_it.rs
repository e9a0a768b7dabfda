//! `turnpike run` without a file or a flag serves on the default route's address and prints a line to try it with.

use std::time::Duration;

use turnpike_tests::lab::{self, OneNic, Process, Server, turnpike};

#[test]
fn and_the_line_works() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    net.server.ip("route add default via 10.77.0.254");
    let mut server = Server::bare(&net.server, &[]);
    server.process().wait_for_output("turnpike probe ");
    let output = server.process().output();
    let line = output.lines().find_map(|line| line.split_once("turnpike probe ")).expect("just seen").1;
    assert!(line.contains(&net.server.address().to_string()), "{output}");

    let mut probe = turnpike(&net.client);
    probe.arg("probe").args(line.split_whitespace());
    let (status, said) = Process::start(&mut probe).wait(Duration::from_secs(30));
    assert!(status.success(), "{line}\n{said}");

    let mut status = turnpike(&net.server);
    let (code, said) = Process::start(status.arg("status")).wait(Duration::from_secs(5));
    assert!(code.success() && said.contains("eth0"), "{said}");
}

/// With a default route of each family it serves on both addresses, and each has its line.
#[test]
fn on_the_addresses_of_both_default_routes() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::dual_stack();
    net.server.ip("route add default via 10.77.0.254");
    net.server.ip(&format!("-6 route add default via {}", net.net.address_v6(254)));
    let mut server = Server::bare(&net.server, &[]);
    server.process().wait_for_output(&format!("turnpike probe turn:[{}]", net.net.address_v6(1)));
    let output = server.process().output();
    let lines: Vec<_> =
        output.lines().filter_map(|line| Some(line.split_once("turnpike probe ")?.1)).collect();
    assert_eq!(lines.len(), 2, "{output}");
    for (line, address) in lines.into_iter().zip([&net.server, &net.server.over_ipv6()].map(|h| h.address()))
    {
        assert!(line.contains(&address.to_string()), "{output}");
        let mut probe = turnpike(&net.client);
        probe.arg("probe").args(line.split_whitespace());
        let (status, said) = Process::start(&mut probe).wait(Duration::from_secs(30));
        assert!(status.success(), "{line}\n{said}");
    }
}
