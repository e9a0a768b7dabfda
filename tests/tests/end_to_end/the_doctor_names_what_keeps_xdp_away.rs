//! `turnpike doctor` on wires with wrong settings, each of which it names with the command that mends it; and
//! `turnpike run` says the same of an interface that it could not raise to driver mode.

use std::process::Stdio;

use serde_json::Value;
use turnpike_tests::lab::{self, Host, Namespace, Net, OneNic, PassProgram, Server, turnpike, veth};

/// What the doctor prints as JSON, and its exit code.
fn doctor(host: &Host, flags: &str) -> (i32, Vec<Value>) {
    let output = turnpike(host)
        .args(["doctor", "--json"])
        .args(flags.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{errors}"));
    let findings = answer["findings"].as_array().expect("a list").clone();
    let code = output.status.code().expect("no signal");
    assert_eq!(answer["xdp"], Value::Bool(code == 0));
    (code, findings)
}

/// Level and command of what is said about an interface, where there is something to do.
fn todo<'a>(findings: &'a [Value], about: &str) -> Vec<(&'a str, &'a str)> {
    let about = findings.iter().filter(|finding| finding["about"] == about);
    let worse = about.filter(|finding| finding["level"] == "warning" || finding["level"] == "error");
    worse.map(|f| (f["level"].as_str().expect("text"), f["command"].as_str().unwrap_or("-"))).collect()
}

fn says(findings: &[Value], text: &str) -> bool {
    findings.iter().any(|finding| finding["text"].as_str().expect("text").contains(text))
}

#[test]
fn and_has_nothing_to_say_about_a_wire_that_is_right() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let (code, findings) = doctor(&net.server, "");
    assert_eq!((code, todo(&findings, "eth0")), (0, vec![]), "{findings:#?}");
    assert!(says(&findings, "the kernel takes the program and its tables"), "{findings:#?}");
    assert!(says(&findings, "the other end runs an XDP program too"), "{findings:#?}");
}

#[test]
fn such_as_a_far_end_without_a_program_but_no_large_mtu() {
    if lab::skipped() {
        return;
    }
    let net = Net::new([10, 77, 0]);
    let server = net.host(1);
    // Both ends of this one are in the machine, where their settings can be seen and changed.
    veth(&server, "left", &server, "right");
    server.ip("addr add 10.78.0.1/24 dev left");
    // The veth driver looks at the MTU of the end that the program is not on, and takes any in pieces.
    server.ip("link set right mtu 65000");
    server.run("ethtool", "-K right tx on");
    server.run("ethtool", "-K left gro off rxvlan on");
    let flags = "--listen udp://10.78.0.1";
    let (code, findings) = doctor(&server, flags);
    assert_eq!(code, 1, "{findings:#?}");
    let expected =
        [("error", "-"), ("warning", "ethtool -K right tx off"), ("warning", "ethtool -K left gro on")];
    assert_eq!(todo(&findings, "left"), expected, "{findings:#?}");
    assert!(says(&findings, "MTU of 65000 is taken in pieces by driver veth"), "{findings:#?}");
    let commands: Vec<_> = findings.iter().filter_map(|finding| finding["command"].as_str()).collect();
    assert!(commands.contains(&"ethtool -K left rxvlan off"), "{findings:#?}");

    // Every command that it names helps.
    server.ip("link set right mtu 1500");
    for command in commands.iter().filter_map(|command| command.strip_prefix("ethtool ")) {
        server.run("ethtool", command);
    }
    let _program = PassProgram::attach(&server, "right");
    let (code, findings) = doctor(&server, flags);
    assert_eq!((code, todo(&findings, "left")), (0, vec![]), "{findings:#?}");
    assert!(!findings.iter().any(|f| f["command"] == "ethtool -K left rxvlan off"), "{findings:#?}");
}

#[test]
fn or_the_program_of_somebody_else_and_knows_its_own() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let foreign = PassProgram::attach(&net.server, "eth0");
    let (code, findings) = doctor(&net.server, "");
    assert_eq!((code, todo(&findings, "eth0")), (1, vec![("error", "ip link set dev eth0 xdp off")]));
    drop(foreign);
    let _server = Server::on(&net.server, "xdp");
    let (code, findings) = doctor(&net.server, "");
    assert_eq!((code, todo(&findings, "eth0")), (0, vec![]), "{findings:#?}");
    assert!(says(&findings, "a Turnpike runs on it already"), "{findings:#?}");
}

#[test]
fn which_the_kernel_refuses_and_takes_just_as_it_says() {
    if lab::skipped() {
        return;
    }
    let net = Net::new([10, 77, 0]);
    let server = net.host(1);
    veth(&server, "left", &server, "right");
    let _program = PassProgram::attach(&server, "right");
    let mut largest_is_taken = false;
    for mtu in [3506, 3507] {
        server.ip(&format!("link set right mtu {mtu}"));
        let (_, findings) = doctor(&server, "--interface left");
        let lower = "ip link set right mtu 3506";
        let warned = findings.iter().any(|f| f["command"] == lower && f["level"] == "error");
        let options = lab::ServerOptions::new("auto").flag("--interface", "left");
        let running = Server::start(&server, &options);
        let (mode, reasons) = running.mode("left");
        assert_eq!(mode != "xdp", warned, "{mtu}: {reasons:?} {findings:#?}");
        largest_is_taken |= mtu == 3506 && !warned;
        let (_, output) = running.stop();
        assert_eq!(output.contains(lower), warned, "{output}");
    }
    assert!(largest_is_taken);
}

#[test]
fn and_a_server_that_takes_a_lower_mode_logs_the_commands() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let far = Namespace::new();
    veth(&net.server, "eth1", &far, "eth1");
    net.server.ip("addr add 10.78.0.1/24 dev eth1");
    net.server.run("ethtool", "-K eth1 gro off");
    let options = lab::ServerOptions::new("auto").relay_from("10.78.0.1");
    let server = Server::start(&net.server, &options);
    assert_eq!(server.mode("eth1").0, "xdp-generic");
    let (_, output) = server.stop();
    let line = output.lines().find(|line| line.contains("ethtool -K eth1 gro on"));
    assert!(line.is_some_and(|line| line.contains("WARN") && line.contains("GRO is off")), "{output}");
    assert!(!output.contains("ethtool -K eth0"), "{output}");
}
