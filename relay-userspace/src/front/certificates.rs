//! The certificates that TLS is served with, chosen by SNI, and read again when their files change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::certificate::{BadCertificate, Certificate};
use super::server_names::ByName;
use super::watch::Stamp;
use super::watched::Watched;
use crate::dtls::Identity;

/// All certificates. What was read once is served until something better was read.
#[derive(Debug)]
pub(super) struct Certificates {
    held: RwLock<Arc<Held>>,
    /// Whether DTLS is served.
    for_dtls: bool,
    /// As many as there are certificates; locked before `held`.
    watched: Mutex<Vec<Watched>>,
}

/// What is served at a time.
#[derive(Debug)]
struct Held {
    all: Vec<Arc<Certificate>>,
    by_name: ByName<usize>,
}

/// A look at the files of a certificate. They may lie where nobody answers: nothing is locked while they are asked for, and
/// each has a look of its own, so that none waits for the files of another.
#[derive(Debug)]
pub(super) struct Look {
    index: usize,
    certificate: Arc<Certificate>,
    tried: [Option<Stamp>; 2],
    seen: [Option<Stamp>; 2],
}

/// A certificate that is served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Where it was read.
    pub file: String,
    /// What it is for.
    pub names: Vec<String>,
    /// When it expires, in Unix seconds.
    pub expires: i64,
    /// Why what is in the files now is not served.
    pub problem: Option<String>,
}

impl Certificates {
    pub(super) fn new(all: Vec<Arc<Certificate>>, for_dtls: bool) -> Self {
        let watched = Mutex::new(all.iter().map(Watched::new).collect());
        Self { held: RwLock::new(Arc::new(Held::new(all))), for_dtls, watched }
    }

    /// What is served now.
    pub(super) fn all(&self) -> Vec<Arc<Certificate>> {
        self.held().all.clone()
    }

    /// Serves these from now on; connections that are there keep what they have.
    pub(super) fn replace(&self, mut all: Vec<Arc<Certificate>>) {
        let mut watched = self.watched();
        let before = self.held();
        *watched = all.iter().map(Watched::new).collect();
        for (next, watched) in all.iter_mut().zip(watched.iter_mut()) {
            let same = before.all.iter().find(|certificate| certificate.files() == next.files());
            if let Some(before) = same.filter(|before| self.is_lost_for_dtls(before, next)) {
                let mut keeps = Certificate::clone(next);
                watched.problem = Some(keep_for_dtls(&mut keeps, before));
                *next = Arc::new(keeps);
            }
        }
        self.hold(all);
    }

    /// Whether DTLS could be served with the certificate before and cannot be with the next one.
    fn is_lost_for_dtls(&self, before: &Certificate, next: &Certificate) -> bool {
        self.for_dtls && before.identity().is_some() && next.is_not_for_dtls()
    }

    /// The looks to take now, no more than `most`: one at each certificate whose last look has ended.
    pub(super) fn looks(&self, now: Instant, most: usize) -> Vec<Look> {
        let mut watched = self.watched();
        let held = self.held();
        let mut looks = Vec::new();
        for (index, (certificate, watched)) in held.all.iter().zip(watched.iter_mut()).enumerate() {
            watched.wait(certificate, now);
            if !watched.under_way && looks.len() < most {
                watched.under_way = true;
                let (tried, seen) = (watched.tried, watched.seen);
                looks.push(Look { index, certificate: certificate.clone(), tried, seen });
            }
        }
        looks
    }

    /// Takes a look: reads what has changed, and says whether that is served now. What cannot be served leaves things as they
    /// are, and is told.
    pub(super) fn take(&self, look: Look) -> bool {
        let Look { index, certificate, tried, seen } = look;
        let files = certificate.files();
        let now = [&files.cert, &files.key].map(|path| Stamp::of(path));
        let has_settled = now == seen;
        let result = (has_settled && now != tried).then(|| Certificate::read(files));
        let is_good = result.as_ref().is_some_and(Result::is_ok);
        self.keep(index, &certificate, now, result) && is_good
    }

    /// Goes by what a look at a certificate's files found, unless others were to be served meanwhile: `false`.
    fn keep(
        &self,
        index: usize,
        certificate: &Arc<Certificate>,
        now: [Option<Stamp>; 2],
        result: Option<Result<Certificate, BadCertificate>>,
    ) -> bool {
        let mut watched = self.watched();
        let mut all = self.held().all.clone();
        if !all.get(index).is_some_and(|held| Arc::ptr_eq(held, certificate)) {
            return false;
        }
        let watched = &mut watched[index];
        watched.answered(certificate);
        watched.seen = now;
        let Some(result) = result else { return true };
        watched.tried = now;
        let file = certificate.files().cert.display();
        match result {
            Ok(mut next) => {
                watched.problem = None;
                watched.tried = next.stamps();
                if next != **certificate {
                    let names = next.names().join(", ");
                    tracing::info!(%file, names, "a certificate was replaced");
                }
                if self.is_lost_for_dtls(certificate, &next) {
                    watched.problem = Some(keep_for_dtls(&mut next, certificate));
                }
                next.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
                all[index] = Arc::new(next);
                self.hold(all);
            }
            Err(error) => {
                tracing::error!(%file, "the certificate before is still served: {error}");
                watched.problem = Some(format!("{error}; the one before is still served"));
            }
        }
        true
    }

    /// What DTLS is served with: the first for this name that can be, else the first of all. One that was kept from before comes
    /// after one of the name's own.
    pub(super) fn identity(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        let held = self.held();
        let named = name.map_or(&[][..], |name| held.by_name.get(name));
        let named = named.iter().map(|&index| &held.all[index]);
        let own = named.clone().filter(|certificate| !certificate.is_not_for_dtls());
        own.chain(named).chain(&held.all).find_map(|certificate| certificate.identity()).cloned()
    }

    pub(super) fn status(&self) -> Vec<CertificateStatus> {
        let watched = self.watched();
        let held = self.held();
        let each = held.all.iter().zip(watched.iter()).map(|(certificate, watched)| CertificateStatus {
            file: certificate.files().cert.display().to_string(),
            names: certificate.names().to_vec(),
            expires: certificate.expires(),
            problem: watched.problem(certificate),
        });
        each.collect()
    }

    fn hold(&self, all: Vec<Arc<Certificate>>) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Held::new(all));
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has DTLS go on with the certificate before. What is told of it.
fn keep_for_dtls(next: &mut Certificate, before: &Certificate) -> String {
    next.keep_identity(before);
    let problem = format!(
        "{}: DTLS goes on with the certificate before, until that expires: the new key is none of ECDSA (P-256, P-384). \
         Renew it with such a key, or name one more under [[tls.certificate]]",
        next.files().cert.display(),
    );
    tracing::error!("{problem}");
    problem
}

impl Held {
    fn new(all: Vec<Arc<Certificate>>) -> Self {
        let mut by_name = ByName::default();
        for (index, certificate) in all.iter().enumerate() {
            certificate.names().iter().for_each(|name| by_name.insert(name, index));
        }
        Self { all, by_name }
    }

    /// The first for this name whose key can sign as the client wants (a name may have one of RSA and one of ECDSA), else
    /// the first of all: a client that names nothing, or nothing of ours, can judge for itself.
    fn choose(
        &self,
        name: Option<&str>,
        can_sign: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Arc<Certificate>> {
        let named = name.map_or(&[][..], |name| self.by_name.get(name));
        let able = named.iter().find(|&&index| can_sign(self.all[index].key()));
        let index = able.or(named.first()).copied().unwrap_or(0);
        self.all.get(index)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_sign = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let held = self.held();
        held.choose(hello.server_name(), can_sign).map(|certificate| certificate.key().clone())
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
