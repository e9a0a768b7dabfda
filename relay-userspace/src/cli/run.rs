//! `turnpike run`: from settings to a running server, and its end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, process, thread};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use super::flags::SettingsFlags;
use super::log;
use super::running::Running;
use super::screen::print;
use super::welcome::Welcome;
use crate::admin::{Admin, Source};
use crate::config::{self, AdminListen, Host, Resolved, Settings, User};
use crate::datapath::{Datapath, DatapathConfig, FastPath};
use crate::net::{Server, ServerConfig};
use crate::turn::{CoreConfig, Shared};

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
    // Before there is any thread, so that none but this one is ever interrupted.
    let signals = StopSignals::claim()?;
    let _log = log::start(args.log_format).context("cannot start the log's thread")?;
    let host = Host::read().context("cannot read this host's addresses")?;
    let path = args.settings.config.clone();
    let Resolved { mut settings, warnings } = config::load(path.as_deref(), args.settings.layer(), &host)?;
    let generated = generate_user(&mut settings)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }

    let core = Arc::new(core_config(&settings, &host)?);
    let shared = Arc::new(Shared::new(&core, random()?));
    let running = Arc::new(Running::new(settings.clone(), shared.clone()));
    let admin = start_admin(&settings, running.clone())?;
    let (server, datapath) = start(&settings, core, shared)?;
    for interface in datapath.interfaces() {
        let (name, mode) = (&interface.name, interface.mode);
        for reason in &interface.reasons {
            tracing::info!(interface = name, %mode, "{reason}");
        }
    }
    running.ready(server, datapath);

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
    signals.force_on_next();
    running.stop();
    Ok(ExitCode::SUCCESS)
}

/// A user for this run when nobody could come in otherwise.
fn generate_user(settings: &mut Settings) -> Result<Option<User>> {
    if !settings.users.is_empty() || !settings.secrets.is_empty() {
        return Ok(None);
    }
    let password: String = random::<12>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let user = User::new("turnpike", &password)?;
    settings.users.push(user.clone());
    Ok(Some(user))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the kernel gave no random numbers")?;
    Ok(bytes)
}

fn core_config(settings: &Settings, host: &Host) -> Result<CoreConfig> {
    Ok(CoreConfig {
        realms: settings.realms()?,
        peer_rules: settings.peer_rules(host),
        relay_addresses: settings.relay_addresses.clone(),
        relay_ports: settings.relay_ports.range(),
        max_lifetime: settings.max_lifetime,
        lifetimes: settings.lifetimes,
        user_quota: settings.user_quota,
        total_quota: settings.total_quota,
        // Answers are short, and scanners learn no version.
        software: None,
    })
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

fn start(settings: &Settings, core: Arc<CoreConfig>, shared: Arc<Shared>) -> Result<(Server, Datapath)> {
    let listeners: Vec<SocketAddr> = settings.listen.iter().map(|listen| listen.0).collect();
    let mut datapath = Datapath::start(&DatapathConfig {
        request: settings.datapath,
        interfaces: Some(settings.interfaces.clone()).filter(|names| !names.is_empty()),
        listeners: listeners.clone(),
        relay: settings.relay_addresses.clone(),
        relay_ports: settings.relay_ports.range(),
        max_bindings: settings.max_bindings,
        shards: settings.shards,
    })?;
    let mut writers: Vec<Option<Box<dyn FastPath>>> =
        (0..settings.shards).map(|shard| Some(datapath.writer(shard))).collect();
    let server = Server::start(ServerConfig {
        listeners,
        shards: settings.shards,
        core,
        shared,
        fast_path: Box::new(move |shard| writers[shard].take().expect("a shard is started once")),
    })?;
    Ok((server, datapath))
}

/// From the text of `/proc/self/status`.
fn is_ignored(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as u32 - 1) & 1 == 1
}

/// The signals that end the server, held back until it asks for them.
struct StopSignals(SigSet);

impl StopSignals {
    /// Those that the process was started to ignore are left alone (`nohup turnpike run`, `turnpike run &` in a script):
    /// a blocked signal waits for us even when it is ignored.
    fn claim() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        let set = SigSet::from_iter(signals.into_iter().filter(|signal| !is_ignored(&status, *signal)));
        set.thread_block().context("cannot hold signals back")?;
        Ok(Self(set))
    }

    fn wait(&self) -> Result<Signal> {
        self.0.wait().context("cannot wait for signals")
    }

    /// From now on one more signal ends the process, whatever it waits for.
    fn force_on_next(&self) {
        let set = self.0;
        thread::spawn(move || {
            if set.wait().is_ok() {
                eprintln!("turnpike: ended by force; XDP programs may still be attached");
                process::exit(1);
            }
        });
    }
}
