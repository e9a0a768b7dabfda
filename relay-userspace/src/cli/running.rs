//! A running server: its status at any time, and the changes that can be made to it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::creds::unix_now;
use super::origin::{Origin, Reading, core_config};
use super::parts::Parts;
use super::run::controls;
use super::sessions;
use crate::admin::{
    Allocations, Bindings, Drained, Drops, EndedSessions, Reload, Reloaded, Sessions, Source, State, Status,
    TcpRelay,
};
use crate::auth::printable;
use crate::config::{CERTIFICATES_KEY, Change, Changes, Host, Settings};
use crate::datapath::Datapath;
use crate::front::Front;
use crate::net::{Reconfigured, Selection, Server, SessionQuery};
use crate::turn::Shared;
use crate::web::{self, Site, Web};

/// How long a change waits for the shards, which need no more than a turn of their loop.
const SHARDS_TIME: Duration = Duration::from_secs(5);

/// What runs, from before it is ready until it has stopped.
pub(super) struct Running {
    origin: Origin,
    started: (Instant, u64),
    phase: RwLock<Phase>,
    /// Held through a whole reload: what was read first is not to be applied last.
    reloading: Mutex<()>,
    held: Mutex<Held>,
}

/// What holds. Never locked while files are read or shards waited for; after `phase` where both are.
#[derive(Clone)]
struct Held {
    settings: Settings,
    host: Host,
    draining: bool,
    reload: Reload,
}

enum Phase {
    Starting,
    Ready(Box<Parts>),
    Stopping,
}

impl Running {
    /// A server that goes by what was read from its origin.
    pub(super) fn new(origin: Origin, reading: Reading) -> Self {
        let started = (Instant::now(), unix_now());
        let Reading { settings, host, .. } = reading;
        let reload = Reload { successful: true, read: started.1, waiting: Vec::new() };
        Self {
            origin,
            started,
            phase: RwLock::new(Phase::Starting),
            reloading: Mutex::default(),
            held: Mutex::new(Held { settings, host, draining: false, reload }),
        }
    }

    /// Clients are served from now on.
    pub(super) fn ready(
        &self,
        server: Server,
        datapath: Datapath,
        shared: Arc<Shared>,
        front: Option<(Front, Arc<Web>)>,
    ) {
        self.enter(Phase::Ready(Box::new(Parts { server, datapath, shared, front })));
    }

    /// Stops serving: the sockets first, so that nobody writes to the tables any more, then the programs are detached and
    /// the tables removed. Does not wait for anybody's call to end.
    pub(super) fn stop(&self) {
        if let Phase::Ready(parts) = self.enter(Phase::Stopping) {
            let Parts { server, datapath, front, .. } = *parts;
            drop(front);
            server.stop();
            datapath.stop();
        }
    }

    /// Reads the settings again and goes on with them; after an error, with those before. Either is logged.
    pub(super) fn reload(&self) -> Result<Reloaded> {
        let _one = lock(&self.reloading);
        // That is no fault of the files.
        ensure!(matches!(*self.phase(), Phase::Ready(..)), NOT_READY);
        let reloaded = self.read_again();
        match &reloaded {
            Ok(Reloaded { applied, waiting, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                let (applied, waiting) = (summary(applied), summary(waiting));
                tracing::info!(applied, waiting_for_restart = waiting, "reloaded");
            }
            Err(error) => {
                lock(&self.held).reload.successful = false;
                tracing::error!("not reloaded, nothing has changed: {error:#}");
            }
        }
        reloaded
    }

    /// A certificate that has changed is served, without a reload. Where the last reload failed, and the files say now what
    /// holds, nothing is left of that.
    pub(super) fn certificate_read(&self) {
        let _one = lock(&self.reloading);
        let before = lock(&self.held).clone();
        if before.reload.successful {
            return;
        }
        // What is still wrong was told by that reload.
        let Ok(Reading { settings, .. }) = self.origin.again() else { return };
        let Changes { applied, waiting, .. } = before.settings.change_to(settings);
        let waits_as_before = waiting.iter().map(|change| &change.key).eq(&before.reload.waiting);
        // The certificates of the settings are those of the last reload.
        if waits_as_before && applied.iter().all(|change| change.key == CERTIFICATES_KEY) {
            lock(&self.held).reload.successful = true;
            tracing::info!("what the last reload failed for has been put right");
        }
    }

    fn read_again(&self) -> Result<Reloaded> {
        let Reading { settings, host, mut warnings } = self.origin.again()?;
        let (changes, posted) = self.change(true, |held| {
            let own = own_addresses(&held.host, &host);
            let Changes { settings, mut applied, waiting } = held.settings.change_to(settings);
            applied.extend(own);
            (held.settings, held.host) = (settings, host);
            let keys = waiting.iter().map(|change| change.key.clone()).collect();
            held.reload = Reload { successful: true, read: unix_now(), waiting: keys };
            (applied, waiting)
        })?;
        if !posted.wait(SHARDS_TIME) {
            warnings.push(LATE.into());
        }
        let (applied, waiting) = changes;
        Ok(Reloaded { applied, waiting, warnings })
    }

    /// Has no new allocations made, or made again.
    fn set_draining(&self, draining: bool) -> Result<Drained> {
        let (before, posted) = self.change(false, |held| std::mem::replace(&mut held.draining, draining))?;
        // Only then is what is left all that there will be.
        ensure!(posted.wait(SHARDS_TIME), LATE);
        let allocations = self.status().allocations.active;
        match (before, draining) {
            (false, true) => tracing::info!(allocations, "draining: no new allocations"),
            (true, false) => tracing::info!(allocations, "new allocations are made again"),
            _ => {}
        }
        Ok(Drained { draining, allocations })
    }

    /// Changes what holds and tells the shards; when that cannot be, nothing has changed. The front desk is told if the
    /// settings were `read` for it: its certificates may be newer than the settings that hold.
    fn change<T>(&self, read: bool, make: impl FnOnce(&mut Held) -> T) -> Result<(T, Reconfigured)> {
        let phase = self.phase();
        let Phase::Ready(parts) = &*phase else { bail!(NOT_READY) };
        let mut held = lock(&self.held);
        let mut next = held.clone();
        if let Some((front, _)) = parts.front.as_ref().filter(|_| read) {
            // What is different is so from what is served, not from what was read with the settings.
            next.settings.tls.certificates = front.certificates();
        }
        let made = make(&mut next);
        let core = core_config(&next.settings, &next.host, next.draining)?;
        let posted = parts.server.reconfigure(&Arc::new(core));
        parts.datapath.control(&controls(&next.settings));
        if let Some((_, web)) = &parts.front {
            web.set_draining(next.draining);
        }
        if let Some((front, web)) = parts.front.as_ref().filter(|_| read) {
            web.replace(Site::new(&next.settings));
            let streams = web::stream_settings(&next.settings);
            let pages = web::router(web.clone(), streams.upstream.is_some());
            front.reconfigure(&next.settings.tls, streams, pages);
        }
        *held = next;
        Ok((made, posted))
    }

    fn phase(&self) -> RwLockReadGuard<'_, Phase> {
        self.phase.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, next: Phase) -> Phase {
        std::mem::replace(&mut *self.phase.write().unwrap_or_else(PoisonError::into_inner), next)
    }
}

impl Source for Running {
    fn status(&self) -> Status {
        let phase = self.phase();
        let held = lock(&self.held).clone();
        let settings = &held.settings;
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: process::id(),
            state: match *phase {
                Phase::Starting => State::Starting,
                Phase::Ready(..) if held.draining => State::Draining,
                Phase::Ready(..) => State::Ready,
                Phase::Stopping => State::Stopping,
            },
            started: self.started.1,
            uptime_seconds: self.started.0.elapsed().as_secs(),
            realm: settings.realm.as_str().into(),
            other_realms: settings.realms.iter().map(|realm| realm.name.as_str().into()).collect(),
            shards: settings.shards,
            listeners: settings.listen.iter().map(ToString::to_string).collect(),
            relay_addresses: settings.relay_addresses.iter().map(ToString::to_string).collect(),
            relay_ports: settings.relay_ports.to_string(),
            relay_sockets: String::new(),
            reload: held.reload.clone(),
            datapath: settings.datapath,
            interfaces: Vec::new(),
            interface_traffic: Vec::new(),
            connections: Vec::new(),
            connections_refused: 0,
            dtls: Vec::new(),
            allocations: Allocations::default(),
            bindings: Bindings::default(),
            traffic: Vec::new(),
            responses: Vec::new(),
            drops: Drops::default(),
            front: None,
            tcp_relay: settings.tcp_relay.map(|_| TcpRelay::default()),
        };
        if let Phase::Ready(parts) = &*phase {
            parts.count(&mut status);
        }
        status
    }

    fn reload(&self) -> Result<Reloaded, String> {
        Running::reload(self).map_err(|error| format!("{error:#}"))
    }

    fn drain(&self, begin: bool) -> Result<Drained, String> {
        self.set_draining(begin).map_err(|error| format!("{error:#}"))
    }

    fn sessions(&self, query: &SessionQuery) -> Result<Sessions, String> {
        let asked = match &*self.phase() {
            Phase::Ready(parts) => parts.server.sessions(query),
            _ => return Err(NOT_READY.into()),
        };
        Ok(sessions::told(asked.wait(SESSIONS_TIME).ok_or(SLOW)?, query.most))
    }

    fn end_sessions(&self, which: &Selection) -> Result<EndedSessions, String> {
        let asked = match &*self.phase() {
            Phase::Ready(parts) => parts.server.end_sessions(which),
            _ => return Err(NOT_READY.into()),
        };
        let ended: Option<u64> = asked.wait(SHARDS_TIME).map(|counts| counts.iter().sum());
        if let (Selection::User(user), ended) = (which, ended.unwrap_or_default()) {
            tracing::info!(user = %printable(user), ended, "ended the sessions of a user");
        }
        Ok(EndedSessions { ended: ended.ok_or(LATE)? })
    }
}

const NOT_READY: &str = "the server is starting or stopping";

/// How long the shards may take to tell of their allocations: see `net::walk`.
const SESSIONS_TIME: Duration = Duration::from_secs(1);

const SLOW: &str = "not every shard has answered within a second: the server is overloaded; ask again";

const LATE: &str =
    "not every shard has taken this up yet: the server is overloaded, or broken (its log says more)";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The peer rules depend on the host's addresses, which come and go without a word in any file.
fn own_addresses(before: &Host, after: &Host) -> Option<Change> {
    let set = |host: &Host| host.addresses.iter().map(|(_, ip)| *ip).collect::<HashSet<IpAddr>>();
    let (before, after) = (set(before), set(after));
    let (new, gone) = (after.difference(&before).count(), before.difference(&after).count());
    let what = format!("{new} new, {gone} gone; {} now", after.len());
    (new + gone > 0).then(|| Change { key: "own addresses".into(), what })
}

/// `auth.users: 1 new; 3 now | listen: ...`, on one line.
fn summary(changes: &[Change]) -> String {
    let texts: Vec<_> = changes.iter().map(|change| format!("{}: {}", change.key, change.what)).collect();
    if texts.is_empty() { "nothing".into() } else { texts.join(" | ") }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::flags::SettingsFlags;
    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        settings: SettingsFlags,
    }

    /// Nothing is wrong with the files then, and an alert on the metric would last until the next reload.
    #[test]
    fn a_reload_that_comes_before_the_server_is_ready_has_not_failed() {
        let flags = "turnpike --listen udp://127.0.0.1 --user a:b".split(' ');
        let mut origin = Origin::new(Flags::parse_from(flags).settings);
        let reading = origin.first().unwrap();
        let running = Running::new(origin, reading);
        let error = Running::reload(&running).unwrap_err().to_string();
        assert!(error.contains("starting"), "{error}");
        assert!(running.status().reload.successful);
    }
}
