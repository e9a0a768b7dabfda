//! For which host a request of HTTP is (RFC 9112 section 3.2).

use axum::http::uri::Authority;
use axum::http::{HeaderValue, Request, Version, header};

/// Settles which host a request is for: its header `Host` says so from then on, or is not there where nobody knows. Of a
/// request that has to be refused (400) it says what is wrong.
///
/// `server_name` is the one of SNI, for clients of HTTP/1.0 that say no other.
pub(super) fn settle<B>(request: &mut Request<B>, server_name: Option<&str>) -> Result<(), &'static str> {
    // RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
    // lacks a Host header field and to any request message that contains more than one Host header field line or a Host
    // header field with an invalid field value."
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, other) = (hosts.next(), hosts.next());
    if other.is_some() {
        return Err("there is more than one Host\n");
    }
    if host.is_none() && request.version() >= Version::HTTP_11 {
        return Err("there is no Host\n");
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err("Host is no name of a host\n");
    }
    let known = match request.uri().authority() {
        // Section 3.2.2: in absolute-form it is that of the target, whatever the header says.
        Some(target) if is_host(target.as_str().as_bytes()) => Some(target.as_str()),
        Some(_) => return Err("the target names no host\n"),
        None if host.is_some() => return Ok(()),
        // Section 3.3 lets one guess what an HTTP/1.0 client means that does not say it.
        None => server_name,
    };
    if let Some(host) = known.and_then(|name| HeaderValue::from_str(name).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(())
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), which may be empty. It has no user, as an authority may.
fn is_host(text: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(text) else { return text.is_empty() };
    let is_port =
        |rest: &str| rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let rest = authority.as_str().strip_prefix(authority.host());
    rest.is_some_and(|rest| rest.is_empty() || is_port(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host of a request, or the refusal.
    fn settled(
        version: Version,
        target: &str,
        hosts: &[&str],
        server_name: Option<&str>,
    ) -> Result<Option<String>, &'static str> {
        let mut request = Request::get(target).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        settle(&mut request, server_name)?;
        let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
        assert!(hosts.len() < 2, "{hosts:?}");
        Ok(hosts.first().map(|host| host.to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_request_of_http_1_1_says_once_and_rightly_which_host_it_is_for() {
        for host in ["www.test", "www.test:8443", "192.0.2.1", "[2001:db8::1]:80", "under_score.test", ""] {
            assert_eq!(settled(Version::HTTP_11, "/", &[host], None), Ok(Some(host.into())));
        }
        for version in [Version::HTTP_10, Version::HTTP_11] {
            for hosts in [
                &["www.test", "other.test"][..],
                &["www.test", "www.test"],
                &["www.test/path"],
                &["a b"],
                &["me@www.test"],
                &["www.test:port"],
            ] {
                assert!(settled(version, "/", hosts, Some("sni.test")).is_err(), "{hosts:?}");
            }
        }
        assert!(settled(Version::HTTP_11, "/", &[], Some("sni.test")).is_err());
        assert!(settled(Version::HTTP_11, "http://www.test/", &[], None).is_err());
    }

    #[test]
    fn the_host_of_an_absolute_target_is_the_one() {
        let absolute = "http://www.test:8080/a";
        for version in [Version::HTTP_10, Version::HTTP_11] {
            let host = settled(version, absolute, &["inside.test"], Some("sni.test"));
            assert_eq!(host, Ok(Some("www.test:8080".into())));
        }
        assert_eq!(settled(Version::HTTP_10, absolute, &[], None), Ok(Some("www.test:8080".into())));
        assert!(settled(Version::HTTP_11, "http://me@www.test/", &["www.test"], None).is_err());
    }

    #[test]
    fn a_client_of_http_1_0_means_the_server_that_its_hello_names() {
        assert_eq!(settled(Version::HTTP_10, "/", &[], Some("sni.test")), Ok(Some("sni.test".into())));
        assert_eq!(
            settled(Version::HTTP_10, "/", &["www.test"], Some("sni.test")),
            Ok(Some("www.test".into()))
        );
        assert_eq!(settled(Version::HTTP_10, "/", &[], None), Ok(None));
    }
}
