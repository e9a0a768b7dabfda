//! Origins of web pages.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::values::{BadValue, refuse, split_port};

/// The origin of a web page (RFC 6454) in the form that browsers write it in, whatever form the operator wrote: lower case, an
/// IPv6 address as short as it can be, without the scheme's own port. So texts that are equal are the same origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

impl Origin {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Origin {
    /// The forms that clients write in an ORIGIN attribute: those that are no browser may have the scheme's own port in it.
    pub fn forms(&self) -> impl Iterator<Item = String> {
        let with_port = self.0.split_once("://").and_then(|(scheme, place)| {
            let own = own_port(scheme).filter(|_| split_port(place).1.is_none());
            own.map(|port| format!("{}:{port}", self.0))
        });
        [self.0.clone()].into_iter().chain(with_port)
    }
}

impl FromStr for Origin {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let lower = text.to_ascii_lowercase();
        let Some((scheme, place)) = lower.split_once("://").filter(|(scheme, place)| {
            !scheme.is_empty()
                && !place.is_empty()
                && !place.starts_with(':')
                && !place.contains(|c: char| "/?#@".contains(c) || c.is_control() || c.is_whitespace())
        }) else {
            return refuse(format!(
                "{text:?} is no origin: write SCHEME://HOST or SCHEME://HOST:PORT and nothing after it"
            ));
        };
        if !place.is_ascii() {
            return refuse(format!("{text:?}: write the name as browsers send it, xn--..."));
        }
        let (host, port) = split_port(place);
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => match address.parse::<Ipv6Addr>() {
                Ok(address) => in_brackets(address),
                Err(_) => return refuse(format!("{text:?}: {address:?} is no IPv6 address")),
            },
            None if host.contains([':', '[', ']']) => {
                return refuse(format!("{text:?}: an IPv6 address is written in brackets, [2001:db8::1]"));
            }
            None => host.to_owned(),
        };
        // `parse` would take a sign too.
        let port = match port.map(|port| (!port.starts_with('+')).then(|| port.parse::<u16>().ok()).flatten())
        {
            None => String::new(),
            Some(None | Some(0)) => {
                return refuse(format!("{text:?}: the port is no number from 1 to 65535"));
            }
            Some(Some(port)) if own_port(scheme) == Some(port) => String::new(),
            Some(Some(port)) => format!(":{port}"),
        };
        Ok(Self(format!("{scheme}://{host}{port}")))
    }
}

/// The port that browsers leave out.
fn own_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Browsers write all of an address in hexadecimal, where Rust has the end of one that is IPv4's as such.
fn in_brackets(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., a, b]) => format!("[::ffff:{a:x}:{b:x}]"),
        _ => format!("[{address}]"),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_the_browsers_form_is_kept() {
        for (written, form) in [
            ("https://x.example", "https://x.example"),
            ("HTTPS://Pages.Example:8443", "https://pages.example:8443"),
            ("https://x.example:443", "https://x.example"),
            ("http://x.example:0080", "http://x.example"),
            ("http://x.example:443", "http://x.example:443"),
            ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://[::ffff:192.0.2.1]", "http://[::ffff:c000:201]"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(written.parse::<Origin>().unwrap().as_str(), form, "{written}");
        }
    }

    #[test]
    fn a_realm_is_found_with_the_schemes_own_port_too() {
        let forms = |origin: &str| origin.parse::<Origin>().unwrap().forms().collect::<Vec<_>>();
        assert_eq!(forms("https://x:443"), ["https://x", "https://x:443"]);
        assert_eq!(forms("http://[2001:db8::1]"), ["http://[2001:db8::1]", "http://[2001:db8::1]:80"]);
        assert_eq!(forms("https://x:8443"), ["https://x:8443"]);
        assert_eq!(forms("app://x"), ["app://x"]);
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for (written, why) in [
            ("x.example", "no origin"),
            ("https://", "no origin"),
            ("https://x.example/", "no origin"),
            ("https://a@x.example", "no origin"),
            ("https://x example", "no origin"),
            ("https://bücher.example", "xn--"),
            ("https://2001:db8::1", "brackets"),
            ("https://[2001:db8::1", "brackets"),
            ("https://:443", "no origin"),
            ("https://[x]", "no IPv6 address"),
            ("https://x.example:", "no number"),
            ("https://x.example:0", "no number"),
            ("https://x.example:+443", "no number"),
            ("https://x.example:65536", "no number"),
        ] {
            let error = written.parse::<Origin>().unwrap_err().to_string();
            assert!(error.contains(why), "{written}: {error}");
        }
    }
}
