//! What is tried in one network only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use serde_json::{Value, json};

use super::network::Also;
use super::proxy::{PROXY_PASSWORD, PROXY_USER};
use super::report::{Outcome, Report};
use super::scripted;
use super::subject::{ICE_KEY, ICE_LIFETIME, Running};
use super::topology::{NAME, PROXY};
use super::tries::{Lab, Led, carry, outcome};
use super::url::Url;
use crate::lab::{Host, Path, Process, TurnClient};

/// Ports to relay from, where there are four.
pub(super) const FOUR_PORTS: &str = "34568-34571";

/// How long a call may take that is to connect, and one that is not; in milliseconds.
const LIMIT: u64 = 15_000;
const BLOCKED: u64 = 4_000;

impl Also {
    /// Its name in the matrix.
    pub fn name(self) -> &'static str {
        match self {
            Also::StunBinding => "STUN Binding over UDP and TCP",
            Also::RelayedByXdp => "relayed by XDP",
            Also::NativePort53 => "turnutils_uclient, UDP and TCP 53",
            Also::BrowserPort53 => "browser with --explicitly-allowed-ports=53",
            Also::PageBesideCalls(_) => "curl, while a call connects",
            Also::NoWayWithoutRelay => "a call without a relay",
            Also::ColdProxy => "before a page was loaded",
            Also::InterceptedCertificate => "whose certificate curl sees",
            Also::RelayedFromTheListener => "the relayed address",
            Also::CredentialsFromAPage => "credentials fetched, used, fetched again",
            Also::FourPorts => "four allocations and a fifth",
            Also::PairsAndOneWayStreams => "a pair of ports, streams of 10 s one way",
            Also::Tunnel => "turnutils_uclient by turnpike tunnel",
        }
    }

    /// Does it.
    pub(super) fn try_it(self, lab: &Lab<'_>, report: &mut Report) {
        let outcome = match self {
            Also::StunBinding => timed(|| scripted::stun_binding(lab)),
            Also::RelayedByXdp => timed(|| relayed_by_xdp(lab)),
            Also::NativePort53 => timed(|| scripted::port_53(lab)),
            Also::PageBesideCalls(url) => timed(|| page_beside_calls(lab, url)),
            Also::ColdProxy => timed(|| cold_proxy(lab)),
            Also::InterceptedCertificate => timed(|| intercepted_certificate(lab)),
            Also::RelayedFromTheListener => timed(|| relayed_from_the_listener(lab)),
            Also::CredentialsFromAPage => timed(|| credentials_from_a_page(lab)),
            Also::FourPorts => timed(|| scripted::four_ports(lab)),
            Also::PairsAndOneWayStreams => timed(|| scripted::pairs_and_one_way_streams(lab)),
            Also::Tunnel => timed(|| scripted::tunnel(lab)),
            Also::BrowserPort53 => return browser_port_53(lab, report),
            // With the browsers of the calls.
            Also::NoWayWithoutRelay => return,
        };
        report.also(self.name(), outcome);
    }
}

/// What it gives, and after how long; what panics has failed.
fn timed(try_it: impl FnOnce() -> Result<String, String>) -> Outcome {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(try_it)).unwrap_or_else(|panic| Err(said(&*panic)));
    match result {
        Ok(what) => Outcome::Done { what, ms: start.elapsed().as_millis() as u64 },
        Err(why) => Outcome::Failed(why),
    }
}

/// The words of a panic.
pub(super) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

fn relayed_by_xdp(lab: &Lab<'_>) -> Result<String, String> {
    let Running::Turnpike(server) = lab.server else { return Err("this server has no XDP".to_owned()) };
    let packets = server.counters().of(Path::Xdp, Reason::RelayToRelay);
    // A hundred messages each way, and their packets pass two allocations.
    if packets < 100 { Err(format!("{packets} packets")) } else { Ok(format!("{packets} packets")) }
}

fn relayed_from_the_listener(lab: &Lab<'_>) -> Result<String, String> {
    let mut client = TurnClient::new(&lab.net.client, lab.net.server.at(3478));
    let relayed = client.allocate();
    client.end();
    let same = relayed.ip() == lab.net.server.address();
    if same { Ok(format!("{}, as the listener", relayed.ip())) } else { Err(relayed.to_string()) }
}

/// curl gets the page over and over while a call is made on the same port.
fn page_beside_calls(lab: &Lab<'_>, url: Url) -> Result<String, String> {
    const PAGES: usize = 50;
    let scheme = if url == Url::Tcp80 { "http" } else { "https" };
    let page = format!("{scheme}://{NAME}/");
    let mut led = lab.start_browser(&lab.net.client, &[]);
    let mut command = lab.net.client.command("curl");
    let authority = lab.net.client.keep("trusted.pem", &lab.net.pki.authority);
    command.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--no-keepalive"]);
    command.args(["--write-out", "\nstatus %{http_code} %{content_type}\n", "--cacert"]).arg(authority);
    command.args(vec![&page; PAGES]);
    let mut curl = Process::start(&mut command);
    let call = outcome(led.browser.outcome(&lab.attempt(url, LIMIT, false)));
    let (status, output) = curl.wait(Duration::from_secs(30));
    let pages = output.matches("status 200 text/html").count();
    let looks_right = output.to_ascii_lowercase().contains("<!doctype html>");
    match call {
        Outcome::Connected { by, ms, .. } if status.success() && pages == PAGES && looks_right => {
            Ok(format!("{PAGES} pages, call by {by} in {ms} ms"))
        }
        call => {
            let last: Vec<_> = output.lines().rev().filter(|line| !line.is_empty()).take(2).collect();
            Err(format!("{call:?}; curl ended with {status}, {pages} pages; at last: {last:?}"))
        }
    }
}

/// Without a relay, with STUN alone, the ends must not find each other: else there was no symmetric NAT.
pub(super) fn no_way_without_relay(lab: &Lab<'_>, one: &mut Led, other: &mut Led, report: &mut Report) {
    let servers = json!([{ "urls": format!("stun:{}", lab.net.server.at(3478)) }]);
    let outcome = match outcome(carry(one, other, &servers, "all", BLOCKED)) {
        Outcome::Failed(why) if why.contains("not in time") => {
            Outcome::Done { what: "does not connect".to_owned(), ms: BLOCKED }
        }
        otherwise => Outcome::Failed(format!("{otherwise:?}")),
    };
    report.also(Also::NoWayWithoutRelay.name(), outcome);
}

fn browser_port_53(lab: &Lab<'_>, report: &mut Report) {
    let mut led = lab.start_browser(&lab.net.client, &["--explicitly-allowed-ports=53"]);
    for url in [Url::Udp53, Url::Tcp53] {
        report.tried(url, outcome(led.browser.outcome(&lab.attempt(url, LIMIT, false))), true);
    }
}

/// A browser that has not met the proxy yet has no login for it, and ICE does not ask for one.
fn cold_proxy(lab: &Lab<'_>) -> Result<String, String> {
    let mut led = lab.start_browser(&lab.net.client, &[]);
    match outcome(led.browser.outcome(&lab.attempt(Url::Tls443, BLOCKED, false))) {
        Outcome::Failed(_) => Ok("tls 443 does not connect".to_owned()),
        otherwise => Err(format!("{otherwise:?}")),
    }
}

/// Whom the client has to trust for a page of the server's: the company, and not who signed the server's certificate.
fn intercepted_certificate(lab: &Lab<'_>) -> Result<String, String> {
    let pki = &lab.net.pki;
    let trusts = |authority: &str| curl_by_proxy(&lab.net.client, authority);
    match (trusts(&pki.company), trusts(&pki.authority)) {
        (Ok(()), Err(why)) if why.contains("certificate") => Ok("the proxy's".to_owned()),
        otherwise => Err(format!("trusting the proxy's, the server's: {otherwise:?}")),
    }
}

fn curl_by_proxy(client: &Host, authority: &str) -> Result<(), String> {
    let file = client.keep("trusted.pem", authority);
    let mut command = client.command("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--output", "/dev/null"]);
    command.args(["--proxy-user", &format!("{PROXY_USER}:{PROXY_PASSWORD}"), "--proxy"]);
    command.arg(format!("http://{PROXY}")).arg("--cacert").arg(file).arg(format!("https://{NAME}/"));
    let (status, output) = Process::start(&mut command).wait(Duration::from_secs(20));
    if status.success() { Ok(()) } else { Err(output) }
}

/// As a web application does: the page has the key here, because there is no backend that could keep it.
fn credentials_from_a_page(lab: &Lab<'_>) -> Result<String, String> {
    let mut led = lab.start_browser(&lab.net.client, &[]);
    let fetch = |led: &mut Led| {
        let answer = led.browser.outcome(&format!("iceServers('https://{NAME}/v1/ice', '{ICE_KEY}')"))?;
        Ok::<_, String>(answer["iceServers"].clone())
    };
    let call = |led: &mut Led, servers: &Value, limit| {
        let options = json!({ "messages": 100, "limit": limit });
        outcome(led.browser.outcome(&format!("call({servers}, {options})")))
    };
    let first = fetch(&mut led)?;
    let (by, ms) = match call(&mut led, &first, LIMIT) {
        Outcome::Connected { by, ms, .. } => (by, ms),
        otherwise => return Err(format!("{otherwise:?} with {first}")),
    };
    std::thread::sleep(Duration::from_secs(ICE_LIFETIME + 1));
    if let Outcome::Connected { .. } = call(&mut led, &first, BLOCKED) {
        return Err(format!("{first} still counts after {ICE_LIFETIME} s"));
    }
    let second = fetch(&mut led)?;
    match call(&mut led, &second, LIMIT) {
        Outcome::Connected { .. } => Ok(format!("by {by} in {ms} ms, expired, and again")),
        otherwise => Err(format!("{otherwise:?} with {second}")),
    }
}
