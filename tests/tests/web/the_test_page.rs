//! `/test` in Chromium, against a running server.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use turnpike_tests::browser::{Browser, CHROMIUM};
use turnpike_tests::lab::{self, Folder, OneNic, Server, ServerOptions};

use crate::served;

const PAGES: u16 = 8080;
const WEB_SOCKETS: u16 = 8081;
/// Nobody listens there.
const CLOSED: u16 = 4433;

/// A server with a test page, a way for WebSockets to it, and a browser on another machine.
struct Scene {
    net: OneNic,
    server: Server,
    browser: Browser,
}

impl Scene {
    /// The page hands out credentials made with this secret; the server's is `north`. `None` when the test is to be skipped.
    fn new(secret: &str, more: &str) -> Option<Self> {
        if lab::skipped() || lab::lacks(CHROMIUM, "chromium") {
            return None;
        }
        let net = OneNic::new();
        // The same rules for the page's visitors as where the server serves it.
        let options = ServerOptions::new("userspace").flag("--auth-secret", "north").switch("--test-page");
        let server = Server::start(&net.server, &options);
        let (host, turn) = (net.server.address(), server.address());
        let settings = format!(
            "listen = ['udp://{turn}']
            realm = 'lab.test'
            auth = {{ secrets = ['{secret}'] }}
            [ice]
            urls = [
                'turn:{host}:{port}?transport=udp',
                'turn:{host}:{CLOSED}?transport=tcp',
                'stun:{host}:{port}',
                'ws://{host}:{WEB_SOCKETS}/turn',
            ]
            [test-page]
            enabled = true
            {more}",
            port = turn.port()
        );
        served::pages(&net.server, PAGES, &settings);
        served::web_sockets(&net.server, WEB_SOCKETS, turn);
        let client = net.client.clone();
        let browser = Browser::start(|program| client.command(program), &[]);
        Some(Self { net, server, browser })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.net.server.at(PAGES))
    }

    fn wait_until_done(&mut self) {
        self.browser.wait_for("document.documentElement.dataset.state == 'done'", Duration::from_secs(25));
    }

    /// The rows of the test page, tried now.
    fn tried(&mut self) -> Vec<[String; 3]> {
        let url = self.url("/test");
        self.browser.open(&url);
        self.wait_until_done();
        let rows = self.rows();
        println!("{rows:#?}");
        rows
    }

    /// `[URL, state, reason]` of each row.
    fn rows(&mut self) -> Vec<[String; 3]> {
        let rows = self.browser.evaluate(
            "[...document.querySelectorAll('li')].map(row => [row.dataset.url, row.dataset.state, \
             row.querySelector('.why').textContent + (row.querySelector('.detail')?.textContent ?? '')])",
        );
        serde_json::from_value(rows).expect("three texts a row")
    }

    fn verdict(&mut self) -> (String, String) {
        let verdict = self.browser.evaluate("[$('verdict').className, $('verdict').textContent]");
        serde_json::from_value(verdict).expect("two texts")
    }
}

fn states(rows: &[[String; 3]]) -> Vec<&str> {
    rows.iter().map(|[_, state, _]| state.as_str()).collect()
}

#[test]
fn a_way_that_works_is_green_and_one_that_does_not_is_red_with_the_reason() {
    let Some(mut scene) = Scene::new("north", "") else { return };
    let rows = scene.tried();
    // UDP, TCP where nobody listens, the WebSocket, STUN.
    assert_eq!(states(&rows), ["good", "bad", "good", "good"]);
    assert!(rows[0][0].ends_with("3478?transport=udp") && rows[0][2].starts_with("Works."), "{rows:?}");
    assert!(rows[1][2].contains("nothing listens there") && rows[1][2].contains("701"), "{rows:?}");
    assert!(rows[2][0].starts_with("ws://") && rows[2][2].starts_with("Works"), "{rows:?}");
    assert!(rows[3][2].contains(&scene.net.client.address().to_string()), "{rows:?}");
    let (class, text) = scene.verdict();
    assert_eq!(class, "good");
    assert!(text.contains("Calls will work from here, by UDP on port 3478."), "{text}");
    let times = scene.browser.evaluate("[...document.querySelectorAll('.time')].map(t => t.textContent)");
    for time in times.as_array().expect("a list") {
        assert!(time.as_str().is_some_and(|time| time.ends_with(" ms")), "{times}");
    }

    // Without a mouse: the second button makes a text of it.
    scene.browser.evaluate("document.body.focus()");
    scene.browser.press("Tab");
    scene.browser.press("Tab");
    assert_eq!(scene.browser.evaluate("document.activeElement.id"), json!("copy"));
    scene.browser.press("Enter");
    scene.browser.wait_for("!$('report').hidden && $('copied').textContent", Duration::from_secs(5));
    let report = scene.browser.evaluate("$('report').value");
    let report = report.as_str().expect("a text");
    for part in ["Calls will work from here", "OK ", "FAILED", "?transport=udp", "701", "Browser  Mozilla/"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    // The page leaves nothing at the server.
    lab::wait_for("the end of the page's allocations", || {
        (scene.server.status()["allocations"]["active"] == 0).then_some(())
    });
    pictures(&mut scene.browser, "test-page");
}

#[test]
fn who_does_not_know_the_key_is_asked_for_it_and_credentials_that_fail_are_named() {
    // The server has another secret: it believes none of the page's credentials.
    let Some(mut scene) = Scene::new("south", "key = 'open-sesame!!'") else { return };
    let url = scene.url("/test");
    scene.browser.open(&url);
    scene.wait_until_done();
    assert_eq!(scene.rows(), [] as [[String; 3]; 0]);
    assert_eq!(scene.browser.evaluate("document.activeElement.id"), json!("key"));
    pictures(&mut scene.browser, "test-page-key");
    for (key, asks) in [("wrong", true), ("open-sesame!!", false)] {
        scene.browser.evaluate(&format!("$('key').value = '{key}'; $('key').focus()"));
        scene.browser.press("Enter");
        scene.wait_until_done();
        assert_eq!(scene.browser.evaluate("!$('ask').hidden"), Value::Bool(asks), "{key}");
    }
    let rows = scene.rows();
    println!("{rows:#?}");
    for [url, state, why] in &rows {
        let is_stun = url.starts_with("stun");
        assert_eq!(state, if is_stun { "good" } else { "bad" }, "{rows:?}");
        if !is_stun && !url.contains(&CLOSED.to_string()) {
            assert!(why.contains("refused the credentials") && why.contains("401"), "{rows:?}");
        }
    }
    let (class, text) = scene.verdict();
    assert_eq!(class, "bad");
    assert!(text.contains("Calls will not work now.") && text.contains("not to blame"), "{text}");
    pictures(&mut scene.browser, "test-page-bad");
}

/// What most firewalls do that block UDP: no answer of any kind.
#[test]
fn behind_a_firewall_that_drops_udp_the_page_says_so_and_what_is_left() {
    let Some(mut scene) = Scene::new("north", "") else { return };
    let client = scene.net.client.clone();
    client.run("nft", "add table inet f");
    client.run("nft", "add chain inet f out { type filter hook output priority 0 ; }");
    client.run("nft", "add rule inet f out meta l4proto udp drop");
    let rows = scene.tried();
    assert_eq!(states(&rows), ["bad", "bad", "good", "bad"]);
    assert!(rows[0][2].starts_with("No answer: a firewall blocks this way"), "{rows:?}");
    let (class, text) = scene.verdict();
    assert_eq!(class, "bad");
    assert!(text.contains("Calls in a browser will not work") && text.contains("WebSockets"), "{text}");
}

/// The relayed ports are blocked, by the server's own firewall most likely.
#[test]
fn where_the_server_gives_addresses_and_no_data_comes_the_page_says_so() {
    let Some(mut scene) = Scene::new("north", "") else { return };
    let server = scene.net.server.clone();
    server.run("nft", "add table inet f");
    server.run("nft", "add chain inet f in { type filter hook input priority 0 ; }");
    server.run("nft", "add rule inet f in udp dport 50000-50099 drop");
    let rows = scene.tried();
    assert_eq!(states(&rows), ["bad", "bad", "good", "good"]);
    assert!(rows[0][2].contains("its relayed ports are blocked at the server"), "{rows:?}");
    let (class, text) = scene.verdict();
    assert_eq!(class, "bad");
    assert!(text.contains("Calls will not work now.") && text.contains("whoever runs the server"), "{text}");
}

/// The page of a server that lists the pages of others is let in by it.
#[test]
fn a_list_of_origins_does_not_make_the_page_call_its_own_websocket_broken() {
    if lab::skipped() || lab::lacks(CHROMIUM, "chromium") {
        return;
    }
    let (net, folder) = (OneNic::new(), Folder::new());
    let config = format!(
        "ice = {{ host = '{}' }}\ntest-page = {{ enabled = true }}\n\
         http = {{ websocket-origins = ['https://app.example.org'] }}\n",
        net.server.address()
    );
    let options = ServerOptions::new("userspace")
        .flag("--config", folder.write("turnpike.toml", &config))
        .flag("--auth-secret", "north")
        .flag("--listen", format!("http://{}", net.server.at(PAGES)));
    let server = Server::start(&net.server, &options);
    let client = net.client.clone();
    let browser = Browser::start(|program| client.command(program), &[]);
    let mut scene = Scene { net, server, browser };
    let rows = scene.tried();
    assert!(rows.iter().any(|[url, ..]| url.starts_with("ws://")), "{rows:?}");
    assert!(rows.iter().all(|[_, state, _]| state == "good"), "{rows:?}");
}

/// Browsers do not tell a page that it was 403.
#[test]
fn a_websocket_that_is_refused_may_be_so_by_a_list_of_origins() {
    let Some(mut scene) = Scene::new("north", "") else { return };
    let client = scene.net.client.clone();
    client.run("nft", "add table inet f");
    client.run("nft", "add chain inet f out { type filter hook output priority 0 ; }");
    client.run("nft", &format!("add rule inet f out tcp dport {WEB_SOCKETS} reject with tcp reset"));
    let rows = scene.tried();
    let url = scene.url("");
    let origin = url.as_str();
    let why = format!("the server’s list of origins (websocket-origins) lacks this page: {origin}.");
    assert!(rows[2][0].starts_with("ws://") && rows[2][1] == "bad" && rows[2][2].contains(&why), "{rows:?}");
}

/// Pictures of the page as people see it, into the folder that `TURNPIKE_PICTURES` names: for the documents, and for who changes
/// the page.
fn pictures(browser: &mut Browser, page: &str) {
    let Some(folder) = std::env::var_os("TURNPIKE_PICTURES").map(PathBuf::from) else { return };
    browser
        .evaluate("$('report').hidden = true; $('copied').textContent = ''; document.activeElement.blur()");
    for (size, width, height, scheme) in [("desktop", 960, 600, "light"), ("phone", 375, 700, "dark")] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        browser.resize(width, height, 1.0);
        std::fs::write(folder.join(format!("{page}-{size}.png")), browser.screenshot()).expect("a folder");
    }
}
