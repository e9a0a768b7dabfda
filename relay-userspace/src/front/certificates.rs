//! The certificates that TLS is served with, chosen by SNI, and read again when their files change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::certificate::{BadCertificate, Certificate};
use super::server_names::ByName;
use super::watch::Stamp;
use crate::config::CertificateFiles;
use crate::dtls::Identity;

/// All certificates. What was read once is served until something better was read.
#[derive(Debug)]
pub(super) struct Certificates {
    held: RwLock<Arc<Held>>,
    /// As many as there are certificates; locked before `held`, and never while files are asked for.
    watched: Mutex<Vec<Watched>>,
}

/// What is served at a time.
#[derive(Debug)]
struct Held {
    all: Vec<Arc<Certificate>>,
    by_name: ByName<usize>,
}

/// What is known of the files of a certificate.
#[derive(Debug)]
struct Watched {
    /// Read, or tried to be.
    tried: [Option<Stamp>; 2],
    /// At the last look.
    seen: [Option<Stamp>; 2],
    problem: Option<String>,
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
    pub(super) fn new(all: Vec<Arc<Certificate>>) -> Self {
        let watched = Mutex::new(all.iter().map(Watched::new).collect());
        Self { held: RwLock::new(Arc::new(Held::new(all))), watched }
    }

    /// Serves these from now on; connections that are there keep what they have.
    pub(super) fn replace(&self, all: Vec<Arc<Certificate>>) {
        let mut watched = self.watched();
        *watched = all.iter().map(Watched::new).collect();
        self.hold(all);
    }

    /// Reads what has changed. What cannot be served leaves things as they are, and is told.
    pub(super) fn look(&self) {
        self.look_by(Certificate::read);
    }

    /// The same, with this to read files. They may lie where nobody answers: nothing is locked while they are asked for.
    fn look_by(&self, read: impl Fn(&CertificateFiles) -> Result<Certificate, BadCertificate>) {
        let known: Vec<_> = {
            let watched = self.watched();
            let stamps = watched.iter().map(|watched| (watched.tried, watched.seen));
            self.held().all.iter().cloned().zip(stamps).collect()
        };
        for (index, (certificate, (tried, seen))) in known.into_iter().enumerate() {
            let files = certificate.files();
            let now = [&files.cert, &files.key].map(|path| Stamp::of(path));
            let has_settled = now == seen;
            let result = (has_settled && now != tried).then(|| read(files));
            self.keep(index, &certificate, now, result);
        }
    }

    /// Goes by what a look at a certificate's files found, unless others were to be served meanwhile.
    fn keep(
        &self,
        index: usize,
        certificate: &Arc<Certificate>,
        now: [Option<Stamp>; 2],
        result: Option<Result<Certificate, BadCertificate>>,
    ) {
        let mut watched = self.watched();
        let mut all = self.held().all.clone();
        if !all.get(index).is_some_and(|held| Arc::ptr_eq(held, certificate)) {
            return;
        }
        let watched = &mut watched[index];
        watched.seen = now;
        let Some(result) = result else { return };
        watched.tried = now;
        let file = certificate.files().cert.display();
        match result {
            Ok(next) => {
                watched.problem = None;
                watched.tried = next.stamps();
                if next != **certificate {
                    let names = next.names().join(", ");
                    tracing::info!(%file, names, "a certificate was replaced");
                }
                next.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
                all[index] = Arc::new(next);
                self.hold(all);
            }
            Err(error) => {
                tracing::error!(%file, "the certificate before is still served: {error}");
                watched.problem = Some(error.to_string());
            }
        }
    }

    /// What DTLS is served with: the first for this name that can be, else the first of all.
    pub(super) fn identity(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        let held = self.held();
        let named = name.map_or(&[][..], |name| held.by_name.get(name));
        let named = named.iter().map(|&index| &held.all[index]);
        named.chain(&held.all).find_map(|certificate| certificate.identity()).cloned()
    }

    pub(super) fn status(&self) -> Vec<CertificateStatus> {
        let watched = self.watched();
        let held = self.held();
        let each = held.all.iter().zip(watched.iter()).map(|(certificate, watched)| CertificateStatus {
            file: certificate.files().cert.display().to_string(),
            names: certificate.names().to_vec(),
            expires: certificate.expires(),
            problem: watched.problem.clone(),
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

impl Watched {
    fn new(certificate: &Arc<Certificate>) -> Self {
        Self { tried: certificate.stamps(), seen: certificate.stamps(), problem: None }
    }
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
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::super::tests::Files;
    use super::*;

    fn file(status: &CertificateStatus) -> (Vec<&str>, bool) {
        (status.names.iter().map(String::as_str).collect(), status.problem.is_some())
    }

    #[test]
    fn the_name_chooses_and_the_first_is_for_everybody_else() {
        let files = Files::new("choose");
        let all = [["turn.test", "a.test"], ["*.b.test", "b.test"]].map(|names| {
            let written = files.certificate(names[0].trim_start_matches("*."), &names);
            Arc::new(Certificate::read(&written).unwrap())
        });
        let held = Held::new(all.to_vec());
        let chosen = |name| held.choose(name, |_| true).unwrap().names()[0].clone();
        for (name, expected) in [
            (Some("turn.test"), "turn.test"),
            (Some("b.test"), "*.b.test"),
            (Some("x.b.test"), "*.b.test"),
            (Some("x.y.b.test"), "turn.test"),
            (Some("elsewhere.test"), "turn.test"),
            (None, "turn.test"),
        ] {
            assert_eq!(chosen(name), expected, "{name:?}");
        }
        assert!(Held::new(Vec::new()).choose(None, |_| true).is_none());
    }

    #[test]
    fn of_two_for_a_name_the_one_that_can_sign_is_chosen() {
        let files = Files::new("sign");
        let [one, two] = ["one", "two"]
            .map(|folder| Arc::new(Certificate::read(&files.certificate(folder, &["a.test"])).unwrap()));
        let second = two.key().clone();
        let held = Held::new(vec![one.clone(), two.clone()]);
        let chosen = held.choose(Some("a.test"), |key| key.cert == second.cert).unwrap();
        assert!(Arc::ptr_eq(chosen, &two));
        let chosen = held.choose(Some("a.test"), |_| false).unwrap();
        assert!(Arc::ptr_eq(chosen, &one), "a handshake that fails says why");
    }

    #[test]
    fn a_bad_file_keeps_the_old_certificate_until_a_good_one_comes() {
        let files = Files::new("reload");
        let written = files.certificate("a", &["old.test"]);
        let certificates = Certificates::new(vec![Arc::new(Certificate::read(&written).unwrap())]);
        let looked = || {
            // The first look sees a change, the second that it has settled.
            certificates.look();
            certificates.look();
            certificates.status()
        };
        assert_eq!(file(&looked()[0]), (vec!["old.test"], false));

        std::fs::write(&written.cert, "nonsense").unwrap();
        let status = looked();
        assert_eq!(file(&status[0]), (vec!["old.test"], true));
        assert!(status[0].problem.as_ref().unwrap().contains("no certificate in it"), "{status:?}");

        // A certificate without its key, then with it.
        let next = files.certificate("next", &["new.test"]);
        std::fs::copy(&next.cert, &written.cert).unwrap();
        let status = looked();
        assert_eq!(file(&status[0]), (vec!["old.test"], true));
        assert!(status[0].problem.as_ref().unwrap().contains("is not that of the certificate"), "{status:?}");
        std::fs::copy(&next.key, &written.key).unwrap();
        certificates.look();
        assert_eq!(file(&certificates.status()[0]), (vec!["old.test"], true), "it has not settled");
        certificates.look();
        assert_eq!(file(&certificates.status()[0]), (vec!["new.test"], false));

        std::fs::remove_file(&written.key).unwrap();
        assert_eq!(file(&looked()[0]), (vec!["new.test"], true));
    }

    /// As on a network file system whose server is gone.
    #[test]
    fn a_file_that_does_not_answer_holds_nobody_up() {
        let files = Files::new("stuck");
        let read = |files: &CertificateFiles| Arc::new(Certificate::read(files).unwrap());
        let written = files.certificate("a", &["old.test"]);
        let certificates = Certificates::new(vec![read(&written)]);
        files.certificate("a", &["late.test"]);
        certificates.look();
        let other = read(&files.certificate("b", &["other.test"]));

        let (asked, is_asked) = channel();
        let (answer, answered) = channel::<()>();
        thread::scope(|scope| {
            let look = scope.spawn(|| {
                certificates.look_by(move |files| {
                    asked.send(()).unwrap();
                    answered.recv().unwrap();
                    Certificate::read(files)
                });
            });
            is_asked.recv().unwrap();
            // Locked, these would never end.
            assert_eq!(file(&certificates.status()[0]), (vec!["old.test"], false));
            certificates.replace(vec![other]);
            answer.send(()).unwrap();
            look.join().unwrap();
        });
        let status = certificates.status();
        assert_eq!(status.len(), 1);
        assert_eq!(file(&status[0]), (vec!["other.test"], false), "what came too late is not served");
    }
}
