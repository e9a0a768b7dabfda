//! Requests that are not answered: JSON that says what to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request is not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    message: String,
    /// Seconds, where waiting helps.
    retry_after: HeaderValue,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    message: &'a str,
}

/// What a refused client of too many is told to wait. The buckets fill within a second or so.
const SOON: HeaderValue = HeaderValue::from_static("2");

/// A drain lasts as long as calls do; somebody may undo it at any time.
const WHILE_DRAINING: HeaderValue = HeaderValue::from_static("60");

impl Refusal {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), retry_after: SOON }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn no_key() -> Self {
        let message = "send the key of a tenant: Authorization: Bearer KEY";
        Self::new(StatusCode::UNAUTHORIZED, "key_missing", message)
    }

    pub(super) fn wrong_key() -> Self {
        let message = "this key is not known here: ask the operator of this server for another one";
        Self::new(StatusCode::UNAUTHORIZED, "key_unknown", message)
    }

    pub(super) fn origin() -> Self {
        let message = "web pages of this origin may not ask: the operator lists it in the tenant's origins";
        Self::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
    }

    pub(super) fn method(allowed: &str) -> Self {
        let message = format!("ask by another method: {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(super) fn slow() -> Self {
        let message = "the body did not arrive in time: send it at once";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
    }

    pub(super) fn large(most: usize) -> Self {
        let message = format!("the body is too large: {most} bytes are the most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(super) fn media_type() -> Self {
        let message = "say that the body is JSON: Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message)
    }

    pub(super) fn too_many(of: &str) -> Self {
        let message =
            format!("too many requests of this {of}: wait, and reuse credentials until they expire");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    }

    pub(super) fn busy() -> Self {
        let message = "too many requests at once: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(super) fn draining() -> Self {
        let message = "this server is being drained and takes no new calls: ask another one, or later";
        let retry_after = WHILE_DRAINING;
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message) }
    }

    pub(super) fn not_served(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_served", format!("{what} is not configured on this server"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, error, message, retry_after } = self;
        let mut response = (status, Json(Body { error, message: &message })).into_response();
        let headers = response.headers_mut();
        match status {
            // RFC 9110 section 11.6.1: a 401 MUST have a challenge.
            StatusCode::UNAUTHORIZED => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"turnpike\""));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, retry_after);
            }
            // What is left of the body is not worth waiting for.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
