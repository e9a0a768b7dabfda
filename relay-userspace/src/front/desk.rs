//! The desk itself: its threads, its settings, and what it says of itself.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};
use tokio::runtime::{self, Runtime};
use tokio::sync::watch::{Receiver, Sender, channel};

use super::accept::Bound;
use super::certificate::Certificate;
use super::certificates::{CertificateStatus, Certificates};
use super::counts::{Connections, Counts, Kind};
use super::limits::Doors;
use super::server_names::ByName;
use super::{http, watch};
use crate::config::{Endpoint, Listen, Scheme, StreamSettings, TlsSettings};
use crate::dtls::Identity;
use crate::lobby::Lobby;
use crate::net::{ClientStream, DtlsDoor, Place};

/// Threads of the desk: one does its work; with two, a handshake that computes for a millisecond holds nobody up.
const THREADS: usize = 2;

/// How long everybody may take to say what it is.
const GRACE: Duration = Duration::from_secs(1);

/// How long connections have to come to an end when the desk closes.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// What TLS offers by ALPN. A client that offers both wants TURN (RFC 7443); `h2` is not spoken.
const ALPN: [&[u8]; 3] = [TURN, STUN_DISCOVERY, HTTP];

/// TURN over TLS (RFC 7443 section 3).
pub(super) const TURN: &[u8] = b"stun.turn";

/// NAT discovery over TLS (RFC 7443 section 3).
pub(super) const STUN_DISCOVERY: &[u8] = b"stun.nat-discovery";

/// HTTP/1.1 (RFC 7301 section 6).
pub(super) const HTTP: &[u8] = b"http/1.1";

/// What the desk is opened with.
pub struct FrontConfig {
    /// Where clients connect; those of datagrams are left out.
    pub listen: Vec<Listen>,
    /// Certificates and names.
    pub tls: TlsSettings,
    /// Who else is served, and how many.
    pub streams: StreamSettings,
    /// Our own pages.
    pub web: Router,
    /// Takes the connections that turned out to carry TURN.
    pub admit: Box<dyn Fn(ClientStream) + Send + Sync>,
    /// Is told when the files of a certificate had changed and are served. It may take its time.
    pub certificate_read: Box<dyn Fn() + Send + Sync>,
}

/// An open front desk. Dropping it closes it, within a second; what was handed over goes on.
pub struct Front {
    desk: Arc<Desk>,
    listeners: Vec<SocketAddr>,
    stop: Sender<bool>,
    runtime: Option<Runtime>,
}

/// What the desk says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FrontStatus {
    /// Connections that there are.
    pub connections: Connections,
    /// What became of connections since the start, by name; only what occurred.
    pub outcomes: Vec<(String, u64)>,
    /// What TLS is served with.
    pub certificates: Vec<CertificateStatus>,
}

/// What all connections share.
pub(super) struct Desk {
    rules: RwLock<Arc<Rules>>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) counts: Arc<Counts>,
    pub(super) doors: Arc<Doors>,
    pub(super) lobby: Arc<Lobby>,
    pub(super) admit: Box<dyn Fn(ClientStream) + Send + Sync>,
    pub(super) certificate_read: Box<dyn Fn() + Send + Sync>,
    /// Becomes true when the desk closes.
    pub(super) stopping: Receiver<bool>,
}

/// What a reload may change. A connection goes by those that held when it came.
pub(super) struct Rules {
    pub(super) streams: StreamSettings,
    pub(super) web: Router,
    passthrough: ByName<Endpoint>,
}

impl Front {
    /// Claims the addresses and serves. Fails when an address cannot be listened on.
    pub fn open(config: FrontConfig) -> Result<Self> {
        let bound: Vec<Bound> = config
            .listen
            .iter()
            .filter(|listen| listen.scheme.is_stream())
            .map(|&listen| Bound::claim(listen))
            .collect::<Result<_>>()?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("front")
            .enable_io()
            .enable_time()
            .build()
            .context("cannot start the threads of the front desk")?;
        let (stop, stopping) = channel(false);
        let for_dtls = config.listen.iter().any(|listen| listen.scheme == Scheme::Dtls);
        let certificates = Arc::new(Certificates::new(config.tls.certificates.clone(), for_dtls));
        let counts = Arc::new(Counts::default());
        let desk = Arc::new(Desk {
            rules: RwLock::new(Arc::new(Rules::new(&config.tls, config.streams, config.web))),
            tls: Arc::new(server_config(certificates.clone())?),
            certificates,
            doors: Doors::new(counts.clone()),
            counts,
            lobby: Lobby::new(GRACE),
            admit: config.admit,
            certificate_read: config.certificate_read,
            stopping,
        });
        let listeners = bound.iter().map(Bound::address).collect();
        let entered = runtime.enter();
        for bound in bound {
            bound.serve(desk.clone())?;
        }
        drop(entered);
        runtime.spawn(watch::follow(desk.clone()));
        Ok(Self { desk, listeners, stop, runtime: Some(runtime) })
    }

    /// Who lets clients of DTLS in, and shows them a certificate.
    pub fn dtls(&self) -> Arc<dyn DtlsDoor> {
        self.desk.clone()
    }

    /// Where it listens, with the ports it was given.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// What TLS is served with now: those of the settings, or newer ones of the same files.
    pub(crate) fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.desk.certificates.all()
    }

    /// Goes by other settings from now on. Listeners stay.
    pub fn reconfigure(&self, tls: &TlsSettings, streams: StreamSettings, web: Router) {
        self.desk.certificates.replace(tls.certificates.clone());
        let rules = Arc::new(Rules::new(tls, streams, web));
        *self.desk.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// What there is to tell.
    pub fn status(&self) -> FrontStatus {
        FrontStatus {
            connections: self.desk.counts.connections(),
            outcomes: self.desk.counts.outcomes(),
            certificates: self.desk.certificates.status(),
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(CLOSING_TIME);
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Desk {
    /// Those that hold now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DtlsDoor for Desk {
    fn admit(&self, client: IpAddr) -> Option<Place> {
        let limits = self.rules().streams.limits;
        let mut ticket = self.doors.enter(&limits).ok()?;
        ticket.belongs_to(client, &limits).ok()?;
        ticket.is(Kind::Turn);
        Some(Place::new(ticket))
    }

    fn identity(&self, name: Option<&str>) -> Option<Arc<Identity>> {
        self.certificates.identity(name)
    }
}

impl Rules {
    fn new(tls: &TlsSettings, streams: StreamSettings, web: Router) -> Self {
        let mut passthrough = ByName::default();
        for rule in &tls.passthrough {
            rule.names.iter().for_each(|name| passthrough.insert(name.as_str(), rule.to.clone()));
        }
        let web = http::pages(web, streams.upstream.clone());
        Self { streams, web, passthrough }
    }

    /// Whether connections from there begin with a PROXY header.
    pub(super) fn is_proxy(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.streams.proxies.iter().any(|network| network.contains(ip))
    }

    /// Who answers for a name of SNI, if not we.
    pub(super) fn passed_to(&self, name: &str) -> Option<&Endpoint> {
        self.passthrough.get(name).first()
    }
}

/// TLS 1.2 and 1.3. Sessions are resumed by tickets that the client keeps: clients that come once leave nothing here.
fn server_config(certificates: Arc<Certificates>) -> Result<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_protocol_versions(&[&TLS13, &TLS12]).context("TLS 1.2 and 1.3 are not there")?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = ALPN.map(Vec::from).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer =
        ring::Ticketer::new().context("no random numbers for the keys of TLS session tickets")?;
    Ok(config)
}
