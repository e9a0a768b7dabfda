//! The browser itself: a page is opened, its expressions are evaluated, and where there is no page, that is told.

use serde_json::json;
use std::time::Duration;
use turnpike_tests::browser::{Browser, CHROMIUM};
use turnpike_tests::lab::{self, Namespace};

#[test]
fn a_page_is_opened_in_a_namespace_and_driven() {
    if lab::skipped() || lab::lacks(CHROMIUM, "chromium") {
        return;
    }
    let machine = Namespace::new();
    let mut browser = Browser::start(|program| machine.command(program), &[]);
    browser.open("data:text/html,<button onclick='document.title=123'>x</button>");
    assert_eq!(browser.evaluate("Promise.resolve({ a: [1, null] })"), json!({ "a": [1, null] }));
    browser.press("Tab");
    browser.press("Enter");
    browser.wait_for("document.title == '123'", Duration::from_secs(5));
    browser.resize(300, 200, 1.0);
    assert!(browser.screenshot().starts_with(b"\x89PNG"));
    // Nobody listens in this namespace.
    assert_eq!(browser.try_open("http://127.0.0.1:9/").as_deref(), Some("net::ERR_UNSAFE_PORT"));
    assert_eq!(browser.try_open("http://127.0.0.1:9999/").as_deref(), Some("net::ERR_CONNECTION_REFUSED"));
}
