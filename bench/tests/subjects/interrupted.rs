//! A bench that is interrupted leaves nothing behind.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use turnpike_bench::allocations::Plan;
use turnpike_bench::lab::{Family, Lab};
use turnpike_bench::subjects::{DataPath, Subject};
use turnpike_tests::lab::wait_for;

use crate::common::{skipped, turnpike};

/// Set for the process that is interrupted, which is this test program once more.
const TO_INTERRUPT: &str = "TURNPIKE_TEST_TO_INTERRUPT";

/// What that process says once it has made everything.
const MADE: &str = "the server and the poller are ";

#[test]
fn nothing_is_left_of_an_interrupted_bench() {
    if skipped() {
        return;
    }
    if env::var_os(TO_INTERRUPT).is_some() {
        make_and_wait();
    }
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut child = Command::new(env::current_exe().expect("a path of its own"))
            .args(["--exact", "interrupted::nothing_is_left_of_an_interrupted_bench", "--nocapture"])
            .env(TO_INTERRUPT, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let made = lines.find_map(|line| Some(line.split_once(MADE)?.1.to_owned())).expect("it says so");
        let threads: Vec<String> = made.split(' ').map(str::to_owned).collect();
        assert!(threads.len() >= 2 && threads.iter().all(|thread| runs(thread)), "{made}");
        kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
        child.wait().expect("a child of ours");
        wait_for(&format!("the end of {made} after {signal}"), || {
            threads.iter().all(|thread| !runs(thread)).then_some(())
        });
    }
}

fn make_and_wait() -> ! {
    let plan = Plan::channels(1, 1, Family::V4);
    let mut server = turnpike(Lab::one_nic().expect("a lab"), DataPath::Xdp, plan);
    // As most subjects are, most of the time.
    server.rest().expect("it stops");
    let pollers = server.lab().generator_pollers().iter().map(Pid::to_string);
    let all: Vec<String> = server.pid().iter().map(Pid::to_string).chain(pollers).collect();
    println!("{MADE}{}", all.join(" "));
    loop {
        std::thread::park();
    }
}

/// Whether there is such a thread, which is more than its remains that nobody has looked at.
fn runs(pid: &str) -> bool {
    let status = Path::new("/proc").join(pid).join("status");
    fs::read_to_string(status).is_ok_and(|status| !status.contains("State:\tZ"))
}
