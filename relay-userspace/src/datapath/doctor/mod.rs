//! What on this host keeps XDP from running, or from running well, and the command that changes it.
//!
//! Facts are read first (`card`, `machine`); the rules (`card_rules`, `machine_rules`) are functions of them,
//! and what is known of drivers is a table (`drivers`).

mod card;
mod card_rules;
mod drivers;
mod ethtool;
mod finding;
mod machine;
mod machine_rules;

#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use card::{Card, with_those_below};
use card_rules::Setting;
pub use finding::{Finding, Level};
use machine::Machine;
use machine_rules::Wanted;
use relay_common::tables::Settings;

use super::interfaces::Network;
use super::ladder::load_reason;
use super::netlink::Link;
use super::program::{Plan, Program};
use super::{DatapathConfig, DatapathError, InterfaceStatus, Mode, Request, TableSize, object};
use crate::meter_bank::MeterBank;

/// What is to be examined.
#[derive(Clone, Copy, Debug)]
pub struct Examination<'a> {
    /// What the data path would be started with.
    pub datapath: &'a DatapathConfig,
    /// What `net.ipv4.ip_local_reserved_ports` should be, when the kernel may give relayed ports to other programs.
    pub reserve: Option<&'a str>,
    /// What a listener's receive buffer should hold, in bytes.
    pub buffer: usize,
}

/// Looks at the host and at every interface that the data path would use. Nothing is changed and nothing attached, but
/// the program is loaded once, where we may, to hear what the kernel says of it.
pub fn examine(examination: Examination<'_>) -> Result<Vec<Finding>, DatapathError> {
    let Examination { datapath: config, reserve, buffer } = examination;
    let network = Network::read().unwrap_or_default();
    let links = used(&network, config)?;
    let mut machine = Machine::read();
    let xdp = config.request != Request::Userspace;
    let may_load = machine_rules::lacking(&machine).is_empty() && links.iter().any(|link| !link.loopback);
    if xdp && (may_load || object().is_none()) {
        machine.asked = true;
        match load(config) {
            Ok(pieces) => machine.pieces = Some(pieces),
            Err(reason) => machine.refusal = Some(reason),
        }
    }
    let wanted = Wanted {
        xdp,
        ports: (*config.relay_ports.start(), *config.relay_ports.end()),
        addresses: config.relay.len(),
        reserve,
        buffer,
    };
    let mut findings = machine_rules::judge(&machine, wanted);
    if !xdp {
        return Ok(findings);
    }
    if links.is_empty() {
        findings.push(Finding {
            about: "host".into(),
            level: Level::Error,
            text: "no interface carries the listen and relay addresses: name one with --interface".into(),
            command: None,
        });
    }
    let setting = setting(config.request, &machine);
    for link in with_those_below(&links, &network) {
        findings.extend(card_rules::judge(&Card::read(&link, &network), setting));
    }
    Ok(findings)
}

/// Of an interface that was to run XDP in driver mode and does not: what can be done about it.
pub fn advice(interface: &InterfaceStatus) -> Vec<Finding> {
    if interface.mode == Mode::Xdp {
        return Vec::new();
    }
    let network = Network::read().unwrap_or_default();
    let Some(link) = network.links.iter().find(|link| link.index == interface.index && !link.loopback) else {
        return Vec::new();
    };
    let setting = setting(Request::Auto, &Machine::read());
    let links = with_those_below(std::slice::from_ref(link), &network);
    let all = links.iter().flat_map(|link| card_rules::judge(&Card::read(link, &network), setting));
    all.filter(|finding| finding.level >= Level::Warning && finding.command.is_some()).collect()
}

/// The interfaces that `run` would use.
fn used(network: &Network, config: &DatapathConfig) -> Result<Vec<Link>, DatapathError> {
    let Some(names) = &config.interfaces else {
        return Ok(network.carrying(&config.listeners, &config.relay));
    };
    let find = |name: &String| network.links.iter().find(|link| link.name == *name).cloned();
    let names: BTreeSet<_> = names.iter().collect();
    names
        .into_iter()
        .map(|name| find(name).ok_or_else(|| DatapathError::NoSuchInterface(name.clone())))
        .collect()
}

/// Loads the program with tables as large as `run` would make them, and lets go of both. Whether it is handed packets in
/// pieces.
fn load(config: &DatapathConfig) -> Result<bool, String> {
    let object =
        object().ok_or("this binary was built without the eBPF object: run `cargo xtask build-ebpf`")?;
    let size = TableSize::for_bindings(config.max_bindings);
    let settings = Settings {
        records: size.usable(),
        bucket_mask: size.buckets - 1,
        first_port: *config.relay_ports.start(),
        last_port: *config.relay_ports.end(),
        ..Settings::default()
    };
    let plan = Plan {
        size,
        meters: MeterBank::rows_for(1),
        settings,
        strangers: [0; _],
        locals: Default::default(),
    };
    Program::load(object, &plan).map(|(program, _)| program.takes_pieces()).map_err(|e| load_reason(&e))
}

/// Whether a driver is handed packets in pieces that came by another interface, on this kernel.
pub(super) fn sends_pieces(driver: &str) -> bool {
    let since = drivers::known(driver).and_then(|driver| driver.sends_pieces_since);
    since.is_some_and(|since| machine::kernel() >= since)
}

fn setting(request: Request, machine: &Machine) -> Setting {
    Setting {
        kernel: machine.kernel(),
        cpus: machine.cpus,
        // Where it was not asked, the rules go by the kernel's version.
        frags: machine.pieces.unwrap_or(true),
        native: request != Request::XdpGeneric,
    }
}
