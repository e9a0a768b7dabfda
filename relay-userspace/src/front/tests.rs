//! The desk as a whole, on the loopback, with a fake shard behind it.

mod clients;
mod connections;
mod pages;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::certificate::Certificate;
use super::{Front, FrontConfig, FrontStatus};
use crate::config::{CertificateFiles, Listen, Scheme, StreamLimits, StreamSettings, TlsSettings};
use crate::net::ClientStream;

/// A folder of certificates that is removed with what is in it.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-front-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A new certificate in a folder of this name.
    pub(super) fn certificate(&self, folder: &str, names: &[&str]) -> CertificateFiles {
        self.certificate_valid(folder, names, (2020, 1, 1), (4000, 1, 1))
    }

    /// The same, from a day to another.
    pub(super) fn certificate_valid(
        &self,
        folder: &str,
        names: &[&str],
        from: (i32, u8, u8),
        to: (i32, u8, u8),
    ) -> CertificateFiles {
        self.certificate_of(&KeyPair::generate().unwrap(), folder, names, from, to)
    }

    /// One with a key that DTLS cannot use: of Ed25519.
    pub(super) fn certificate_not_for_dtls(&self, folder: &str, names: &[&str]) -> CertificateFiles {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        self.certificate_of(&key, folder, names, (2020, 1, 1), (4000, 1, 1))
    }

    fn certificate_of(
        &self,
        key: &KeyPair,
        folder: &str,
        names: &[&str],
        from: (i32, u8, u8),
        to: (i32, u8, u8),
    ) -> CertificateFiles {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = params.self_signed(key).unwrap();
        CertificateFiles {
            cert: self.write(&format!("{folder}/cert.pem"), &certificate.pem()),
            key: self.write(&format!("{folder}/key.pem"), &key.serialize_pem()),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An open desk, and what it hands over.
struct Open {
    front: Front,
    handed_over: Receiver<ClientStream>,
    _files: Files,
    cert: PathBuf,
}

/// A desk with a port of TCP and one of TLS, whose certificate is for `turn.test`.
fn open(change: impl FnOnce(&mut TlsSettings, &mut StreamSettings)) -> Open {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 201 + high % 50, low, number);
    let files = Files::new(&format!("desk-{number}"));
    let written = files.certificate("turn", &["turn.test"]);
    let mut tls = TlsSettings {
        certificates: vec![Arc::new(Certificate::read(&written).unwrap())],
        ..TlsSettings::default()
    };
    let limits = StreamLimits { handshake_time: Duration::from_secs(2), ..StreamLimits::default() };
    let mut streams = StreamSettings { limits, ..StreamSettings::default() };
    change(&mut tls, &mut streams);
    let (sender, handed_over) = channel();
    let any_port = |scheme| Listen { scheme, address: SocketAddr::new(ip.into(), 0) };
    let front = Front::open(FrontConfig {
        listen: vec![any_port(Scheme::Tcp), any_port(Scheme::Https)],
        tls,
        streams,
        web: Router::new().route("/", get(|| async { "our page" })).route("/own", get(|| async { "own" })),
        admit: Box::new(move |stream| sender.send(stream).unwrap()),
        certificate_read: Box::new(|| ()),
    });
    Open { front: front.unwrap(), handed_over, _files: files, cert: written.cert }
}

impl Open {
    fn tcp(&self) -> SocketAddr {
        self.front.listeners()[0]
    }

    fn tls(&self) -> SocketAddr {
        self.front.listeners()[1]
    }

    fn cert(&self) -> &Path {
        &self.cert
    }

    /// The next that is handed over.
    fn next(&self) -> ClientStream {
        self.handed_over.recv_timeout(Duration::from_secs(5)).expect("nothing was handed over")
    }

    fn status(&self) -> FrontStatus {
        self.front.status()
    }

    fn count(&self, outcome: &str) -> u64 {
        self.status().outcomes.iter().find(|(name, _)| name == outcome).map_or(0, |(_, count)| *count)
    }

    /// Waits until so many connections had this outcome.
    fn wait_for(&self, outcome: &str, count: u64) {
        for _ in 0..500 {
            if self.count(outcome) >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not {count} times {outcome} within 5 s: {:?}", self.status());
    }
}

impl Open {
    /// Waits until no connection is left, which those who come later count on.
    fn wait_until_empty(&self) {
        for _ in 0..500 {
            if self.status().connections == super::Connections::default() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("connections are left after 5 s: {:?}", self.status());
    }
}
