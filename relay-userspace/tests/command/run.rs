use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{Server, finished, own_address, page, turnpike};

#[test]
fn the_printed_probe_line_works_and_the_status_tells_of_it() {
    let ip = own_address();
    let server = Server::start(&format!("--listen udp://{ip} --interface lo --admin {ip}:9641"));
    assert_eq!(server.row("listening"), format!("udp://{ip}:3478"));
    assert_eq!(server.row("URL"), format!("turn:{ip}:3478?transport=udp"));

    let line = server.row("try it").strip_prefix("turnpike ").unwrap();
    let (code, shown, _) = finished(line);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.ends_with(&format!("turn:{ip}:3478 works\n")), "{shown}");
    assert_eq!(shown.matches("20 of 20 packets came back").count(), 2, "{shown}");

    let (code, shown, _) = finished(&format!("status --admin {ip}:9641"));
    assert_eq!(code, 0);
    assert!(shown.contains("0 active") && shown.contains("2 made since the start"), "{shown}");
    let (_, json, _) = finished(&format!("status --json --admin http://{ip}:9641/"));
    let status: Value = serde_json::from_str(&json).unwrap();
    let interface = &status["interfaces"][0];
    assert_eq!((&interface["name"], &interface["mode"]), (&"lo".into(), &"userspace".into()));
    assert_eq!(status["allocations"]["created"], 2);

    let metrics = page(&format!("{ip}:9641"), "/metrics");
    // 20 packets by indications and 20 by a channel, each there and back.
    let relayed = r#"turnpike_packets_total{datapath="userspace",verdict="forwarded",reason="to_peer"} 80"#;
    assert!(metrics.lines().any(|line| line == relayed), "{metrics}");
    assert!(!metrics.contains("user=") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(page(&format!("{ip}:9641"), "/readyz").ends_with("ready\n"));

    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGTERM: stopping"), "{log}");
    UdpSocket::bind((ip, 3478)).expect("the listener is closed");
}

#[test]
fn a_fleet_reads_json_only() {
    let ip = own_address();
    let server =
        Server::start(&format!("--listen udp://{ip} --admin off --log-format json --user a:hunter2"));
    let ready: Value = serde_json::from_str(&server.screen).unwrap();
    assert_eq!(ready["status"]["state"], "ready");
    assert_eq!(ready["url"], format!("turn:{ip}:3478?transport=udp"));
    assert!(!server.screen.contains("hunter2"));
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(log.lines().count() > 0);
    for line in log.lines() {
        serde_json::from_str::<Value>(line).expect(line);
    }
}

#[test]
fn an_address_that_is_taken_is_named_in_the_error() {
    let ip = own_address();
    let _taken = UdpSocket::bind((ip, 3478)).unwrap();
    let (code, _, complaint) = finished(&format!("run --listen udp://{ip} --admin off --user a:b"));
    assert_eq!(code, 1);
    assert!(complaint.contains(&format!("cannot listen on udp://{ip}:3478")), "{complaint}");

    let other = own_address();
    let _taken = TcpListener::bind((other, 9641)).unwrap();
    let (code, _, complaint) =
        finished(&format!("run --listen udp://{other} --admin {other}:9641 --user a:b"));
    assert_eq!(code, 1);
    assert!(
        complaint.contains(&format!("cannot serve the admin API on {other}:9641: choose")),
        "{complaint}"
    );
}

#[test]
fn the_default_admin_port_may_be_taken() {
    // When this fails, somebody else has taken it, which serves as well.
    let _taken = TcpListener::bind("127.0.0.1:9641");
    let server = Server::start(&format!("--listen udp://{} --user a:b", own_address()));
    assert_eq!(server.row("admin"), "off");
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(log.contains("no admin API: choose another address with --admin"), "{log}");
}

#[test]
fn xdp_that_is_insisted_on_and_impossible_stops_the_start_with_the_reason() {
    let ip = own_address();
    let (code, _, complaint) =
        finished(&format!("run --listen udp://{ip} --admin off --user a:b --interface lo --datapath xdp"));
    assert_eq!(code, 1);
    assert!(complaint.contains("--datapath xdp: lo: "), "{complaint}");
}

#[test]
fn the_status_of_no_server_is_an_error_that_says_so() {
    let (code, shown, complaint) = finished(&format!("status --admin {}:9641", own_address()));
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(
        complaint.contains("is `turnpike run` up") && complaint.contains("Connection refused"),
        "{complaint}"
    );
}

#[test]
fn a_status_that_comes_too_slowly_is_given_up() {
    let ip = own_address();
    let listener = TcpListener::bind((ip, 9641)).unwrap();
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Ends when the reader gave up.
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let (code, _, complaint) = finished(&format!("status --admin {ip}:9641"));
    assert_eq!(code, 1);
    assert!(complaint.contains("not complete after 5 s"), "{complaint}");
    dripping.join().unwrap();
}

#[test]
fn a_log_that_cannot_be_written_stops_neither_the_start_nor_a_shard() {
    let ip = own_address();
    let mut server = turnpike(&format!("run --listen udp://{ip} --admin off --user a:b --interface lo"))
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let probe = || finished(&format!("probe turn:{ip} --user a --password b --packets 2"));
    let works = (0..20).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        probe().0 == 0
    });
    let stopped = kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM);
    assert_eq!(server.wait().unwrap().code(), Some(0), "{stopped:?}");
    assert!(works, "{}", probe().1);
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let ip = own_address();
    let (unread, mut stderr) = std::io::pipe().unwrap();
    // A pipe takes 64 KiB: this leaves room for some twenty lines.
    stderr.write_all(&[b'\n'; 60 << 10]).unwrap();
    let mut server = turnpike(&format!("run --listen udp://{ip} --admin off --user a:b --interface lo"))
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    // Each makes and ends two allocations.
    let probe = || finished(&format!("probe turn:{ip} --user a --password b --packets 1")).0 == 0;
    let ready = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        probe()
    });
    let all_work = (0..20).all(|_| probe());
    let signal = if ready && all_work { Signal::SIGTERM } else { Signal::SIGKILL };
    kill(Pid::from_raw(server.id() as i32), signal).unwrap();
    let code = server.wait().unwrap().code();
    drop(unread);
    assert!(ready && all_work);
    assert_eq!(code, Some(0));
}

#[test]
fn a_reader_that_went_away_is_no_error_and_a_full_disk_is() {
    for words in ["creds --secret s", "check --listen udp://127.0.0.1"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(turnpike(words).stdout(writer).stderr(Stdio::null()).status().unwrap().code(), Some(0));
        let Output { status, stderr, .. } = turnpike(words).stdout(full()).output().unwrap();
        let complaint = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("cannot write to stdout: No space left"), "{complaint}");
    }
}

#[test]
fn a_signal_that_was_to_be_ignored_does_not_stop_the_server() {
    let ip = own_address();
    // What `nohup` and a script's `&` do.
    let run = "trap '' HUP INT; exec \"$0\" run --listen udp://$1 --admin off --user a:b --interface lo";
    let mut server = Command::new("sh")
        .args(["-c", run, env!("CARGO_BIN_EXE_turnpike"), &ip.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let probe = || finished(&format!("probe turn:{ip} --user a --password b --packets 2")).0 == 0;
    let wait = || std::thread::sleep(std::time::Duration::from_millis(100));
    let ready = (0..50).any(|_| {
        probe() || {
            wait();
            false
        }
    });
    let send = |signal| kill(Pid::from_raw(server.id() as i32), signal);
    // SIGHUP alone would show nothing: it stops no server.
    let hung_up = send(Signal::SIGHUP).and(send(Signal::SIGINT));
    wait();
    let still_there = probe();
    let stopped = send(Signal::SIGTERM);
    let code = server.wait().unwrap().code();
    assert!(ready && still_there && hung_up.is_ok() && stopped.is_ok());
    assert_eq!(code, Some(0));
}

fn full() -> File {
    File::create("/dev/full").unwrap()
}
