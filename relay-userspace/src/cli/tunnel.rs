//! `turnpike tunnel`: a local TURN endpoint, carried to a server over a WebSocket.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::connect::ConnectFlags;
use super::log;
use crate::client::{Connector, ServerUrl};
use crate::tunnel::{Limits, Local, Tunnel};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  A SIP system on this host is told that its TURN server is 127.0.0.1:3478:
    turnpike tunnel --to wss://turn.example.org/turn
  Through a proxy that asks for a password:
    turnpike tunnel --to wss://turn.example.org/turn --proxy http://proxy.corp:3128 --proxy-auth-file /etc/turnpike/proxy
  For the other machines of a network, which are told this host's address:
    turnpike tunnel --listen udp://192.0.2.10:3478 --listen tcp://192.0.2.10:3478 --to wss://turn.example.org/turn")]
pub(super) struct Args {
    /// Where local clients come to: udp://ADDRESS:PORT or tcp://ADDRESS:PORT; several times for several
    #[arg(long, value_name = "LISTEN", default_values_t = [
        Local::Udp(([127, 0, 0, 1], 3478).into()), Local::Tcp(([127, 0, 0, 1], 3478).into())])]
    listen: Vec<Local>,

    /// The server: wss://HOST[:PORT]/turn; turns:HOST[:PORT], turn:HOST?transport=tcp and ws:// are possible too
    #[arg(long, value_name = "URL")]
    to: ServerUrl,

    #[command(flatten)]
    connect: ConnectFlags,

    /// Most clients at once; each UDP address and TCP connection is one
    #[arg(long, value_name = "N", default_value_t = Limits::CLIENTS as u32,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_clients: u32,

    /// Close the connection of a client over which nothing went for this long: 15m, 90s
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = idle)]
    idle: Duration,

    /// How log lines look; they go to stderr, and RUST_LOG sets their level
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,
}

fn idle(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if time < Duration::from_secs(1) { Err("at least one second".into()) } else { Ok(time) }
}

pub(super) fn main(args: Args) -> Result<ExitCode> {
    ensure!(
        !args.to.carrier.is_datagram(),
        "--to {}: what can use UDP needs no tunnel; write wss://HOST/turn",
        args.to
    );
    let _log = log::start(args.log_format).context("cannot start the log's thread")?;
    let connector = args.connect.connector(args.to)?;
    let limits = Limits { clients: args.max_clients as usize, idle: args.idle };
    // One thread: it copies, and what a proxy lets through is less than one core can encrypt.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    runtime.block_on(serve(&args.listen, connector, limits))?;
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(listen: &[Local], connector: Connector, limits: Limits) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
    let tunnel = Tunnel::open(listen, connector.clone(), limits).await?;
    for local in tunnel.listening()? {
        tracing::info!("listening at {local}");
    }
    let proxy = connector.proxy().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
    tracing::info!("carrying TURN to {}{proxy}", connector.url());
    let trial = tokio::spawn(async move { try_once(&connector).await });
    let stop = async {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("{name}: stopping");
    };
    tunnel.serve(stop).await;
    trial.abort();
    tracing::info!("stopped");
    Ok(())
}

/// So that the operator knows at once, and not with the first call.
async fn try_once(connector: &Connector) {
    match connector.connect(&mut |_| {}).await {
        Ok(mut connection) => {
            tracing::info!("the server can be reached");
            connection.sender.close().await;
        }
        Err(failed) => {
            let (step, why) = (failed.step.name(), &failed.why);
            tracing::warn!(step, "the server cannot be reached now: {why}");
        }
    }
}
