//! The opening handshake of WebSocket (RFC 6455 section 4.2), for TURN at `/turn`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use tungstenite::handshake::derive_accept_key;

use super::counts::Outcome;
use super::desk::{Desk, Rules};
use super::http::{Guest, Stream};
use super::reception::hand_over;
use crate::config::Origin;
use crate::net::Framing;

/// Where it is.
pub(crate) const PATH: &str = "/turn";

/// The subprotocol (RFC 6455 section 1.9) of TURN messages in binary frames.
const SUBPROTOCOL: &str = "turn";

/// Why there is no WebSocket for a request.
type Refusal = (StatusCode, [(HeaderName, &'static str); 2], &'static str);

/// Answers the handshake, and gives the connection to a shard once the answer is out.
pub(super) fn upgrade(desk: Arc<Desk>, rules: &Rules, guest: Arc<Guest>, mut request: Request) -> Response {
    let key = match check(&request, &rules.streams.websocket_origins) {
        Ok(key) => key,
        Err(refusal) => return refusal.into_response(),
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // The client has gone.
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = upgraded.downcast::<Stream>() else { return };
        let Some(ticket) = guest.take_ticket() else { return };
        let conn = TokioIo::into_inner(parts.io).into_inner();
        let outcome = if conn.is_tls() { Outcome::WebSocketTls } else { Outcome::WebSocket };
        hand_over(&desk, conn, &parts.read_buf, Framing::WebSocket, guest.ends, ticket, outcome).await;
    });
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, &accept),
        (header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

/// The key of a handshake that is right.
fn check<B>(request: &axum::http::Request<B>, origins: &[Origin]) -> Result<String, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "this is for GET of HTTP/1.1\n"));
    }
    // Section 4.2.1: both are lists, and their words in any case.
    if !has_word(headers, &header::UPGRADE, "websocket") || !has_word(headers, &header::CONNECTION, "upgrade")
    {
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, "this is TURN over WebSocket\n"));
    }
    // Section 4.2.2 item 4.
    if header(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, "this is version 13 of WebSocket\n"));
    }
    // Section 10.2: only browsers send it, and only they have somebody to protect.
    if let Some(origin) = headers.get(header::ORIGIN)
        && !origins.is_empty()
        && !origins.iter().any(|known| known.as_str().as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    {
        return Err(refuse(StatusCode::FORBIDDEN, "pages of this origin may not come here\n"));
    }
    let Some(key) = header(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key)) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is no 16 bytes in base64\n"));
    };
    if !has_exact_word(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(refuse(StatusCode::BAD_REQUEST, "the subprotocol here is turn\n"));
    }
    Ok(key.into())
}

/// A refusal says what would be right (RFC 9110 section 15.5.22, RFC 6455 section 4.4).
fn refuse(status: StatusCode, why: &'static str) -> Refusal {
    (status, [(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")], why)
}

/// The value of a header that is there once.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first.trim())
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|list| list.split(',')).map(str::trim)
}

pub(super) fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

fn has_exact_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found == word)
}

/// Section 4.2.1 item 5: 16 bytes in base64, which are 22 characters and two signs of equality.
fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    bytes.len() == 24 && bytes.ends_with(b"==") && bytes[..22].iter().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake of RFC 6455 section 1.3, with a header in place of its own, or without it.
    fn checked(name: &str, value: Option<&str>, origins: &[&str]) -> Result<String, u16> {
        let mut request = axum::http::Request::get("/turn").version(Version::HTTP_11);
        for (own, its) in [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("origin", "http://example.com"),
            ("sec-websocket-protocol", "chat, turn"),
            ("sec-websocket-version", "13"),
        ] {
            match (own == name, value) {
                (true, Some(other)) => request = request.header(own, other),
                (true, None) => {}
                (false, _) => request = request.header(own, its),
            }
        }
        let origins: Vec<Origin> = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        check(&request.body(()).unwrap(), &origins).map_err(|(status, ..)| status.as_u16())
    }

    #[test]
    fn the_handshake_of_the_rfc_is_answered_with_its_key() {
        let key = checked("", None, &[]).unwrap();
        assert_eq!(derive_accept_key(key.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_handshake_is_refused_with_what_would_be_right() {
        for (name, value, expected) in [
            ("upgrade", None, 426),
            ("upgrade", Some("h2c"), 426),
            ("upgrade", Some("h2c, WebSocket"), 200),
            ("connection", Some("keep-alive"), 426),
            ("sec-websocket-version", None, 426),
            ("sec-websocket-version", Some("8"), 426),
            ("sec-websocket-key", None, 400),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ="), 400),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==="), 400),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25j\u{e9}=="), 400),
            ("sec-websocket-protocol", None, 400),
            ("sec-websocket-protocol", Some("TURN"), 400),
            ("sec-websocket-protocol", Some("turn"), 200),
        ] {
            let told = checked(name, value, &[]).map_or_else(|status| status, |_| 200);
            assert_eq!(told, expected, "{name}: {value:?}");
        }
        let post = axum::http::Request::post("/turn").body(()).unwrap();
        assert_eq!(check(&post, &[]).unwrap_err().0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn pages_of_other_origins_are_refused_if_there_is_a_list() {
        let list = ["https://one.example", "http://example.com"];
        assert!(checked("", None, &list).is_ok());
        assert_eq!(checked("", None, &list[..1]), Err(403));
        assert_eq!(checked("origin", Some("http://example.com.evil"), &list), Err(403));
        assert_eq!(checked("origin", Some("null"), &list), Err(403));
        // No browser.
        assert!(checked("origin", None, &list).is_ok());
        assert!(checked("origin", Some("null"), &[]).is_ok());
    }
}
