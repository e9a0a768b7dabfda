//! A browser in a network, by one URL after the other.

use std::fmt::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::also;
use super::echo::PEER;
use super::network::{Also, Network, Proxy, Way};
use super::pages::{ORIGIN, Pages};
use super::proxy::{PROXY_PASSWORD, PROXY_USER};
use super::report::{Outcome, Report};
use super::subject::{Running, Subject};
use super::topology::{NAME, PROXY, Topology};
use super::url::Url;
use crate::browser::Browser;
use crate::lab::{Host, PASSWORD, USER};

const PAGE: &str = include_str!("page.html");

/// How long what must connect may take, in milliseconds; long, because the machine may be busy.
const LIMIT: u64 = 15_000;

/// How long is waited for what must not connect: some twenty times what a connection takes.
const BLOCKED: u64 = 4_000;

/// Messages that go through each connection and come back.
const MESSAGES: u64 = 100;

/// Where the relay's ports are unless a network has its own.
pub(super) const RELAY_PORTS: &str = "50000-50999";

/// A browser, and the page by which it is led.
#[derive(Debug)]
pub(super) struct Led {
    pub(super) browser: Browser,
    _pages: Pages,
}

/// What the attempts in a network have in common.
pub(super) struct Lab<'a> {
    pub(super) network: &'a Network,
    pub(super) net: &'a Topology,
    pub(super) subject: Subject,
    pub(super) server: &'a Running,
}

/// Tries everything that this network is for.
pub(super) fn all(network: &Network, net: &Topology, subject: Subject, report: &mut Report) {
    let ports = if network.also.contains(&Also::FourPorts) { also::FOUR_PORTS } else { RELAY_PORTS };
    let server = subject.start(net, ports);
    let lab = Lab { network, net, subject, server: &server };
    if let Some(connects) = network.connects {
        let mut led = lab.start_browser(&net.client, network.browser);
        report.browser = Some(led.browser.version());
        if network.way == Way::Proxy(Proxy::Basic) {
            lab.log_in(&mut led, report);
        }
        let mut other = net.other.as_ref().map(|host| lab.start_browser(host, &[]));
        let (passing, blocked): (Vec<_>, Vec<_>) =
            Url::EVERYWHERE.into_iter().partition(|url| connects.contains(url));
        for url in passing {
            let outcome = match other.as_mut().filter(|_| !url.is_web_socket()) {
                Some(other) => lab.call_between(&mut led, other, url),
                None => outcome(led.browser.outcome(&lab.attempt(url, LIMIT, network.media))),
            };
            report.tried(url, outcome, true);
        }
        lab.try_blocked(&mut led, &blocked, report);
        if network.also.contains(&Also::NoWayWithoutRelay)
            && let Some(other) = other.as_mut()
        {
            also::no_way_without_relay(&lab, &mut led, other, report);
        }
    }
    for also in network.also {
        also.try_it(&lab, report);
    }
    if let Some(proxy) = net.proxy.as_ref().filter(|_| !report.problems.is_empty()) {
        report.problem(format!("the proxy says:\n{}", proxy.said()));
    }
    report.cells.sort_by_key(|cell| cell.url.map_or((1, None), |url| (0, Some(url))));
}

impl Lab<'_> {
    /// Starts a browser on this machine, with the lab's page open.
    pub(super) fn start_browser(&self, host: &Host, flags: &[&str]) -> Led {
        let pages = Pages::serve(host, PAGE);
        let mut arguments = vec![
            // A sound that nobody need allow.
            "--use-fake-device-for-media-stream".to_owned(),
            "--use-fake-ui-for-media-stream".to_owned(),
        ];
        arguments.extend(flags.iter().map(ToString::to_string));
        if let Way::Proxy(_) = self.network.way {
            arguments.push(format!("--proxy-server=http://{PROXY}"));
        }
        static HOMES: AtomicU32 = AtomicU32::new(0);
        let home = host.private().join(format!("browser-{}", HOMES.fetch_add(1, Ordering::Relaxed)));
        host.enter(|| std::fs::create_dir(&home)).expect("a folder in memory");
        let authority = if self.network.way == Way::Proxy(Proxy::Intercepting) {
            &self.net.pki.company
        } else {
            &self.net.pki.authority
        };
        trust(host, &home.display().to_string(), authority);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let start = |program| host.command(program);
        let mut browser = Browser::with_profile(start, &home, &arguments);
        browser.open(ORIGIN);
        Led { browser, _pages: pages }
    }

    /// The promise of an attempt, as the page has it.
    pub(super) fn attempt(&self, url: Url, limit: u64, media: bool) -> String {
        let mut options = json!({ "messages": MESSAGES, "limit": limit });
        if url.is_web_socket() {
            let credentials = json!({ "username": USER, "credential": PASSWORD });
            let peer = self.net.elsewhere.at(PEER).to_string();
            let written = &url.written()[0];
            return format!("webSocket({}, {credentials}, {}, {options})", json!(written), json!(peer));
        }
        options["media"] = media.into();
        format!("call({}, {options})", url.ice_servers())
    }

    /// All that must not connect, at once: each is given time.
    fn try_blocked(&self, led: &mut Led, urls: &[Url], report: &mut Report) {
        if urls.is_empty() {
            return;
        }
        let mut all = String::from("Promise.all([");
        for &url in urls {
            let _ = write!(all, "{}, ", self.attempt(url, BLOCKED, false));
        }
        match led.browser.outcome(&format!("{all}])")) {
            Ok(results) => {
                for (&url, result) in urls.iter().zip(results.as_array().expect("a list")) {
                    report.tried(url, outcome(Ok(result.clone())), false);
                }
            }
            Err(e) => report.problem(format!("what must not connect was not tried: {e}")),
        }
    }

    /// A call of two browsers, whose descriptions the lab carries from one to the other.
    pub(super) fn call_between(&self, one: &mut Led, other: &mut Led, url: Url) -> Outcome {
        outcome(carry(one, other, &url.ice_servers(), "relay", LIMIT))
    }

    /// Loads a page through a proxy that asks who is there.
    fn log_in(&self, led: &mut Led, report: &mut Report) {
        led.browser.log_in_to_proxies(PROXY_USER, PROXY_PASSWORD);
        let page = format!("http://{NAME}/");
        if !self.subject.has_pages() {
            // The proxy's own page of an error has to do: for that too one has to log in.
            led.browser.try_open(&page);
        } else if let Some(error) = led.browser.try_open(&page) {
            report.problem(format!("{page} through the proxy: {error}"));
        }
        led.browser.open(ORIGIN);
    }
}

/// Makes a call of two browsers; `policy` is the ICE transport policy.
pub(super) fn carry(
    one: &mut Led,
    other: &mut Led,
    servers: &Value,
    policy: &str,
    limit: u64,
) -> Result<Value, String> {
    const GATHERING: u64 = 3_000;
    let options = json!({ "policy": policy });
    let offer = one.browser.outcome(&format!("offer({servers}, {options}, {GATHERING})"))?;
    let description = &offer["description"];
    let answer = format!("answer({servers}, {options}, {description}, {GATHERING})");
    let answer = other.browser.outcome(&answer)?;
    one.browser.outcome(&format!("accept({})", answer["description"]))?;
    let mut result = one.browser.outcome(&format!("finish({MESSAGES}, {limit})"))?;
    for browser in [one, other] {
        browser.browser.evaluate("hangUp()");
    }
    if let Some(ms) = result["ms"].as_u64() {
        let gathering: u64 = [&offer, &answer].iter().filter_map(|end| end["ms"].as_u64()).sum();
        result["ms"] = (gathering + ms).into();
    }
    Ok(result)
}

/// What the page tells of an attempt.
pub(super) fn outcome(result: Result<Value, String>) -> Outcome {
    let result = match result {
        Ok(result) => result,
        Err(error) => return Outcome::Failed(error),
    };
    if let Some(error) = result["error"].as_str() {
        return Outcome::Failed(error.to_owned());
    }
    let number = |field: &str| result[field].as_u64();
    let relayed =
        result.get("local").is_none_or(|_| result["local"] == "relay" && result["remote"] == "relay");
    match (result["by"].as_str(), number("ms"), number("echoMs"), number("messages")) {
        (Some(by), Some(ms), Some(echo_ms), Some(MESSAGES)) if relayed => {
            Outcome::Connected { by: by.to_owned(), ms, echo_ms }
        }
        _ => Outcome::Failed(format!("the page tells {result}")),
    }
}

/// Puts a certificate authority where Chromium looks for its user's own: NSS' database in the home.
fn trust(host: &Host, home: &str, authority: &str) {
    let file = host.keep("trusted.pem", authority);
    let database = format!("{home}/.pki/nssdb");
    host.run("mkdir", &format!("-p {database}"));
    let certutil = |arguments: &str| {
        let mut command: Command = host.command("certutil");
        let output = command.args(["-d", &format!("sql:{database}")]).args(arguments.split(' ')).output();
        let output = output.expect("certutil starts: apt-get install libnss3-tools");
        assert!(output.status.success(), "certutil: {}", String::from_utf8_lossy(&output.stderr));
    };
    certutil("-N --empty-password");
    certutil(&format!("-A -t C,, -n lab -i {}", file.display()));
}
