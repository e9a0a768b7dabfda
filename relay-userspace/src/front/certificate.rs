//! A certificate with its key, as an operator's files have them, and whether they can be served with.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::watch::Stamp;
use crate::config::CertificateFiles;
use crate::dtls::{self, Identity};
use crate::pem::complaint;

/// A day, in seconds.
const DAY: i64 = 24 * 3600;

/// From when on an operator is reminded to renew a certificate: robots do with 30 days left, and those of six days with
/// three.
const SOON: i64 = 2 * DAY;

/// A certificate that fits its key.
#[derive(Clone)]
pub struct Certificate {
    files: CertificateFiles,
    /// Of both files, from before they were read.
    stamps: [Option<Stamp>; 2],
    key: Arc<CertifiedKey>,
    /// For DTLS: its own where its key can be used there, else that of the one before, if any.
    identity: Option<Arc<Identity>>,
    names: Vec<String>,
    /// Unix seconds.
    valid: (i64, i64),
}

/// Why files are not a certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}", path = .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is something else.
    #[error("{path}: {what}", path = .path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong, and what should be there.
        what: String,
    },
    /// Each may be right, but they do not belong together.
    #[error(
        "the key {key} is not that of the certificate {cert}: were both replaced, and is the certificate of the server \
         itself the first in its file?", key = .0.key.display(), cert = .0.cert.display()
    )]
    Mismatch(CertificateFiles),
}

impl Certificate {
    /// Reads and checks both files.
    pub fn read(files: &CertificateFiles) -> Result<Self, BadCertificate> {
        let stamps = [&files.cert, &files.key].map(|path| Stamp::of(path));
        let chain = chain(&files.cert)?;
        let key = key(&files.key)?;
        let identity = Identity { certificate: chain[0].to_vec(), key: key.secret_der().to_vec() };
        let (names, valid) = look_at(&chain[0]).map_err(|what| content(&files.cert, what))?;
        let certified =
            CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    BadCertificate::Mismatch(files.clone())
                }
                error => content(&files.key, format!("this key cannot be used: {error}")),
            })?;
        let identity = dtls::can_sign(&*certified.key).then(|| Arc::new(identity));
        Ok(Self { files: files.clone(), stamps, key: Arc::new(certified), identity, names, valid })
    }

    /// What TLS takes.
    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// What DTLS takes; `None` where it cannot be served with this key.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Whether DTLS cannot be served with its own key.
    pub(super) fn is_not_for_dtls(&self) -> bool {
        !dtls::can_sign(&*self.key.key)
    }

    /// Has DTLS go on with what the certificate before had for it.
    pub(super) fn keep_identity(&mut self, before: &Self) {
        self.identity.clone_from(&before.identity);
    }

    /// The names that it is for, in lower case; `*.example.org` among them. IP addresses too.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it expires, in Unix seconds.
    pub fn expires(&self) -> i64 {
        self.valid.1
    }

    /// Where it was read.
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// What the files were like when they were read.
    pub(super) fn stamps(&self) -> [Option<Stamp>; 2] {
        self.stamps
    }

    /// What an operator should know about it: it can be served with all the same.
    pub fn warnings(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        let path = self.files.cert.display();
        let (begins, ends) = self.valid;
        match () {
            () if ends < now => Some(format!(
                "the certificate {path} expired {} ago: clients will refuse it",
                days(now - ends)
            )),
            () if begins > now => Some(format!(
                "the certificate {path} is not valid for another {}: clients will refuse it until then",
                days(begins - now)
            )),
            () if ends - now < SOON => {
                Some(format!("the certificate {path} expires in {}", days(ends - now)))
            }
            () => None,
        }
    }
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => format!("{} h", seconds / 3600),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

/// The same files with the same content: a key cannot be another when its certificate is the same.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files && self.key.cert == other.key.cert
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).field("names", &self.names).finish()
    }
}

fn content(path: &Path, what: String) -> BadCertificate {
    BadCertificate::Content { path: path.into(), what }
}

/// Of files only: a pipe or a device may keep its reader waiting for ever, or never end.
fn read(path: &Path) -> Result<Vec<u8>, BadCertificate> {
    let bad = |cause| BadCertificate::Read { path: path.into(), cause };
    // To open a pipe waits for its writer otherwise.
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(bad)?;
    let meta = file.metadata().map_err(bad)?;
    if !meta.is_file() && !meta.is_dir() {
        return Err(content(path, "this is a pipe or a device: it must be a file".into()));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(bad)?;
    Ok(text)
}

/// The certificates of a file, the server's own first. Not empty.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if PrivateKeyDer::from_pem_slice(&text).is_ok() => {
            Err(content(path, "this is a key: the certificate and the key may be confused".into()))
        }
        Ok(_) => {
            Err(content(path, "no certificate in it: it should have -----BEGIN CERTIFICATE-----".into()))
        }
        Err(error) => Err(content(path, not_pem(&error))),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, BadCertificate> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_encrypted = text.windows(9).any(|word| word == b"ENCRYPTED");
        let what = match error {
            _ if is_encrypted => "the key has a password: store it without (openssl pkey -in FILE)".into(),
            pem::Error::NoItemsFound => "no key in it: it should have -----BEGIN PRIVATE KEY-----".into(),
            error => not_pem(&error),
        };
        content(path, what)
    })
}

fn not_pem(error: &pem::Error) -> String {
    format!("this is no PEM file: {}", complaint(error))
}

/// Names and validity.
fn look_at(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, (i64, i64)), String> {
    let (_, parsed) =
        parse_x509_certificate(certificate).map_err(|error| format!("this is no certificate: {error}"))?;
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let names =
        alternative.iter().flat_map(|extension| &extension.value.general_names).filter_map(
            |name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
                _ => None,
            },
        );
    let validity = parsed.validity();
    Ok((names.collect(), (validity.not_before.timestamp(), validity.not_after.timestamp())))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
