//! Which web pages may ask, and how their browsers are told (the Fetch standard's CORS protocol).
//!
//! An origin is always named back and never `*`, and no cookies are asked for: the key in the request is what counts, and a
//! browser that is told nothing keeps the answer from the page.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use super::site::{Site, Tenant};

/// How long a browser may remember a preflight's answer, in seconds.
const MAX_AGE: &str = "600";

/// The web page that a request comes from, if it is from a browser. In lower case, as origins are in the settings.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::ORIGIN).cloned()
}

fn lists(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

impl Tenant {
    /// Whether a request from this page, or from no page, may be answered.
    pub(super) fn lets_ask(&self, origin: Option<&HeaderValue>) -> bool {
        origin.is_none_or(|origin| lists(&self.origins, origin))
    }
}

impl Site {
    /// Whether any tenant's pages are of this origin. A preflight brings no key, so it cannot be known whose it is.
    pub(super) fn knows(&self, origin: &HeaderValue) -> bool {
        self.tenants.iter().any(|tenant| lists(&tenant.origins, origin))
    }

    /// The answer to OPTIONS.
    pub(super) fn preflight(&self, headers: &HeaderMap, methods: &'static str) -> Response {
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match headers.get(header::ORIGIN) {
            Some(origin) if asks && !self.knows(origin) => Refusal::origin().into_response(),
            Some(_) if asks => {
                let allowed = [
                    (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
                    (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
                    (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
                ];
                (StatusCode::NO_CONTENT, allowed).into_response()
            }
            _ => (StatusCode::NO_CONTENT, [(header::ALLOW, methods)]).into_response(),
        }
    }
}

/// Lets the page read the answer, be it good or bad.
pub(super) fn let_read(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
}
