//! `turnpike run`
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: super::flags::SettingsFlags,
    #[arg(long, value_enum, default_value_t)]
    log_format: super::log::Format,
}
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    super::log::start(args.log_format);
    let _ = args.settings.layer();
    Ok(ExitCode::SUCCESS)
}
