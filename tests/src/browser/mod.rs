//! A browser without a screen, driven by its DevTools protocol.
//!
//! The protocol runs over two pipes (`--remote-debugging-pipe`): no port, and no address that a namespace or a firewall of the
//! test could be in the way of. The browser runs wherever its command does:
//!
//! ```no_run
//! # use turnpike_tests::browser::Browser;
//! # use turnpike_tests::lab::Namespace;
//! # use std::time::Duration;
//! let machine = Namespace::new();
//! let rules = "--host-resolver-rules=MAP *.test 10.0.0.2";
//! let mut browser = Browser::start(|program| machine.command(program), &[rules]);
//! browser.open("http://turn.test/test");
//! browser.wait_for("document.querySelector('.done')", Duration::from_secs(20));
//! let rows = browser.evaluate("[...document.querySelectorAll('tr')].map(row => row.innerText)");
//! ```

mod firefox;
mod pipe;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub use self::firefox::{FIREFOX, Firefox};
use self::pipe::Pipe;

/// Where Debian's package `chromium` puts it.
pub const CHROMIUM: &str = "/usr/bin/chromium";

/// Chromium with one page, and a profile of its own. Killed when dropped.
#[derive(Debug)]
pub struct Browser {
    pipe: Pipe,
    /// Which page the commands are for.
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// Starts the browser with these arguments besides those that every test needs. `command` makes the command for a program,
    /// and so says where it runs: [`Namespace::command`](crate::lab::Namespace::command), or `Command::new`.
    pub fn start(command: impl FnOnce(&'static str) -> Command, arguments: &[&str]) -> Self {
        Self::with_profile(command, &new_profile(), arguments)
    }

    /// The same with a folder that is there already and is removed at the end. It is the browser's HOME: certificates to trust
    /// are in its `.pki/nssdb`.
    pub fn with_profile(
        command: impl FnOnce(&'static str) -> Command,
        profile: &Path,
        arguments: &[&str],
    ) -> Self {
        let mut command = Pipe::command(command, CHROMIUM);
        command
            // Root has no sandbox, and nothing here comes from elsewhere.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            // It is to talk to this lab and to nobody else.
            .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disable-default-apps"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("--remote-debugging-pipe")
            .args(arguments)
            .arg("about:blank")
            .env("HOME", profile);
        let mut pipe = Pipe::start(&mut command);
        let target = pipe.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = pipe.call(None, "Target.attachToTarget", attach);
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let mut browser = Self { pipe, session, profile: profile.into() };
        browser.call("Page.enable", json!({}));
        browser
    }

    /// Its HOME.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Goes to an address and waits until its page is loaded. Panics where there is no page.
    pub fn open(&mut self, url: &str) {
        let error = self.try_open(url);
        assert_eq!(error, None, "{url}");
    }

    /// The same; the browser's name for what went wrong (`net::ERR_...`).
    pub fn try_open(&mut self, url: &str) -> Option<String> {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        if let Some(error) = answer["errorText"].as_str() {
            return Some(error.to_owned());
        }
        self.wait_for("document.readyState == 'complete'", Duration::from_secs(20));
        None
    }

    /// The value of an expression in the page; that of a promise when it is kept. Panics where it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let mut answer = self.call("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// The value that a promise of the page is kept with; or what it is broken with.
    pub fn outcome(&mut self, promise: &str) -> Result<Value, String> {
        let text = "error => ({ error: String(error?.message ?? error) })";
        let mut settled = self.evaluate(&format!("({promise}).then(value => ({{ value }}), {text})"));
        match settled["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(settled["value"].take()),
        }
    }

    /// From now on answers proxies that ask for a name and a password, for pages and what they load.
    pub fn log_in_to_proxies(&mut self, user: &str, password: &str) {
        self.pipe.log_in_to_proxies([user, password].map(String::from));
        let all = json!([{ "urlPattern": "*" }]);
        self.call("Fetch.enable", json!({ "handleAuthRequests": true, "patterns": all }));
    }

    /// The browser's name and version.
    pub fn version(&mut self) -> String {
        let version = self.pipe.call(None, "Browser.getVersion", json!({}));
        version["product"].as_str().unwrap_or("Chromium").to_owned()
    }

    /// Waits until an expression in the page is true, or truthy.
    pub fn wait_for(&mut self, expression: &str, limit: Duration) {
        let deadline = Instant::now() + crate::lab::scaled(limit);
        while self.evaluate(&format!("!!({expression})")) != true {
            if Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText");
                panic!("{expression}: not within {limit:?}; the page says:\n{}", text.as_str().unwrap_or(""));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses and releases a key, by its name in the DOM (`Tab`, `Enter`).
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            " " => 32,
            _ => 0,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code });
        if key == "Enter" {
            event["text"] = "\r".into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Gives the page a size in CSS pixels, and so many of the screen's for each of them.
    pub fn resize(&mut self, width: u32, height: u32, scale: f64) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// A picture of the whole page, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    /// A command of the DevTools protocol to the page, and its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.pipe.call(Some(&self.session), method, parameters)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.pipe.end();
        // Its children go when they notice, and until then may still write there.
        for _ in 0..50 {
            // In a filesystem of the browser's machine alone it is gone with that.
            if fs::remove_dir_all(&self.profile).is_ok() || !self.profile.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A folder for a profile, empty.
pub fn new_profile() -> PathBuf {
    static PROFILES: AtomicU32 = AtomicU32::new(0);
    let number = PROFILES.fetch_add(1, Ordering::Relaxed);
    let profile = std::env::temp_dir().join(format!("turnpike-browser-{}-{number}", std::process::id()));
    fs::create_dir(&profile).expect("a folder for the profile");
    profile
}
