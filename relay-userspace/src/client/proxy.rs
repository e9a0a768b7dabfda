//! HTTP proxies: CONNECT (RFC 9110 section 9.3.6), with a name and a password if need be (Basic, RFC 7617).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::url::{ServerUrl, host_and_port};
use crate::auth::{base64, printable};

/// A proxy, and who may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port; 80 where the URL names none.
    pub port: u16,
    /// `USER:PASSWORD`
    credentials: Option<String>,
}

/// What is given as a proxy is none that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadProxy(String);

impl Proxy {
    /// With this `USER:PASSWORD`, in place of the URL's if it has one.
    pub fn with_credentials(self, credentials: &str) -> Result<Self, BadProxy> {
        // RFC 7617 section 2: no control characters.
        if !credentials.contains(':') || credentials.contains(|c: char| c.is_ascii_control()) {
            return Err(BadProxy("a proxy's credentials are USER:PASSWORD".into()));
        }
        Ok(Self { credentials: Some(credentials.into()), ..self })
    }

    /// The proxy that the environment names for this server: `https_proxy`, or else `HTTPS_PROXY`, unless `no_proxy` or
    /// `NO_PROXY` has the server. As elsewhere, none to the loopback and none for UDP.
    pub fn from_environment(
        url: &ServerUrl,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, BadProxy> {
        let either = |small: &str| {
            let found = variable(small).filter(|value| !value.is_empty());
            found.or_else(|| variable(&small.to_ascii_uppercase())).filter(|value| !value.is_empty())
        };
        let is_exempt = is_loopback(&url.host)
            || either("no_proxy").is_some_and(|list| is_listed(&list, &url.host, url.port));
        if url.carrier.is_datagram() || is_exempt {
            return Ok(None);
        }
        let Some(text) = either("https_proxy") else { return Ok(None) };
        let named = |BadProxy(why)| BadProxy(format!("the environment's https_proxy: {why}"));
        text.parse().map(Some).map_err(named)
    }

    /// Has the proxy connect to the server; from then on the stream is the server's.
    pub(super) async fn open(&self, stream: &mut TcpStream, to: &ServerUrl) -> Result<(), Refusal> {
        let target = to.authority();
        let mut request = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: turnpike/{}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(credentials) = &self.credentials {
            let encoded = base64::encode(credentials.as_bytes());
            request.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let head = read_head(stream).await?;
        self.judge(&head, target)
    }

    fn judge(&self, head: &str, target: String) -> Result<(), Refusal> {
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let Some(status): Option<u16> = status else { return Err(Refusal::NotHttp(first.into())) };
        match status {
            200..300 => Ok(()),
            // RFC 9110 section 15.5.8
            407 => {
                let challenges: Vec<&str> =
                    lines.filter_map(|line| field(line, "proxy-authenticate")).collect();
                let schemes = challenges.iter().flat_map(|challenge| schemes(challenge));
                let schemes: Vec<String> = schemes.map(str::to_owned).collect();
                if !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                    Err(Refusal::OtherSchemes(schemes))
                } else if self.credentials.is_some() {
                    Err(Refusal::WrongPassword)
                } else {
                    Err(Refusal::PasswordWanted)
                }
            }
            403 | 405 => Err(Refusal::Forbidden { target, first: first.into() }),
            502..=504 => Err(Refusal::CannotReach { target, first: first.into() }),
            _ => Err(Refusal::Other(first.into())),
        }
    }
}

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => {
                return Err(BadProxy(format!(
                    "{scheme}:// proxies are not supported: only http:// ones are"
                )));
            }
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        let (host, port) = host_and_port(authority)
            .map_err(|why| BadProxy(format!("{why}: write http://[USER:PASSWORD@]HOST:PORT")))?;
        let proxy = Self { host, port: port.unwrap_or(80), credentials: None };
        match credentials {
            Some(credentials) => {
                let decoded = percent_decoded(credentials).ok_or_else(|| {
                    BadProxy("the user or password of the proxy's URL has a % that stands for nothing".into())
                })?;
                proxy.with_credentials(&decoded)
            }
            None => Ok(proxy),
        }
    }
}

/// The password stays out of it.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "http://{bracketed}:{}", self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Why a proxy does not let us through. Shown, it says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 407, and no name was given.
    #[error(
        "the proxy asks for a password: --proxy http://USER:PASSWORD@HOST:PORT, or --proxy-auth-file FILE"
    )]
    PasswordWanted,
    /// 407, though a name and a password were given.
    #[error("the proxy refuses this user or password (407)")]
    WrongPassword,
    /// 407 with schemes that are not supported.
    #[error(
        "the proxy asks for a password by {}, and only Basic is supported: let its administrator exempt this host, or go by way \
         of a local proxy that speaks it", list(.0)
    )]
    OtherSchemes(Vec<String>),
    /// 403 or 405.
    #[error(
        "the proxy does not allow CONNECT to {target} ({}): most allow port 443 only, and some only names that they know",
        printable(.first)
    )]
    Forbidden {
        /// `HOST:PORT`
        target: String,
        /// The status line.
        first: String,
    },
    /// 502 to 504.
    #[error("the proxy cannot reach {target} ({}): is the name known there, the server up, the port right?", printable(.first))]
    CannotReach {
        /// `HOST:PORT`
        target: String,
        /// The status line.
        first: String,
    },
    /// Any other status.
    #[error("the proxy answers {}", printable(.0))]
    Other(String),
    /// No HTTP.
    #[error("this is no HTTP proxy: it answers {:?}", printable(.0).to_string())]
    NotHttp(String),
    /// Closed before there was a whole answer.
    #[error(
        "the proxy closes the connection in place of an answer: is it an HTTP proxy, and may this host use it?"
    )]
    Closed,
    /// No answer in time.
    #[error("the proxy does not answer CONNECT within {0} s: it may be unable to reach the server")]
    Silent(u64),
    /// Anything else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn list(schemes: &[String]) -> String {
    match schemes {
        [] => "no method that it names".into(),
        _ => printable(&schemes.join(", ")).to_string(),
    }
}

/// Most bytes of an answer's head.
const MOST_HEAD: usize = 16 << 10;

/// The head of the proxy's answer, and not a byte more: what follows is the server's.
async fn read_head(stream: &mut TcpStream) -> Result<String, Refusal> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        let byte = match stream.read_u8().await {
            Ok(byte) => byte,
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                return Err(if head.is_empty() { Refusal::Closed } else { Refusal::NotHttp(text(&head)) });
            }
            Err(error) => return Err(error.into()),
        };
        head.push(byte);
        if head.len() == MOST_HEAD || (head.len() == 5 && head != b"HTTP/") {
            return Err(Refusal::NotHttp(text(&head)));
        }
    }
    Ok(text(&head))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (before, value) = line.split_once(':')?;
    before.trim().eq_ignore_ascii_case(name).then_some(value.trim())
}

/// The schemes of a challenge (RFC 9110 section 11.6.1): a list in which parameters have a `=` and schemes do not.
fn schemes(challenge: &str) -> impl Iterator<Item = &str> {
    let words = challenge.split(',').filter_map(|part| part.split_whitespace().next());
    words.filter(|word| !word.contains('='))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a list of the form `example.org,.corp.test,192.0.2.7,10.0.0.0/8,host:443` has a host; `*` has all.
fn is_listed(list: &str, host: &str, port: u16) -> bool {
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let (name, only) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') => (name, digits.parse::<u16>().ok()),
            _ => (entry, None),
        };
        if only.is_some_and(|only| only != port) {
            return false;
        }
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let host = host.to_ascii_lowercase();
        let is_address_of_it = || {
            let address = host.parse::<IpAddr>().ok()?;
            Some(name.parse::<crate::policy::Cidr>().ok()?.contains(address))
        };
        name == "*"
            || host == name
            || host.strip_suffix(&name).is_some_and(|before| before.ends_with('.'))
            || is_address_of_it() == Some(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_credentials_and_shown_without() {
        let cases = [
            ("http://proxy.corp:3128", "http://proxy.corp:3128", None),
            ("proxy.corp:3128/", "http://proxy.corp:3128", None),
            ("http://proxy.corp", "http://proxy.corp:80", None),
            ("http://me:secret@[2001:db8::1]:8080", "http://[2001:db8::1]:8080", Some("me:secret")),
            ("http://me:p%40ss%3a@proxy:1", "http://proxy:1", Some("me:p@ss:")),
        ];
        for (text, shown, credentials) in cases {
            let proxy: Proxy = text.parse().unwrap();
            assert_eq!((proxy.to_string().as_str(), proxy.credentials.as_deref()), (shown, credentials));
            assert!(!format!("{proxy:?}").contains("secret"));
        }
        for (text, why) in [
            ("https://proxy:1", "https:// proxies are not supported"),
            ("socks5://proxy:1", "socks5:// proxies are not supported"),
            ("http://proxy:x", "is no port"),
            ("http://me@proxy:1", "USER:PASSWORD"),
            ("http://me:%zz@proxy:1", "stands for nothing"),
            ("http://a%0d%0a:b@proxy:1", "USER:PASSWORD"),
        ] {
            let complaint = text.parse::<Proxy>().expect_err(text).to_string();
            assert!(complaint.contains(why), "{text}: {complaint}");
        }
    }

    #[test]
    fn the_environment_names_a_proxy_and_the_servers_that_need_none() {
        let proxy = |url: &str, no_proxy: &str| {
            Proxy::from_environment(&url.parse().unwrap(), |name| match name {
                "HTTPS_PROXY" => Some("http://proxy:3128".into()),
                "no_proxy" => Some(no_proxy.into()),
                _ => None,
            })
            .unwrap()
            .is_some()
        };
        assert!(proxy("wss://turn.example.org/turn", ""));
        assert!(proxy("turns:turn.example.org:443", "example.com,xample.org,192.0.2.1"));
        assert!(!proxy("turn:turn.example.org", ""), "UDP goes through no proxy");
        assert!(!proxy("wss://127.0.0.1/turn", ""), "nor does what stays on the host");
        for list in
            ["*", "turn.example.org", "a, example.org", ".EXAMPLE.org", "*.org", "turn.example.org:443"]
        {
            assert!(!proxy("wss://turn.example.org/turn", list), "{list}");
        }
        assert!(proxy("wss://turn.example.org/turn", "turn.example.org:8443"));
        assert!(!proxy("wss://10.1.2.3/turn", "10.0.0.0/8"));
        assert!(proxy("wss://11.1.2.3/turn", "10.0.0.0/8"));
        let none = Proxy::from_environment(&"wss://a/".parse().unwrap(), |_| None);
        assert_eq!(none, Ok(None));
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let anonymous: Proxy = "http://proxy:3128".parse().unwrap();
        let named = anonymous.clone().with_credentials("me:secret").unwrap();
        let basic =
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"a, b\"\r\n\r\n";
        let others = "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n";
        let cases = [
            (&anonymous, basic, "asks for a password: --proxy"),
            (&named, basic, "refuses this user or password"),
            (&named, others, "by Negotiate, NTLM, and only Basic"),
            (&anonymous, "HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow CONNECT to turn.example.org:3478"),
            (&anonymous, "HTTP/1.0 503 Service Unavailable\r\n\r\n", "cannot reach turn.example.org:3478"),
            (&anonymous, "HTTP/1.1 500 Oops\r\n\r\n", "answers HTTP/1.1 500 Oops"),
            (&anonymous, "HTTP/2 \r\n\r\n", "no HTTP proxy"),
        ];
        for (proxy, head, why) in cases {
            let refusal = proxy.judge(head, "turn.example.org:3478".into()).expect_err(head).to_string();
            assert!(refusal.contains(why), "{head}: {refusal}");
        }
        anonymous.judge("HTTP/1.1 200 Connection established\r\n\r\n", String::new()).unwrap();
    }
}
