//! `turnpike run`: from settings to a running server, and its end.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use relay_common::tables::Controls;

use super::flags::SettingsFlags;
use super::log;
use super::origin::{Origin, core_config, random};
use super::running::Running;
use super::screen::print;
use super::signals::Signals;
use super::welcome::Welcome;
use crate::admin::{Admin, Source};
use crate::config::{AdminListen, Settings};
use crate::datapath::{Datapath, DatapathConfig, FastPath, Request, doctor};
use crate::front::{Front, FrontConfig};
use crate::net::{DtlsConfig, Server, ServerConfig};
use crate::turn::{CoreConfig, Shared};
use crate::web::{self, Site, Web};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsFlags,

    /// How log lines and the start-up screen look
    ///
    /// The log goes to stderr; RUST_LOG sets its level, for instance RUST_LOG=warn. With json, one JSON object on stdout
    /// takes the place of the start-up screen.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, help_heading = "Operation")]
    log_format: log::Format,
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    let signals = Signals::claim()?;
    let _log = log::start(args.log_format).context("cannot start the log's thread")?;
    let mut origin = Origin::new(args.settings);
    let reading = origin.first()?;
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }

    let generated = origin.generated().cloned();
    let settings = reading.settings.clone();
    let core = Arc::new(core_config(&settings, &reading.host, false)?);
    let running = Arc::new(Running::new(origin, reading));
    let admin = start_admin(&settings, running.clone())?;
    let (server, datapath, shared) = start(&settings, core)?;
    for interface in &datapath.interfaces() {
        let (name, mode) = (&interface.name, interface.mode);
        for reason in &interface.reasons {
            tracing::info!(interface = name, %mode, "{reason}");
        }
        if settings.datapath == Request::Auto {
            for doctor::Finding { about, text, command, .. } in doctor::advice(interface) {
                tracing::warn!(interface = about, command, "{text}");
            }
        }
    }
    // Last of all: who connects is served at once.
    let front = open_front(&settings, &server, &running)?;
    running.ready(server, datapath, shared, front);
    signals.reload_at_hangup(&running)?;

    let status = running.status();
    let welcome = Welcome::new(&settings, &status, admin.as_ref().map(Admin::address), generated.as_ref());
    let shown = match args.log_format {
        log::Format::Text => print(format_args!("{}\n", welcome.screen())),
        log::Format::Json => print(welcome.json()),
    };
    if let Err(error) = shown {
        tracing::warn!("no start-up screen: {error:#}");
    }

    let signal = signals.wait()?;
    tracing::info!("{signal}: stopping; once more to end at once");
    let stopping = signals.force_on_next();
    running.stop();
    drop(admin);
    stopping.done();
    Ok(ExitCode::SUCCESS)
}

/// The admin API, unless it is off. Its default port may be taken by another Turnpike; a port that was asked for must be
/// free.
fn start_admin(settings: &Settings, source: Arc<Running>) -> Result<Option<Admin>> {
    let AdminListen::On(address) = settings.admin else { return Ok(None) };
    match Admin::start(address, source) {
        Ok(admin) => Ok(Some(admin)),
        Err(error) if settings.admin_is_explicit => Err(error).with_context(|| {
            format!("cannot serve the admin API on {address}: choose another with --admin, or off")
        }),
        Err(error) => {
            tracing::warn!(%address, %error, "no admin API: choose another address with --admin");
            Ok(None)
        }
    }
}

/// The front desk, if there is a listener for it.
fn open_front(
    settings: &Settings,
    server: &Server,
    running: &Arc<Running>,
) -> Result<Option<(Front, Arc<Web>)>> {
    if !settings.has_front() {
        return Ok(None);
    }
    let streams = server.streams();
    // It has the desk.
    let running = Arc::downgrade(running);
    let web = Web::new(Site::new(settings));
    let config = FrontConfig {
        listen: settings.listen.clone(),
        tls: settings.tls.clone(),
        streams: web::stream_settings(settings),
        web: web::router(web.clone(), settings.streams.upstream.is_some()),
        admit: Box::new(move |stream| streams.admit(stream)),
        certificate_read: Box::new(move || {
            if let Some(running) = running.upgrade() {
                running.certificate_read();
            }
        }),
    };
    let front = Front::open(config)?;
    let listeners: Vec<_> = settings.dtls_listeners().collect();
    if !listeners.is_empty() {
        server.serve_dtls(&DtlsConfig { listeners, door: front.dtls() })?;
    }
    Ok(Some((front, web)))
}

/// What the data path is started with.
pub(super) fn datapath_config(settings: &Settings) -> DatapathConfig {
    DatapathConfig {
        request: settings.datapath,
        interfaces: Some(settings.interfaces.clone()).filter(|names| !names.is_empty()),
        listeners: settings.udp_listeners().collect(),
        relay: settings.relay_addresses.clone(),
        relay_ports: settings.relay_ports.range(),
        max_bindings: settings.max_bindings,
        shards: settings.shards,
        controls: controls(settings),
    }
}

/// What the data path goes by and a reload may change.
pub(super) fn controls(settings: &Settings) -> Controls {
    Controls {
        strangers: settings.rates.strangers.rate().map(|rate| rate.limit()).unwrap_or_default(),
        // The answers of discovery say more, and some leave by another address.
        answer_bindings: (settings.answer_bindings && settings.discovery.is_none()).into(),
    }
}

fn start(settings: &Settings, core: Arc<CoreConfig>) -> Result<(Server, Datapath, Arc<Shared>)> {
    let config = datapath_config(settings);
    let mut datapath = Datapath::start(&config)?;
    let shared = Arc::new(Shared::new(&core, random()?).metered_by(datapath.meters()));
    let mut writers: Vec<Option<Box<dyn FastPath>>> =
        (0..settings.shards).map(|shard| Some(datapath.writer(shard))).collect();
    let server = Server::start(ServerConfig {
        listeners: config.listeners,
        shards: settings.shards,
        core,
        shared: shared.clone(),
        relay_sockets: settings.relay_sockets,
        fast_path: Box::new(move |shard| writers[shard].take().expect("a shard is started once")),
    })?;
    Ok((server, datapath, shared))
}
