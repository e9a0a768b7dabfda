//! `[tls]`: certificates, and names that other servers answer for.

use std::path::PathBuf;
use std::sync::Arc;

use super::ConfigError;
use super::file::readable_by_all;
use super::layer::list;
use super::listen::{Listen, Scheme};
use super::proxy::{Endpoint, ServerName};
use super::resolve::{refuse, refuse_as};
use crate::front::Certificate;

/// `[tls]`, as one source says it.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// A certificate with its chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// `[[tls.certificate]]`: more of them, for other names.
    #[serde(rename = "certificate")]
    pub certificates: Vec<CertificateFiles>,
    /// `[[tls.passthrough]]`: names that other servers answer for.
    pub passthrough: Vec<Passthrough>,
}

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, followed by those that signed it.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Names whose connections another server gets as they are, TLS and all.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passthrough {
    /// In SNI.
    pub names: Vec<ServerName>,
    /// Who gets them.
    pub to: Endpoint,
}

/// What TLS is served with.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TlsSettings {
    /// The first is for clients that name none of them. Not empty where something listens for TLS.
    pub certificates: Vec<Arc<Certificate>>,
    /// Who answers for other names.
    pub passthrough: Vec<Passthrough>,
}

impl Tls {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
            certificates: list(self.certificates, below.certificates),
            passthrough: list(self.passthrough, below.passthrough),
        }
    }

    /// Reads the certificates and checks them.
    pub(super) fn resolve(
        self,
        listen: &[Listen],
        warnings: &mut Vec<String>,
    ) -> Result<TlsSettings, ConfigError> {
        let first = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
            (None, None) => None,
            (Some(cert), None) => {
                return refuse(format!("the certificate {} has no key: name it (--key)", cert.display()));
            }
            (None, Some(key)) => {
                return refuse(format!("the key {} has no certificate: name it (--cert)", key.display()));
            }
        };
        let mut certificates = Vec::new();
        for files in first.into_iter().chain(self.certificates) {
            let certificate = Certificate::read(&files).or_else(refuse_as)?;
            warnings.extend(certificate.warnings());
            warnings.extend(readable_by_all(&files.key));
            certificates.push(Arc::new(certificate));
        }
        for (index, passthrough) in self.passthrough.iter().enumerate() {
            let to = &passthrough.to;
            if passthrough.names.is_empty() {
                return refuse(format!(
                    "tls.passthrough to {to} has no names: list those that it answers for"
                ));
            }
            to.check("tls.passthrough", listen)?;
            let earlier = || self.passthrough[..index].iter().flat_map(|other| &other.names);
            if let Some(name) = passthrough.names.iter().find(|name| earlier().any(|other| other == *name)) {
                return refuse(format!("tls.passthrough has {name} twice"));
            }
        }
        let dtls = listen.iter().find(|listen| listen.scheme == Scheme::Dtls);
        let able = || certificates.iter().any(|certificate| certificate.identity().is_some());
        if let Some(listen) = dtls.filter(|_| !certificates.is_empty() && !able()) {
            return refuse(format!(
                "listener {listen}: DTLS needs a certificate with an ECDSA key (P-256 or P-384), and there is none: name one \
                 more under [[tls.certificate]]; others go on with the one that is there"
            ));
        }
        match listen.iter().find(|listen| listen.scheme.has_certificate()) {
            Some(listen) if certificates.is_empty() => refuse(format!(
                "listener {listen} has no certificate: name one with --cert FILE --key FILE, or under [tls]"
            )),
            None if !certificates.is_empty() || !self.passthrough.is_empty() => {
                warnings.push(
                    "nothing listens for TLS: [tls] is for tls://, https:// and dtls:// listeners".into(),
                );
                Ok(TlsSettings { certificates, passthrough: self.passthrough })
            }
            _ => Ok(TlsSettings { certificates, passthrough: self.passthrough }),
        }
    }
}
