//! Where the settings of a server come from, at its start and at each reload.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::flags::SettingsFlags;
use crate::config::{self, Host, Layer, Resolved, Settings, User};
use crate::turn::CoreConfig;

/// The flags, the file that they name, and the user that was made up.
#[derive(Debug)]
pub(super) struct Origin {
    file: Option<PathBuf>,
    flags: Layer,
    generated: Option<User>,
}

/// What was read, all at one time.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) settings: Settings,
    pub(super) host: Host,
    pub(super) warnings: Vec<String>,
}

impl Origin {
    pub(super) fn new(flags: SettingsFlags) -> Self {
        Self { file: flags.config.clone(), flags: flags.layer(), generated: None }
    }

    /// Reads the settings for the start, and makes up a user when nobody could come in otherwise.
    pub(super) fn first(&mut self) -> Result<Reading> {
        let mut reading = self.read()?;
        if lets_nobody_in(&reading.settings) {
            let password: String = random::<12>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let user = User::new("turnpike", &password)?;
            reading.settings.users.push(user.clone());
            self.generated = Some(user);
        }
        Ok(reading)
    }

    /// Reads them again. The user that was made up stays while there is no other.
    ///
    /// A server that let people in does not shut them all out: a file that is empty is one that is being written.
    pub(super) fn again(&self) -> Result<Reading> {
        let mut reading = self.read()?;
        if lets_nobody_in(&reading.settings) {
            let settings = &mut reading.settings;
            settings.users.extend(self.generated.clone());
            ensure!(
                !lets_nobody_in(settings),
                "there is no user and no secret left, so nobody could come in: list one (users, users-file, secrets, \
                 secrets-file)"
            );
        }
        Ok(reading)
    }

    /// The user of this run, if nobody else was configured at the start.
    pub(super) fn generated(&self) -> Option<&User> {
        self.generated.as_ref()
    }

    fn read(&self) -> Result<Reading> {
        let host = Host::read().context("cannot read this host's addresses")?;
        let Resolved { settings, warnings } = config::load(self.file.as_deref(), self.flags.clone(), &host)?;
        Ok(Reading { settings, host, warnings })
    }
}

fn lets_nobody_in(settings: &Settings) -> bool {
    !settings.has_credentials()
}

/// Random bytes of the kernel.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the kernel gave no random numbers")?;
    Ok(bytes)
}

/// The settings as the protocol cores take them.
pub(super) fn core_config(settings: &Settings, host: &Host, draining: bool) -> Result<CoreConfig> {
    Ok(CoreConfig {
        realms: settings.realms()?,
        peer_rules: settings.peer_rules(host).into(),
        relay_addresses: settings.relay_addresses.clone(),
        relay_ports: settings.relay_ports.range(),
        max_lifetime: settings.max_lifetime,
        discovery: settings.discovery.clone(),
        alternate: settings.alternate.clone(),
        lifetimes: settings.lifetimes,
        mobility: settings.mobility,
        user_quota: settings.user_quota,
        smaller_quotas: settings.smaller_quotas(),
        total_quota: settings.total_quota,
        rates: settings.rates.rates(),
        allocation_peers: settings.rates.allocation_peers as usize,
        strangers: settings.rates.strangers.rate(),
        peer_overrides: settings.peer_overrides(),
        tcp_relay: settings.tcp_relay,
        // Off by default: answers are short, and nobody learns the version.
        software: settings.software.then(|| concat!("Turnpike ", env!("CARGO_PKG_VERSION")).to_owned()),
        draining,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_version_only_if_the_operator_says_so() {
        let told = |software| {
            let layer = Layer { software, ..Layer::default() };
            let settings = layer.resolve(&Host::default()).unwrap().settings;
            core_config(&settings, &Host::default(), false).unwrap().software
        };
        assert_eq!(told(None), None);
        let expected = format!("Turnpike {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(told(Some(true)), Some(expected));
    }
}
