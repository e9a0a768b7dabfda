//! The binary as a process, on loopback addresses that no other test uses.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A loopback address of one's own, so that every test can use the default ports.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + high % 200, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The command with these words as arguments.
pub(crate) fn turnpike(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    command.args(words.split_whitespace()).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs it to its end: exit code, stdout, stderr.
pub(crate) fn finished(words: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = turnpike(words).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A server that is ready. It is killed when a test fails before it stops.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    /// What it printed until it was ready.
    pub(crate) screen: String,
}

impl Server {
    /// Starts `turnpike run` without any privilege and waits for the empty line that ends its screen, or with
    /// `--log-format json` for its one line.
    pub(crate) fn start(flags: &str) -> Self {
        let mut command = turnpike(&format!("run {flags}"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: prctl is a bare system call: it takes no lock and no memory.
        unsafe { command.pre_exec(drop_capabilities) };
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, stdout, stderr: Some(stderr), screen: String::new() };
        let paragraphs = if flags.contains("json") { 0 } else { server.paragraphs_expected(flags) };
        server.read_screen(paragraphs);
        server
    }

    /// The title, the addresses, and the credential when there is none among the flags.
    fn paragraphs_expected(&self, flags: &str) -> usize {
        if flags.contains("--user") || flags.contains("--auth-secret") { 2 } else { 3 }
    }

    fn read_screen(&mut self, mut paragraphs: usize) {
        loop {
            let start = self.screen.len();
            let len = self.stdout.read_line(&mut self.screen).unwrap();
            assert_ne!(
                len,
                0,
                "the server ended: {}\n{}",
                self.screen,
                self.stderr.take().unwrap().join().unwrap()
            );
            paragraphs = paragraphs.saturating_sub(usize::from(&self.screen[start..] == "\n"));
            if paragraphs == 0 {
                return;
            }
        }
    }

    /// The rest of the row with this label.
    pub(crate) fn row(&self, label: &str) -> &str {
        let row = self.screen.lines().find_map(|line| line.strip_prefix(label));
        row.unwrap_or_else(|| panic!("no row {label} in\n{}", self.screen)).trim()
    }

    /// Sends SIGTERM: the exit code and the log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), self.stderr.take().unwrap().join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process executes next has no capability, whoever runs the tests. Who may not drop them has none.
fn drop_capabilities() -> std::io::Result<()> {
    for capability in 0..64 {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    Ok(())
}
