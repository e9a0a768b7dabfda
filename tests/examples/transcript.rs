//! Prints what the README shows, from a run in a lab of network namespaces:
//! `cargo xtask build && sudo env "PATH=$PATH" cargo run -p turnpike-tests --example transcript`

use std::process::Command;
use std::time::Duration;

use turnpike_tests::lab::{Echo, Load, OneNic, Process, Server, turnpike};

fn main() {
    let net = OneNic::new();
    net.server.ip("route add default via 10.77.0.254");
    let mut server = Server::bare(&net.server, &["--datapath", "xdp"]);
    server.process().wait_for_output("turnpike probe ");
    let output = server.process().output();
    println!("{output}");
    let line = output.lines().find_map(|line| line.split_once("turnpike probe ")).expect("just seen").1;
    println!("$ turnpike probe {line}");
    println!("{}", output_of(turnpike(&net.client).arg("probe").args(line.split_whitespace())));
    drop(server);

    let server = Server::on(&net.server, "xdp");
    let echo = Echo::start(&net.peer);
    let load = Load { clients: 20, messages: 500, interval: 10, ..Load::default() };
    load.run(&net.client, server.address(), &echo);
    println!("$ turnpike status");
    println!("{}", output_of(turnpike(&net.server).arg("status")));
}

fn output_of(command: &mut Command) -> String {
    Process::start(command).wait(Duration::from_secs(30)).1
}
