//! The DevTools protocol over a pair of pipes: JSON with a NUL behind each message.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// How long the browser may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser's process and the ends of its pipes.
#[derive(Debug)]
pub(super) struct Pipe {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    calls: u64,
    /// The name and password for a proxy that asks for them.
    proxy_login: Option<[String; 2]>,
}

impl Pipe {
    /// The command of a program that reads from descriptor 3 and writes to 4: a shell puts its pipes there. What is added to the
    /// command are the program's arguments and environment.
    pub(super) fn command(make: impl FnOnce(&'static str) -> Command, program: &str) -> Command {
        let mut command = make("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#, program]);
        command
    }

    /// Starts it.
    pub(super) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // SAFETY: prctl is one system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
        let commands = child.stdin.take().expect("a pipe");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { child, commands, messages, calls: 0, proxy_login: None }
    }

    /// Answers proxies that ask for a name and a password, wherever events say that they do.
    pub(super) fn log_in_to_proxies(&mut self, login: [String; 2]) {
        self.proxy_login = Some(login);
    }

    /// A command and its result. Panics where the browser refuses it.
    pub(super) fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        let id = self.send(session, method, parameters);
        loop {
            match self.messages.recv_timeout(PATIENCE) {
                Ok(mut answer) if answer["id"] == id => {
                    assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                    return answer["result"].take();
                }
                // What happens in the page.
                Ok(event) => self.event(&event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer within {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has ended"),
            }
        }
    }

    fn send(&mut self, session: Option<&str>, method: &str, parameters: Value) -> u64 {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let sent = self.commands.write_all(format!("{message}\0").as_bytes());
        sent.unwrap_or_else(|e| panic!("{method}: the browser does not listen: {e}"));
        self.calls
    }

    /// Lets requests go on that wait for us (the domain `Fetch`, where it is enabled); all other events are not for us.
    fn event(&mut self, event: &Value) {
        let (session, request) = (event["sessionId"].as_str(), &event["params"]["requestId"]);
        match event["method"].as_str() {
            Some("Fetch.requestPaused") => {
                self.send(session, "Fetch.continueRequest", json!({ "requestId": request }));
            }
            Some("Fetch.authRequired") => {
                let answer = match &self.proxy_login {
                    Some([user, password]) => {
                        json!({ "response": "ProvideCredentials", "username": user, "password": password })
                    }
                    None => json!({ "response": "CancelAuth" }),
                };
                let parameters = json!({ "requestId": request, "authChallengeResponse": answer });
                self.send(session, "Fetch.continueWithAuth", parameters);
            }
            _ => {}
        }
    }

    /// Has it end by itself, so that its children end with it and write nothing any more; the hard way if that takes long.
    pub(super) fn end(&mut self) {
        let message = json!({ "id": 0, "method": "Browser.close" });
        if self.commands.write_all(format!("{message}\0").as_bytes()).is_ok() {
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
