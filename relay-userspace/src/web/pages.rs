//! What people see who open the server's address in a browser.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::Web;
use crate::auth::base64;

const LANDING: &str = include_str!("landing.html");

/// What stands in the landing page where the test page is served.
const LINK: &str = r#"<p><a href="/test">Test whether calls work from here</a></p>"#;

pub(super) async fn landing(State(web): State<Arc<Web>>) -> Response {
    static PAGES: LazyLock<[Page; 2]> =
        LazyLock::new(|| ["", LINK].map(|link| Page::new(LANDING.replace("<!--link-->", link), "")));
    let [without, with] = &*PAGES;
    let page = if web.site().test_page.is_some() { with } else { without };
    page.answer()
}

pub(super) async fn no_icon() -> StatusCode {
    StatusCode::NO_CONTENT
}

pub(super) async fn nothing() -> Response {
    (StatusCode::NOT_FOUND, "There is nothing here.\n").into_response()
}

pub(super) async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "This page is for reading only.\n").into_response()
}

/// A page of one file with its style and script inside, and a policy that lets it have nothing else.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    policy: HeaderValue,
}

impl Page {
    /// `connect` are further sources that its script may connect to, beside this server.
    pub(super) fn new(text: String, connect: &str) -> Self {
        let inside = |tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>"))?;
            let (inside, _) = rest.split_once(&format!("</{tag}>"))?;
            Some(format!("'sha256-{}'", base64::encode(&Sha256::digest(inside))))
        };
        let none = || "'none'".to_owned();
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self' {connect}; img-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            inside("style").unwrap_or_else(none),
            inside("script").unwrap_or_else(none),
        );
        let policy = HeaderValue::try_from(policy).expect("hosts and hashes are plain text");
        Self { text, policy }
    }

    pub(super) fn answer(&self) -> Response {
        const HEADERS: [(HeaderName, &str); 3] = [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        let policy = [(header::CONTENT_SECURITY_POLICY, self.policy.clone())];
        (HEADERS, policy, Html(self.text.clone())).into_response()
    }
}
