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
mod tests {
    use super::super::tests::Files;
    use super::super::watched::SILENCE;
    use super::*;
    use crate::config::CertificateFiles;

    fn file(status: &CertificateStatus) -> (Vec<&str>, bool) {
        (status.names.iter().map(String::as_str).collect(), status.problem.is_some())
    }

    fn look(certificates: &Certificates) {
        for look in certificates.looks(Instant::now(), 9) {
            certificates.take(look);
        }
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
        let certificates = Certificates::new(vec![Arc::new(Certificate::read(&written).unwrap())], false);
        let looked = || {
            // The first look sees a change, the second that it has settled.
            look(&certificates);
            look(&certificates);
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
        look(&certificates);
        assert_eq!(file(&certificates.status()[0]), (vec!["old.test"], true), "it has not settled");
        look(&certificates);
        assert_eq!(file(&certificates.status()[0]), (vec!["new.test"], false));

        std::fs::remove_file(&written.key).unwrap();
        assert_eq!(file(&looked()[0]), (vec!["new.test"], true));
    }

    fn read(files: &CertificateFiles) -> Arc<Certificate> {
        Arc::new(Certificate::read(files).unwrap())
    }

    /// As on a network file system whose server is gone: a look that does not end.
    #[test]
    fn files_that_do_not_answer_are_told_of_and_hold_up_no_others() {
        let files = Files::new("silent");
        let folders = ["a", "b"];
        let all = folders.map(|folder| read(&files.certificate(folder, &[&format!("old.{folder}.test")])));
        let certificates = Certificates::new(all.to_vec(), false);
        let start = Instant::now();
        let mut looks = certificates.looks(start, 9);
        let (of_b, stuck) = (looks.pop().unwrap(), looks.pop().unwrap());
        certificates.take(of_b);

        for folder in folders {
            files.certificate(folder, &[&format!("new.{folder}.test")]);
        }
        for _ in 0..2 {
            let mut looks = certificates.looks(start, 9);
            assert_eq!(looks.iter().map(|look| look.index).collect::<Vec<_>>(), [1], "one look at a time");
            certificates.take(looks.pop().unwrap());
        }
        let status = certificates.status();
        assert_eq!(file(&status[0]), (vec!["old.a.test"], false));
        assert_eq!(file(&status[1]), (vec!["new.b.test"], false), "it did not wait");

        assert_eq!(certificates.looks(start + SILENCE, 9).len(), 1);
        let status = certificates.status();
        assert!(status[0].problem.as_ref().unwrap().contains("does not answer"), "{status:?}");
        assert_eq!(status[1].problem, None);

        certificates.take(stuck);
        assert_eq!(certificates.status()[0].problem, None);
        certificates.take(certificates.looks(start, 9).remove(0));
        assert_eq!(file(&certificates.status()[0]), (vec!["new.a.test"], false));
    }

    #[test]
    fn looks_are_limited_and_who_gets_none_is_told_of() {
        let files = Files::new("many");
        let all = ["a", "b"].map(|folder| read(&files.certificate(folder, &["a.test"])));
        let certificates = Certificates::new(all.to_vec(), false);
        let start = Instant::now();
        assert_eq!(certificates.looks(start, 1).len(), 1);
        assert_eq!(certificates.looks(start + SILENCE, 0).len(), 0);
        assert!(certificates.status().iter().all(|status| status.problem.is_some()));
    }

    /// TLS takes any key, DTLS those of ECDSA alone: see `operations.md`.
    #[test]
    fn dtls_keeps_what_it_has_for_a_name_when_a_renewed_key_is_not_for_it() {
        let files = Files::new("dtls");
        let written = ["a", "b"].map(|name| files.certificate(name, &[&format!("{name}.test")]));
        let read_all = || written.iter().map(read).collect::<Vec<_>>();
        let certificates = Certificates::new(read_all(), true);
        let shown = |name| certificates.identity(Some(name)).unwrap().certificate.clone();
        let (of_a, of_b) = (shown("a.test"), shown("b.test"));
        assert_ne!(of_a, of_b);

        files.certificate_not_for_dtls("a", &["a.test"]);
        look(&certificates);
        look(&certificates);
        let is_kept = |problem: bool| {
            assert!(shown("a.test") == of_a && shown("b.test") == of_b);
            assert_eq!(certificates.status()[0].problem.is_some(), problem);
        };
        is_kept(true);
        // A reload for another reason, and one more.
        certificates.replace(read_all());
        is_kept(true);
        certificates.replace(read_all());
        is_kept(true);

        // Another certificate for the name goes before what was kept.
        let mut more = read_all();
        more.push(read(&files.certificate("c", &["a.test"])));
        certificates.replace(more);
        assert!(![&of_a, &of_b].contains(&&shown("a.test")));
        files.certificate("a", &["a.test"]);
        certificates.replace(read_all());
        assert_ne!(shown("a.test"), of_a);
        assert_eq!(certificates.status()[0].problem, None);
    }

    #[test]
    fn what_a_look_found_is_not_served_in_place_of_what_a_reload_brought() {
        let files = Files::new("late");
        let written = files.certificate("a", &["old.test"]);
        let certificates = Certificates::new(vec![read(&written)], false);
        files.certificate("a", &["late.test"]);
        look(&certificates);
        let late = certificates.looks(Instant::now(), 9).remove(0);
        certificates.replace(vec![read(&files.certificate("b", &["other.test"]))]);
        certificates.take(late);
        let status = certificates.status();
        assert_eq!(status.len(), 1);
        assert_eq!(file(&status[0]), (vec!["other.test"], false));
    }
}
