//! The rules for an interface, over what was read of it.

use super::card::{Card, FarEnd};
use super::drivers::{Driver, Queues, known};
use super::finding::{Finding, Findings, Level};
use crate::datapath::program::NAMES;

/// What the rules depend on besides the interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) kernel: (u32, u32),
    pub(super) cpus: u32,
    /// Whether our program declares that it takes packets in pieces.
    pub(super) frags: bool,
    /// Whether driver mode is wanted, rather than generic mode.
    pub(super) native: bool,
}

/// A larger receive ring leaves the caches: 1,024 descriptors halved what several cores sent back.
const RING: u32 = 512;

/// Everything there is to say about an interface.
pub(super) fn judge(card: &Card, setting: Setting) -> Vec<Finding> {
    let mut findings = Findings::about(&card.name);
    if card.loopback {
        findings.say(Level::Error, "what is sent over the loopback never comes to a network card");
        return findings.into_list();
    }
    if !card.up {
        findings.fix(Level::Warning, "it is down or has no carrier", format!("ip link set {} up", card.name));
    }
    program(card, &mut findings);
    match card.driver.as_deref() {
        Some("802.1Q VLAN Support" | "vlan") => vlan(card, setting, &mut findings),
        Some(name) => match known(name) {
            Some(driver) => of_driver(card, driver, setting, &mut findings),
            None => findings.say(
                Level::Note,
                format!(
                    "nothing is known here of driver {name}: `turnpike run` tries and says what it answers"
                ),
            ),
        },
        None => findings.say(Level::Note, "its driver does not tell its name, so nothing is known of it"),
    }
    features(card, setting, &mut findings);
    spread(card, setting, &mut findings);
    findings.into_list()
}

fn program(card: &Card, findings: &mut Findings) {
    let Some(program) = &card.program else {
        return findings.say(Level::Ok, "no other XDP program is attached");
    };
    match program.name.as_deref() {
        Some(name) if NAMES.contains(&name) => findings.say(Level::Ok, "a Turnpike runs on it already"),
        name => findings.fix(
            Level::Error,
            format!(
                "another XDP program is attached: number {}, {} (if it stays, stop the program that holds it)",
                program.id,
                name.unwrap_or("whose name needs CAP_BPF to be read")
            ),
            format!("ip link set dev {} xdp off", card.name),
        ),
    }
}

fn vlan(card: &Card, setting: Setting, findings: &mut Findings) {
    let level = if setting.native { Level::Error } else { Level::Note };
    let lower = card.lower.as_deref().unwrap_or("DEV");
    findings.say(
        level,
        format!("a VLAN has no XDP in driver mode; the card under it has, which reads the tags: --interface {lower}"),
    );
}

/// What one driver wants.
fn of_driver(card: &Card, driver: &Driver, setting: Setting, findings: &mut Findings) {
    let name = driver.name;
    let mut remark = |text: &str| findings.say(Level::Note, format!("driver {name}: {text}"));
    if let Some(text) = driver.remark {
        remark(text);
    }
    if !driver.tested {
        remark("its rules come from its source and have not been tried on a card");
    }
    if !setting.native {
        return;
    }
    mtu(card, driver, setting, findings);
    if name == "veth" {
        veth(card, card.far_end.as_ref(), findings);
    }
    if name == "bonding" {
        bond(card, setting, findings);
    }
    if card.virtio_offloads_fixed == Some(true) {
        findings.say(
            Level::Error,
            "the host hands over merged packets or unfinished checksums and this machine cannot turn that off: have \
             it offer control of guest offloads (QEMU: ctrl_guest_offloads=on), or none of them (guest_csum=off)",
        );
    }
    if card.is_on("rx-lro") && driver.refuses_lro {
        lro(card, Level::Error, format!("LRO is on, with which driver {name} refuses XDP"), findings);
    }
    queues(card, driver, setting, findings);
}

fn mtu(card: &Card, driver: &Driver, setting: Setting, findings: &mut Findings) {
    let Some(most) = driver.max_mtu else { return };
    // A veth's own MTU says what it sends; what it receives is up to the other end.
    let far_end = card.far_end.as_ref().filter(|_| driver.name == "veth");
    let of = |mtu: u32| {
        if far_end.is_some() { format!("the other end's MTU of {mtu}") } else { format!("MTU {mtu}") }
    };
    let mtu = far_end.and_then(|far_end| far_end.mtu).unwrap_or(card.mtu);
    if mtu <= most {
        return findings
            .say(Level::Ok, format!("{} is within the {most} of driver {}", of(mtu), driver.name));
    }
    match driver.frags_since {
        Some(since) if setting.frags && setting.kernel >= since => {
            return findings
                .say(Level::Ok, format!("{} is taken in pieces by driver {}", of(mtu), driver.name));
        }
        _ => {}
    }
    let text = format!("{} is more than driver {} takes with XDP, {most}", of(mtu), driver.name);
    let fix = |device: &str| format!("ip link set {device} mtu {most}");
    match far_end {
        None => findings.fix(Level::Error, text, fix(&card.name)),
        Some(FarEnd { name: Some(name), .. }) => findings.fix(Level::Error, text, fix(name)),
        Some(FarEnd { mtu: Some(_), .. }) => {
            findings.fix(Level::Error, format!("{text}; in its network namespace"), fix("DEV"));
        }
        Some(_) => findings.fix(
            Level::Warning,
            format!("MTU {mtu}: the other end cannot be seen from here; driver veth takes {most} there"),
            fix("DEV"),
        ),
    }
}

fn veth(card: &Card, far_end: Option<&FarEnd>, findings: &mut Findings) {
    let Some(far_end) = far_end else { return };
    if far_end.has_xdp {
        findings.say(Level::Ok, "the other end runs an XDP program too");
    } else {
        findings.say(
            Level::Error,
            "the other end runs no XDP program that can be seen, and a veth then delivers what XDP sends late or \
             never: attach one there (any; one that passes everything is enough)",
        );
    }
    let name = far_end.name.as_deref();
    match far_end.leaves_checksums {
        Some(false) => findings.say(Level::Ok, "the other end finishes its checksums"),
        Some(true) => findings.fix(
            Level::Warning,
            "the other end leaves checksums to a card: its packets are relayed in userspace",
            format!("ethtool -K {} tx off", name.unwrap_or("DEV")),
        ),
        None => findings.fix(
            Level::Note,
            "whether the other end finishes its checksums cannot be seen from here; in its network namespace",
            "ethtool -K DEV tx off",
        ),
    }
    if !card.features.is_empty() && !card.is_on("rx-gro") {
        findings.fix(
            Level::Warning,
            "GRO is off: what XDP at the other end sends may be lost when no program runs here",
            format!("ethtool -K {} gro on", card.name),
        );
    }
}

fn bond(card: &Card, setting: Setting, findings: &mut Findings) {
    if setting.kernel < (5, 15) {
        findings.say(Level::Error, "bonds take XDP from Linux 5.15 on");
    }
    let mode = card.bond_mode.as_deref();
    if let Some(mode @ ("broadcast" | "balance-tlb" | "balance-alb")) = mode {
        findings.say(
            Level::Error,
            format!(
                "a bond in mode {mode} takes no XDP: use 802.3ad, active-backup, balance-rr or balance-xor"
            ),
        );
    }
    findings.say(Level::Note, "every member of the bond has to take XDP as well: they are listed too");
}

fn queues(card: &Card, driver: &Driver, setting: Setting, findings: &mut Findings) {
    let Some(channels) = card.channels else { return };
    let name = &card.name;
    let (now, most) = (channels.combined.max(channels.rx), channels.max_combined.max(channels.max_rx));
    let combined = |n: u32| format!("ethtool -L {name} combined {n}");
    match driver.queues {
        Queues::Any | Queues::Software => {}
        Queues::OnePerCpu if now < setting.cpus => {
            let text = format!(
                "{now} of {most} queues in use with {} CPUs: driver {} sends what is redirected on the CPU's own queue",
                setting.cpus, driver.name
            );
            if most >= setting.cpus {
                findings.fix(Level::Warning, text, combined(setting.cpus));
            } else {
                findings.say(Level::Warning, text);
            }
        }
        Queues::Half if now > most / 2 => {
            let text =
                format!("{now} of {most} queues in use: driver ena takes XDP with half of them at most");
            if most >= 2 {
                findings.fix(Level::Error, text, combined((most / 2).min(setting.cpus)));
            } else {
                findings.say(Level::Error, format!("{text}: a larger type of machine has more"));
            }
        }
        Queues::HalfEach if channels.rx != channels.tx || now > most / 2 => {
            let each = (most / 2).min(setting.cpus).max(1);
            findings.fix(
                Level::Error,
                format!(
                    "{} queues to receive and {} to send; driver gve wants the same number of each, and half of its \
                     {most} at most",
                    channels.rx, channels.tx
                ),
                format!("ethtool -L {name} rx {each} tx {each}"),
            );
        }
        Queues::FreeOnePerCpu if now + setting.cpus > most => {
            let text = format!(
                "{now} of {most} queues in use with {} CPUs: driver virtio_net has too few left for XDP to send on, and \
                 takes a lock",
                setting.cpus
            );
            if most > setting.cpus && card.program.is_some() {
                let text = format!("{text}; stop the server first: it takes no other number while XDP runs");
                findings.fix(Level::Warning, text, combined(most - setting.cpus));
            } else if most > setting.cpus {
                findings.fix(Level::Warning, text, combined(most - setting.cpus));
            } else {
                let wanted = 2 * setting.cpus;
                findings.say(Level::Warning, format!("{text}: give the machine {wanted} queues on its host"));
            }
        }
        Queues::Combined if channels.combined == 0 => findings.fix(
            Level::Error,
            "separate queues for receiving and sending, with which driver bnxt_en refuses XDP",
            format!(
                "ethtool -L {name} rx 0 tx 0 combined {}",
                channels.max_combined.min(setting.cpus).max(1)
            ),
        ),
        _ => findings
            .say(Level::Ok, format!("{now} of {most} queues in use, which suits driver {}", driver.name)),
    }
}

/// What every card's features should be.
fn features(card: &Card, setting: Setting, findings: &mut Findings) {
    let name = &card.name;
    let known_refusal = card.driver.as_deref().and_then(known).is_some_and(|driver| driver.refuses_lro);
    if card.is_on("rx-lro") && !(setting.native && known_refusal) {
        lro(
            card,
            Level::Warning,
            "LRO is on: packets come merged, and XDP sees none of them".into(),
            findings,
        );
    } else if card.features.contains_key("rx-lro") && !card.is_on("rx-lro") {
        findings.say(Level::Ok, "LRO is off");
    }
    for (feature, flag) in
        [("rx-vlan-hw-parse", "rxvlan"), ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse")]
    {
        if !card.is_on(feature) {
            continue;
        }
        let command = format!("ethtool -K {name} {flag} off");
        if card.carries_vlans {
            findings.fix(
                Level::Warning,
                format!("{flag} is on and VLANs stand on it: their tags are taken off before XDP sees them"),
                command,
            );
        } else {
            findings.fix(
                Level::Note,
                format!("{flag} is on: matters only if media comes with VLAN tags"),
                command,
            );
        }
    }
}

fn lro(card: &Card, level: Level, text: String, findings: &mut Findings) {
    if card.features.get("rx-lro").is_some_and(|lro| lro.fixed) {
        findings.say(level, format!("{text}; the driver does not let it be turned off"));
    } else {
        findings.fix(level, text, format!("ethtool -K {} lro off", card.name));
    }
}

/// Whether all CPUs take part.
fn spread(card: &Card, setting: Setting, findings: &mut Findings) {
    let name = &card.name;
    let queues = card.channels.map_or(1, |channels| channels.combined.max(channels.rx));
    if let Some(channels) = card.channels {
        let usable = match card.driver.as_deref().and_then(known).map(|driver| driver.queues) {
            Some(Queues::Half | Queues::HalfEach) => channels.max_combined.max(channels.max_rx) / 2,
            Some(Queues::FreeOnePerCpu) => channels.max_combined.saturating_sub(setting.cpus),
            // Of one for each CPU it was said already.
            Some(Queues::OnePerCpu | Queues::Software) => 0,
            _ => channels.max_combined.max(channels.max_rx),
        };
        let wanted = usable.min(setting.cpus);
        if queues < wanted {
            let how = if channels.max_combined > 0 {
                format!("combined {wanted}")
            } else {
                format!("rx {wanted} tx {wanted}")
            };
            findings.fix(
                Level::Warning,
                format!("{queues} of {wanted} useful queues in use: the other CPUs receive nothing"),
                format!("ethtool -L {name} {how}"),
            );
        }
    }
    // A virtio card without this feature answers the question all the same, and refuses to be told.
    let by_host = card.driver.as_deref() == Some("virtio_net")
        && card.features.get("rx-hashing").is_some_and(|hashing| hashing.fixed && !hashing.on);
    if by_host && queues > 1 {
        findings.say(Level::Note, "how packets are spread over the queues is up to the host");
    }
    let hashes_ports = if by_host { [None; 2] } else { card.hashes_ports };
    for (hashes, family) in hashes_ports.into_iter().zip(["udp4", "udp6"]) {
        match hashes {
            Some(false) if queues > 1 => findings.fix(
                Level::Warning,
                format!(
                    "{family} packets are spread by address alone: all of one NAT's clients are on one CPU"
                ),
                format!("ethtool -N {name} rx-flow-hash {family} sdfn"),
            ),
            Some(true) => findings.say(Level::Ok, format!("{family} packets are spread by their ports")),
            _ => {}
        }
    }
    if let Some((interrupts, cpus)) = card.interrupts
        && queues > 1
        && (cpus as u32) < queues.min(setting.cpus)
    {
        findings.fix(
            Level::Warning,
            format!(
                "{interrupts} interrupts of {queues} queues are served by {cpus} of {} CPUs",
                setting.cpus
            ),
            "systemctl start irqbalance",
        );
    }
    for queue in &card.rps {
        findings.fix(
            Level::Note,
            format!("RPS of {queue} is on: what XDP passes up changes the CPU once more"),
            format!("echo 0 > /sys/class/net/{name}/queues/{queue}/rps_cpus"),
        );
    }
    if let Some(ring) = card.ring
        && ring.rx > RING
    {
        findings.fix(
            Level::Note,
            format!(
                "{} descriptors in a receive ring: {RING} are faster where several CPUs forward",
                ring.rx
            ),
            format!("ethtool -G {name} rx {RING}"),
        );
    }
}
