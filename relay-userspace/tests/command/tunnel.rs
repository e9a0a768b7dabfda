use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{finished, own_address, turnpike};

#[test]
fn what_needs_no_tunnel_or_cannot_have_one_is_refused() {
    let ip = own_address();
    let taken = TcpListener::bind((ip, 3478)).unwrap();
    for (flags, why) in [
        (format!("--to turn:{ip}"), "what can use UDP needs no tunnel"),
        (format!("--to ws://{ip} --listen tcp://{ip}:3478"), "cannot listen at tcp://"),
        (format!("--to ws://{ip} --listen {ip}:3478"), "write udp://ADDRESS:PORT or tcp://ADDRESS:PORT"),
        (format!("--to ws://{ip} --idle 0s"), "at least one second"),
        (String::new(), "--to <URL>"),
    ] {
        let (code, _, said) = finished(&format!("tunnel {flags}"));
        assert!(code != 0 && said.contains(why), "{flags}: {said}");
    }
    drop(taken);
}

#[test]
fn a_server_that_is_away_is_told_at_once_and_a_signal_ends_it_in_order() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let ip = own_address();
        let listen = format!("--listen udp://{ip}:3478 --listen tcp://{ip}:3478");
        let mut command =
            turnpike(&format!("tunnel {listen} --to ws://{ip}:9 --proxy none --log-format json"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("cannot be reached now") {
            assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
        }
        assert!(said.contains("TCP connect") && said.contains("refuses the connection"), "{said}");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        log.read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success() && said.contains("stopped"), "{said}");
    }
}
