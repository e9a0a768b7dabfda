//! A program that runs in a namespace while a test goes on.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_for;

/// A running program with all that it printed. Killed when dropped, and when the thread that started it ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    output: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        // SAFETY: prctl is one system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let output = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        let readers = vec![collect(stdout, output.clone()), collect(stderr, output.clone())];
        Self { child, name, output, readers }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Everything printed so far, both streams line by line.
    pub fn output(&self) -> String {
        self.output.lock().expect("nobody panics with it").clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|e| panic!("{signal} to {}: {e}", self.name));
    }

    /// Waits until it has printed this.
    pub fn wait_for_output(&mut self, text: &str) {
        wait_for(&format!("{text:?} from {}", self.name), || {
            if self.output().contains(text) {
                return Some(());
            }
            if let Some(status) = self.exited() {
                let output = self.finished_output();
                panic!("{} ended with {status}:\n{output}", self.name);
            }
            None
        });
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for its end; panics when that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> (ExitStatus, String) {
        let limit = super::scaled(limit);
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return (status, self.finished_output());
            }
            assert!(Instant::now() < deadline, "{} runs for over {limit:?}:\n{}", self.name, self.output());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it the hard way, if it has not ended by itself.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// All output of a process that has ended.
    fn finished_output(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader ends with its pipe");
        }
        self.output()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let output = self.finished_output();
            eprintln!("--- {}\n{output}---", self.name);
        }
    }
}

/// A program that was just copied may be busy for a moment: another test's process, between its fork and its exec, still
/// holds the file open for writing.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match command.spawn() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            spawned => return spawned,
        }
    }
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            output.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
