//! Requests that change something, or tell of users: who may make them.
//!
//! There is no password, so the address must do: changes are taken from this host only. What a browser on it can be
//! talked into by a page from elsewhere is kept out by three rules, each of which would do against today's browsers: a header
//! that no form can send, no `Origin` (all browsers send it along with POST and DELETE), and a `Host` that is no name, as a name
//! may lead here today and elsewhere tomorrow (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};

/// The header without which nothing is changed.
pub(crate) const HEADER: &str = "X-Turnpike";

/// The two ends of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// A request that may change something, or be told of users. To be the first argument of every handler that does.
#[derive(Debug)]
pub(super) struct Operator;

type Refusal = (StatusCode, &'static str);

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let ends = parts.extensions.get::<Ends>();
        if !ends.is_some_and(Ends::are_of_this_host) {
            return Err((StatusCode::FORBIDDEN, "this is for clients on this host only\n"));
        }
        check(&parts.headers)?;
        Ok(Self)
    }
}

impl Ends {
    /// Who has our own address is here: the handshake of TCP would not come to an end otherwise.
    fn are_of_this_host(&self) -> bool {
        let client = self.client.ip().to_canonical();
        client.is_loopback() || client == self.server.ip().to_canonical()
    }
}

fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "this is not for browsers\n"));
    }
    if !headers.contains_key(HEADER) {
        return Err((StatusCode::FORBIDDEN, "this needs the header X-Turnpike: 1\n"));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, other) = (hosts.next(), hosts.next());
    if other.is_some() || !host.and_then(|host| host.to_str().ok()).is_some_and(is_address) {
        return Err((StatusCode::FORBIDDEN, "Host must be localhost or an IP address\n"));
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "there is nothing to say in a body\n"));
    }
    Ok(())
}

fn is_address(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_hosts() {
        for host in [
            "localhost",
            "LOCALHOST:9641",
            "127.0.0.1",
            "127.0.0.1:9641",
            "[::1]",
            "[::1]:9641",
            "10.0.0.2:1",
        ] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9641",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "0x7f.1",
            "::1",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn this_host_is_the_loopback_and_whoever_has_the_servers_address() {
        let here = |client: &str, server: &str| {
            Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }.are_of_this_host()
        };
        assert!(here("127.0.0.1:5", "127.0.0.1:9641") && here("[::1]:5", "[::1]:9641"));
        assert!(here("10.0.0.2:5", "10.0.0.2:9641") && here("[::ffff:127.0.0.1]:5", "[::]:9641"));
        assert!(
            !here("10.0.0.3:5", "10.0.0.2:9641") && !here("[::ffff:10.0.0.3]:5", "[::ffff:10.0.0.2]:9641")
        );
    }
}
