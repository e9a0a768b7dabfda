//! Firefox: a call between two ends in one page, by every transport that it has to a server, and the test page.
//!
//! What to know of it: it tries TLS only where the URL has a name and not an address. Of a name with addresses
//! of one family it reports an error for the other. And a page that may not use a camera gathers from the address of the default
//! route or, where there is none as here, from the one that leads to the page's server: a page of the loopback would find no way.

use std::time::Duration;

use relay_common::reason::Reason;
use serde_json::json;
use turnpike_tests::browser::{FIREFOX, Firefox};
use turnpike_tests::lab::{self, Folder, OneNic, PASSWORD, Path, Server, ServerOptions, USER};

/// What the browser and the certificate call the server.
const NAME: &str = "turn.test";

/// Nobody listens there.
const CLOSED: u16 = 4433;

/// A server with ports for everything, and the browser on another machine.
struct Scene {
    net: OneNic,
    server: Server,
    browser: Firefox,
    /// The certificate's, which the server looks at again.
    _folder: Folder,
}

impl Scene {
    /// `None` when the test is to be skipped.
    fn new(datapath: &'static str) -> Option<Self> {
        if lab::skipped()
            || lab::lacks(FIREFOX, "firefox-esr")
            || lab::lacks("/usr/bin/certutil", "libnss3-tools")
        {
            return None;
        }
        let (net, folder) = (OneNic::dual_stack(), Folder::new());
        folder.certificate(&[&format!("DNS:{NAME}")]);
        let address = net.server.address();
        let settings = format!(
            "ice = {{ urls = [
                'turn:{NAME}:3478?transport=udp',
                'turn:{NAME}:80?transport=tcp',
                'turn:{address}:{CLOSED}?transport=tcp',
                'turns:{NAME}:443?transport=tcp',
                'stun:{NAME}:3478',
                'wss://{NAME}/turn',
            ] }}
            test-page = {{ enabled = true }}"
        );
        let options = ServerOptions::new(datapath)
            .listen_on(&net.server.over_ipv6())
            .relay_from(address)
            .flag("--config", folder.write("turnpike.toml", &settings))
            .flag("--auth-secret", "north")
            .flag("--listen", format!("http://{address}"))
            .flag("--listen", format!("https://{address}"))
            .flag("--cert", folder.path("cert.pem"))
            .flag("--key", folder.path("key.pem"));
        let server = Server::start(&net.server, &options);
        let browser = Firefox::start(&net.client, address, &folder.path("ca.pem"));
        Some(Self { net, server, browser, _folder: folder })
    }

    fn call(&mut self, url: &str, transport: &str) {
        let credentials = json!({ "urls": url, "username": USER, "credential": PASSWORD });
        let script = include_str!("firefox_call.js").trim_end();
        let result = self.browser.evaluate(&format!("{script}({credentials})"));
        assert_eq!(result["messages"], json!([100, 100]), "{url}: {result}");
        let side = json!(["relay", transport, self.net.server.address()]);
        assert_eq!(result["sides"], json!([side, side]), "{url}: {result}");
        println!("{url}: connected after {} ms", result["connectedMs"]);
    }

    /// Opens the test page, and gives `[URL, state, reason]` of each row and the verdict.
    fn test_page(&mut self) -> (Vec<[String; 3]>, String) {
        self.browser.open(&format!("https://{NAME}/test"));
        self.browser.wait_for("document.documentElement.dataset.state == 'done'", Duration::from_secs(25));
        let rows = self.browser.evaluate(
            "[...document.querySelectorAll('li')].map(row => [row.dataset.url, row.dataset.state, \
             row.querySelector('.why').textContent + (row.querySelector('.detail')?.textContent ?? '')])",
        );
        let rows: Vec<[String; 3]> = serde_json::from_value(rows).expect("three texts a row");
        println!("{rows:#?}");
        let verdict = self.browser.evaluate("document.getElementById('verdict').textContent");
        (rows, verdict.as_str().expect("a text").to_owned())
    }

    fn nothing_is_left(&self) {
        lab::wait_for("the end of all allocations", || {
            let status = self.server.status();
            let none = [&status["allocations"]["active"], &status["bindings"]["active"]];
            none.iter().all(|active| **active == 0).then_some(())
        });
    }
}

fn states(rows: &[[String; 3]]) -> Vec<&str> {
    rows.iter().map(|[_, state, _]| state.as_str()).collect()
}

#[test]
fn calls_by_udp_tcp_and_tls() {
    let Some(mut scene) = Scene::new("xdp") else { return };
    // A page of the server's: see above.
    scene.browser.open(&format!("https://{NAME}/"));
    for (server, packets) in [(scene.net.server.clone(), 150), (scene.net.server.over_ipv6(), 300)] {
        scene.call(&format!("turn:{}?transport=udp", server.at(3478)), "udp");
        let counters = scene.server.counters();
        assert!(counters.of(Path::Xdp, Reason::RelayToRelay) > packets, "{counters:?}");
    }
    scene.call(&format!("turn:{NAME}:80?transport=tcp"), "tcp");
    scene.call(&format!("turns:{NAME}:443?transport=tcp"), "tls");
    scene.nothing_is_left();
}

#[test]
fn the_test_page_tells_what_works_with_and_without_udp() {
    let Some(mut scene) = Scene::new("userspace") else { return };
    let (rows, verdict) = scene.test_page();
    // UDP, TCP, TCP where nobody listens, TLS, the WebSocket, STUN.
    assert_eq!(states(&rows), ["good", "good", "bad", "good", "good", "good"]);
    assert!(rows[2][2].contains("nothing listens there") && rows[2][2].contains("701"), "{rows:?}");
    assert!(rows[5][2].contains(&scene.net.client.address().to_string()), "{rows:?}");
    assert!(verdict.contains("Calls will work from here, by UDP on port 3478."), "{verdict}");
    scene.nothing_is_left();

    let client = scene.net.client.clone();
    client.run("nft", "add table inet f");
    client.run("nft", "add chain inet f out { type filter hook output priority 0 ; }");
    client.run("nft", "add rule inet f out meta l4proto udp drop");
    let (rows, verdict) = scene.test_page();
    assert_eq!(states(&rows), ["bad", "good", "bad", "good", "good", "bad"]);
    assert!(rows[0][2].starts_with("No answer: a firewall blocks this way"), "{rows:?}");
    assert!(verdict.contains("Calls will work from here, by TCP on port 80."), "{verdict}");
}
