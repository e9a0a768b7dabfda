//! The binary as a process, on loopback addresses that no other test uses.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// The same without any privilege.
pub(crate) fn finished_unprivileged(words: &str) -> (i32, String, String) {
    let mut command = turnpike(words);
    // SAFETY: prctl is a bare system call: it takes no lock and no memory.
    unsafe { command.pre_exec(drop_capabilities) };
    let Output { status, stdout, stderr } = command.output().unwrap();
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
        // The title and the addresses.
        let paragraphs = match () {
            () if flags.contains("json") => 0,
            () if ["--user", "--auth-secret", "-c "].iter().any(|flag| flags.contains(flag)) => 2,
            () => 3,
        };
        Self::start_and_read(flags, paragraphs)
    }

    /// The same when no user is configured in the file.
    pub(crate) fn start_with_made_up_user(flags: &str) -> Self {
        Self::start_and_read(flags, 3)
    }

    fn start_and_read(flags: &str, paragraphs: usize) -> Self {
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
        server.read_screen(paragraphs);
        server
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

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Sends SIGTERM: the exit code and the log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::SIGTERM);
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

/// The answer to a GET, head and body.
pub(crate) fn page(authority: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(authority).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Waits until it is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what} within 10 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that is removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file: its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
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
