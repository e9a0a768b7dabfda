//! TLS to a server: whom it is trusted to be, and why a handshake failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::url::{Carrier, ServerUrl};
use crate::auth::printable;
use crate::pem::complaint;

/// The authorities whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// The file that they are from; this host's own where there is none.
    file: Option<PathBuf>,
}

/// No authority to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read certificates from {path}: {why}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There are none on this host.
    #[error(
        "this host has no certificates of authorities: apt-get install ca-certificates, or name a file with --ca"
    )]
    NoneHere,
}

impl Trust {
    /// The certificates of a PEM file, and no others.
    pub fn file(path: &Path) -> Result<Self, TrustError> {
        let unreadable = |why: String| TrustError::Unreadable { path: path.into(), why };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(complaint(&e)))? {
            let certificate = certificate.map_err(|e| unreadable(complaint(&e)))?;
            roots.add(certificate).map_err(|e| unreadable(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unreadable("there is none in it (PEM)".into()));
        }
        Ok(Self { roots: roots.into(), file: Some(path.into()) })
    }

    /// Those that this host trusts: what its administrator installed for an intercepting proxy is among them.
    pub fn system() -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TrustError::NoneHere);
        }
        Ok(Self { roots: roots.into(), file: None })
    }

    /// A handshake with the server of this URL. What it is, for a report, comes with the stream.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        url: &ServerUrl,
        patience: Duration,
    ) -> Result<(TlsStream<TcpStream>, String), TlsFailure> {
        let name =
            ServerName::try_from(url.host.clone()).map_err(|_| TlsFailure::BadName(url.host.clone()))?;
        let connector = TlsConnector::from(Arc::new(self.config(url.carrier)));
        let handshake = tokio::time::timeout(patience, connector.connect(name, stream)).await;
        let stream = handshake
            .map_err(|_| TlsFailure::Silent(patience.as_secs()))?
            .map_err(|error| self.explain(error))?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        Ok((stream, format!("{version}, the certificate is for {} and trusted", url.host)))
    }

    /// Whether a server may be that of this name, which shows this certificate (DER) and none of those that signed it.
    pub(super) fn check(&self, certificate: &[u8], host: &str) -> Result<(), TlsFailure> {
        let name = ServerName::try_from(host).map_err(|_| TlsFailure::BadName(host.into()))?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider).build();
        let verifier = verifier.map_err(|error| TlsFailure::Other(error.to_string()))?;
        let certificate = CertificateDer::from(certificate);
        let checked = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        checked.map(drop).map_err(|error| self.explain(io::Error::other(error)))
    }

    fn config(&self, carrier: Carrier) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().expect("ring has the versions of rustls");
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        // As browsers have it: http/1.1 for a WebSocket, nothing for TURN (RFC 7443 would have stun.turn, which servers that
        // know other names refuse).
        if carrier.is_web_socket() {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        config
    }

    fn explain(&self, error: io::Error) -> TlsFailure {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => {
                let shown = CertificateFailure { why, file: self.file.as_deref() };
                TlsFailure::Certificate(shown.to_string())
            }
            Some(rustls::Error::AlertReceived(alert)) => TlsFailure::Alert(*alert),
            Some(
                rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::PeerSentOversizedRecord,
            ) => TlsFailure::NotTls,
            Some(other) => TlsFailure::Other(other.to_string()),
            None if matches!(
                error.kind(),
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
            ) =>
            {
                TlsFailure::Closed
            }
            None => TlsFailure::Other(error.to_string()),
        }
    }
}

/// Why there is no TLS. Shown, it says what the likely reason is.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// The host of the URL is no name that a certificate could have.
    #[error("{0:?} is no name for TLS")]
    BadName(String),
    /// No answer.
    #[error(
        "no answer to the ClientHello within {0} s: a firewall that drops TLS, or something else than TLS is served there"
    )]
    Silent(u64),
    /// Closed without a word.
    #[error(
        "the connection is closed after the ClientHello: no TLS is spoken on this port, or a firewall inspects TLS, or the server \
         does not know the name"
    )]
    Closed,
    /// What came is not TLS.
    #[error("what answers does not speak TLS: is the port right, and does the server serve TLS there?")]
    NotTls,
    /// The server said no.
    #[error("the server refuses by TLS alert {alert:?}{hint}", alert = .0, hint = hint(.0))]
    Alert(AlertDescription),
    /// The certificate is not accepted; the text says why.
    #[error("{0}")]
    Certificate(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

fn hint(alert: &AlertDescription) -> &'static str {
    match *alert {
        AlertDescription::UnrecognisedName => ": it has no certificate for this name",
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            ": it has no TLS 1.2 or 1.3 in common with us"
        }
        AlertDescription::NoApplicationProtocol => ": it does not serve this protocol (ALPN)",
        AlertDescription::CertificateRequired => {
            ": it wants a certificate of the client, which is not supported"
        }
        _ => "",
    }
}

struct CertificateFailure<'a> {
    why: &'a CertificateError,
    file: Option<&'a Path>,
}

impl fmt::Display for CertificateFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            CertificateError::NotValidForNameContext { presented, .. } => {
                f.write_str("the certificate is for ")?;
                let names = presented.iter().map(|name| plain(name)).take(4).collect::<Vec<_>>();
                match names[..] {
                    [] => f.write_str("no name at all")?,
                    _ => f.write_str(&names.join(", "))?,
                }
                f.write_str(": the name or address in the URL must be one of these")
            }
            CertificateError::NotValidForName => f.write_str("the certificate is for another name"),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match self.file {
                Some(file) => write!(
                    f,
                    "the certificate is signed by nobody in {}: is it the CA of this server, and is there no proxy that \
                     intercepts TLS?",
                    file.display()
                ),
                None => f.write_str(
                    "the certificate is signed by nobody whom this host trusts: a private CA, a server that leaves out its \
                     intermediate certificates, or a proxy that intercepts TLS; its CA can be named with --ca FILE",
                ),
            },
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                f.write_str("the certificate has expired (or this host's clock is wrong)")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                f.write_str("the certificate is not valid yet (or this host's clock is wrong)")
            }
            other => write!(f, "the certificate is not accepted: {other}"),
        }
    }
}

/// `DnsName("other.example")` as rustls has it, without its name of the kind.
fn plain(presented: &str) -> String {
    let inner = presented.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    let inner = inner.or_else(|| presented.split_once('(')?.1.strip_suffix(')'));
    printable(inner.unwrap_or(presented)).to_string()
}
