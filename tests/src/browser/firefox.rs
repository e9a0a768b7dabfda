//! Firefox without a screen, driven by its Marionette protocol: JSON with its length before it, over TCP on the loopback of the
//! browser's machine.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::new_profile;
use crate::lab::{Namespace, Process, scaled, wait_longer_for};

/// Where Debian's package `firefox-esr` puts it.
pub const FIREFOX: &str = "/usr/bin/firefox-esr";

/// Marionette's own choice. Each machine has a loopback of its own.
const PORT: u16 = 2828;

/// How long the browser may take to start, and for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// It is to talk to the lab and to nobody else.
const QUIET: &str = r#"
user_pref("app.normandy.enabled", false);
user_pref("app.update.disabledForTesting", true);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.region.network.url", "");
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.safebrowsing.update.enabled", false);
user_pref("browser.search.update", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.push.connection.enabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.dns.disablePrefetch", true);
user_pref("network.http.speculative-parallel-limit", 0);
user_pref("network.prefetch-next", false);
user_pref("network.trr.mode", 5);
user_pref("security.OCSP.enabled", 0);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.server", "");
"#;

/// Firefox with one page, and a profile of its own. Killed when dropped.
#[derive(Debug)]
pub struct Firefox {
    process: Process,
    answers: BufReader<TcpStream>,
    calls: u64,
    profile: PathBuf,
}

impl Firefox {
    /// Starts the browser on this machine. It takes every name for one of `names_are_at`, and trusts the certificates that the
    /// authority in this file signed.
    pub fn start(machine: &Namespace, names_are_at: impl ToString, authority: &str) -> Self {
        let profile = new_profile();
        let names = format!("user_pref(\"network.dns.forceResolve\", \"{}\");\n", names_are_at.to_string());
        fs::write(profile.join("user.js"), format!("{QUIET}{names}")).expect("the folder is ours");
        trust(&profile, authority);
        let mut command = machine.command(FIREFOX);
        command
            .args(["--headless", "--marionette", "--no-remote", "--profile"])
            .arg(&profile)
            .arg("about:blank")
            .env("HOME", &profile)
            // Where its libraries leave things, too.
            .env("XDG_RUNTIME_DIR", &profile)
            .env("TMPDIR", &profile);
        let mut process = Process::start(&mut command);
        let stream = wait_longer_for("Firefox's port", PATIENCE, || {
            if let Some(status) = process.exited() {
                panic!("Firefox ended with {status}:\n{}", process.output());
            }
            machine.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))).ok()
        });
        stream.set_read_timeout(Some(scaled(PATIENCE))).expect("a setting of the socket");
        let mut browser = Self { process, answers: BufReader::new(stream), calls: 0, profile };
        // It says first who it is.
        browser.receive().expect("a greeting");
        browser.call("WebDriver:NewSession", json!({}));
        browser
    }

    /// Goes to an address and waits until its page is loaded. Panics where there is no page.
    pub fn open(&mut self, url: &str) {
        self.call("WebDriver:Navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page; that of a promise when it is kept. Panics where it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        // In the page's own world, not in one beside it.
        let parameters = json!({ "script": script, "args": [], "sandbox": null });
        self.call("WebDriver:ExecuteScript", parameters)["value"].take()
    }

    /// Waits until an expression in the page is true, or truthy.
    pub fn wait_for(&mut self, expression: &str, limit: Duration) {
        let deadline = Instant::now() + scaled(limit);
        while self.evaluate(&format!("!!({expression})")) != true {
            if Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText");
                panic!("{expression}: not within {limit:?}; the page says:\n{}", text.as_str().unwrap_or(""));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command of the protocol, and its result. Panics where the browser refuses it.
    fn call(&mut self, command: &str, parameters: Value) -> Value {
        self.calls += 1;
        self.send(command, parameters)
            .unwrap_or_else(|e| panic!("{command}: the browser does not listen: {e}"));
        let answer = self.receive().unwrap_or_else(|e| panic!("{command}: no answer: {e}"));
        // `[1, ID, ERROR, RESULT]`, in the order of the commands.
        let Value::Array(mut parts) = answer else { panic!("{command}: {answer}") };
        assert!(parts.len() == 4 && parts[1] == self.calls, "{command}: {parts:?}");
        assert!(parts[2].is_null(), "{command}: {}: {}", parts[2]["error"], parts[2]["message"]);
        parts.swap_remove(3)
    }

    fn send(&mut self, command: &str, parameters: Value) -> io::Result<()> {
        let message = json!([0, self.calls, command, parameters]).to_string();
        self.answers.get_mut().write_all(format!("{}:{message}", message.len()).as_bytes())
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut length = Vec::new();
        self.answers.read_until(b':', &mut length)?;
        let length = str::from_utf8(&length).ok().and_then(|text| text.strip_suffix(':')?.parse().ok());
        let mut message = vec![0; length.ok_or(io::ErrorKind::UnexpectedEof)?];
        self.answers.read_exact(&mut message)?;
        serde_json::from_slice(&message).map_err(io::Error::other)
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        // By itself, so that its children end with it and write nothing any more; the hard way if that takes long.
        if self.send("Marionette:Quit", json!({ "flags": ["eForceQuit"] })).is_ok() {
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && self.process.exited().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.process.kill();
        for _ in 0..50 {
            if fs::remove_dir_all(&self.profile).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Puts a certificate authority into a profile.
fn trust(profile: &Path, authority: &str) {
    let database = format!("sql:{}", profile.display());
    for arguments in
        [["-N", "--empty-password"].as_slice(), &["-A", "-t", "C,,", "-n", "lab", "-i", authority]]
    {
        let output = Command::new("certutil").args(arguments).args(["-d", &database]).output();
        let output = output.expect("certutil starts: apt-get install libnss3-tools");
        assert!(output.status.success(), "certutil: {}", String::from_utf8_lossy(&output.stderr));
    }
}
