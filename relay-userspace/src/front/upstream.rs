//! Requests that a web server behind us answers.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse as _, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::counts::Kind;
use super::http::{Guest, Visitor};
use super::patient::Patient;
use super::websocket::has_word;
use crate::config::Endpoint;
use crate::net::leave_reserve;
use crate::throttle::Throttle;
use crate::time::Timestamp;

/// How long the web server may take to let us in.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long it may take to begin an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Headers that are for one connection (RFC 9110 section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A connection to another server.
pub(super) async fn connect(to: &Endpoint) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((to.host.as_str(), to.port));
    let stream = timeout(CONNECT_TIME, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
    leave_reserve(&stream)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Has a request answered there, body and all as they come; a protocol that both change to goes through as it is.
pub(super) async fn pass(to: Endpoint, mut request: Request) -> Response {
    let Some(guest) = request.extensions_mut().remove::<Arc<Guest>>() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if request.method() == Method::CONNECT {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let wanted = hyper::upgrade::on(&mut request);
    let Some(request) = rewritten(request, guest.visitor()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match timeout(ANSWER_TIME, exchange(&to, request)).await {
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "the web server does not answer\n").into_response(),
        Ok(Err(error)) => {
            complain(&to, &*error);
            (StatusCode::BAD_GATEWAY, "the web server cannot be reached\n").into_response()
        }
        Ok(Ok(mut response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let granted = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                let (Ok(client), Ok(server)) = (wanted.await, granted.await) else { return };
                let mut ticket = guest.take_ticket();
                if let Some(ticket) = &mut ticket {
                    ticket.is(Kind::PassedThrough);
                }
                // Either end may go as it likes; with both there is an end of patience, the client's has one already.
                let mut client = TokioIo::new(client);
                let mut server = Patient::new(TokioIo::new(server), guest.idle_time);
                let _ = copy_bidirectional(&mut client, &mut server).await;
                drop(ticket);
            });
            response
        }
        Ok(Ok(mut response)) => {
            remove_hop_by_hop(response.headers_mut());
            // RFC 9110 section 6.2: the version is that of this connection, not of the one behind. What the client speaks is known
            // where it is written.
            *response.version_mut() = Version::HTTP_11;
            response
        }
    }
}

/// Says now and then that another server, to which clients are led, cannot be reached.
pub(super) fn complain(to: &Endpoint, error: &(dyn std::error::Error + Send + Sync)) {
    static TOLD: Mutex<Throttle> = Mutex::new(Throttle::new(1));
    let told = TOLD.lock().unwrap_or_else(PoisonError::into_inner).pass(Timestamp::now());
    if let Some(suppressed) = told {
        tracing::warn!(%to, %error, suppressed, "a server behind this one does not answer");
    }
}

async fn exchange(
    to: &Endpoint,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let stream = connect(to).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?.map(Body::new))
}

/// The request as the web server is to see it: for the host that the client meant, whatever the web server is called here.
fn rewritten(request: Request, visitor: Visitor) -> Option<Request> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    let headers = &mut parts.headers;
    // Not to h2c (RFC 7540 section 3.2, which RFC 9113 has taken back): requests would follow that nobody rewrites.
    let asks =
        has_word(headers, &header::CONNECTION, "upgrade") && !has_word(headers, &header::UPGRADE, "h2c");
    let upgrade = headers.get(header::UPGRADE).filter(|_| asks).cloned();
    remove_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    // RFC 9112 section 2.3: our own version. A request that names no host, which only one of HTTP/1.0 may, stays one of that: web
    // servers have an answer to it, and refuse an empty name.
    let names_host = headers.contains_key(header::HOST);
    parts.version = if names_host { Version::HTTP_11 } else { Version::HTTP_10 };
    // What the client wrote there is not to be trusted, by whatever name a web server looks for it.
    let told: Vec<HeaderName> = headers.keys().filter(|name| tells_who(name.as_str())).cloned().collect();
    told.iter().for_each(|name| _ = headers.remove(name));
    let client: IpAddr = visitor.client.ip().to_canonical();
    headers.insert(FORWARDED_FOR, HeaderValue::try_from(client.to_string()).ok()?);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if visitor.secure { "https" } else { "http" }));
    // What is of this side only must not be of use there.
    parts.extensions.clear();
    Some(Request::from_parts(parts, body))
}

/// Whether a header is one by which proxies say who the client is. Some servers take `_` for `-`.
fn tells_who(name: &str) -> bool {
    let name = name.replace('_', "-");
    let names = [
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "cf-connecting-ip",
    ];
    name.starts_with("x-forwarded-") || names.contains(&&*name)
}

/// `Host` is for all recipients, so that no client can have it removed (RFC 9110 section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::HOST)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(headers: &[(&str, &str)]) -> HeaderMap {
        let mut request = axum::http::Request::get("http://elsewhere.test/a?b=c");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let visitor = Visitor {
            client: "[::ffff:192.0.2.1]:5".parse().unwrap(),
            listener: "10.0.0.2:443".parse().unwrap(),
            secure: true,
        };
        let request = request.body(Body::empty()).unwrap();
        let request = rewritten(request, visitor).unwrap();
        assert_eq!(request.uri(), "/a?b=c");
        request.headers().clone()
    }

    #[test]
    fn headers_of_one_connection_stay_there_and_the_client_cannot_write_who_it_is() {
        let headers = passed(&[
            ("host", "www.example.org"),
            ("connection", "close, X-Secret, Host"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded-host", "inside.example.org"),
            ("x-real-ip", "10.0.0.1"),
            ("true-client-ip", "10.0.0.1"),
            ("accept", "*/*"),
        ]);
        let mut there: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        there.sort();
        assert_eq!(
            there,
            [
                "accept: */*",
                "host: www.example.org",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-proto: https"
            ]
        );
    }

    /// What comes after the change is HTTP, and would not be rewritten.
    #[test]
    fn a_change_to_http_2_is_not_passed_on() {
        for protocol in ["h2c", "websocket, H2C"] {
            let asked = [("connection", "Upgrade"), ("upgrade", protocol), ("http2-settings", "AAMAAABk")];
            let headers = passed(&asked);
            for gone in ["connection", "upgrade", "http2-settings"] {
                assert!(!headers.contains_key(gone), "{protocol}: {gone}");
            }
        }
    }

    #[test]
    fn a_protocol_that_both_are_to_change_to_is_passed_on() {
        let headers = passed(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(
            (&headers["connection"], &headers["upgrade"]),
            (&HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"))
        );
    }
}
