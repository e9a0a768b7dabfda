//! The rules for the host, over what was read of it.

use super::finding::{Finding, Findings, Level};
use super::machine::Machine;

/// What the rules depend on besides the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Whether XDP is, in any mode.
    pub(super) xdp: bool,
    /// The relayed ports.
    pub(super) ports: (u16, u16),
    /// How many addresses relay.
    pub(super) addresses: usize,
    /// The ports to reserve, when the kernel may give one of ours to other programs.
    pub(super) reserve: Option<&'a str>,
    /// What a listener's receive buffer should hold, in bytes.
    pub(super) buffer: usize,
}

/// Of `linux/capability.h`.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// From which kernel on maps are no longer counted against RLIMIT_MEMLOCK.
const NO_MEMLOCK: (u32, u32) = (5, 11);

/// Everything there is to say about the host.
pub(super) fn judge(machine: &Machine, wanted: Wanted<'_>) -> Vec<Finding> {
    let mut findings = Findings::about("host");
    if wanted.xdp {
        kernel(machine, &mut findings);
        capabilities(machine, &mut findings);
        memlock(machine, &mut findings);
        program(machine, &mut findings);
        bpf(machine, &mut findings);
    } else {
        findings
            .say(Level::Note, "--datapath userspace: XDP is not asked for, the interfaces are not looked at");
    }
    ports(wanted, &mut findings);
    buffers(machine, wanted, &mut findings);
    limits(machine, wanted, &mut findings);
    findings.into_list()
}

/// The oldest that has every call used.
const OLDEST: (u32, u32) = (5, 11);

fn kernel(machine: &Machine, findings: &mut Findings) {
    let (release, version) = (&machine.release, machine.kernel());
    if version < OLDEST {
        findings.say(Level::Error, format!("kernel {release}: XDP needs 5.11, better 5.15, or newer here"));
    } else if version < (5, 15) {
        findings.say(Level::Warning, format!("kernel {release}: 5.15 is the oldest that is aimed at"));
    } else if version < (5, 18) {
        findings.say(
            Level::Note,
            format!("kernel {release}: from 5.18 on XDP takes packets in pieces (large MTUs)"),
        );
    } else {
        findings.say(Level::Ok, format!("kernel {release}"));
    }
}

/// Those that XDP needs and this process lacks.
pub(super) fn lacking(machine: &Machine) -> Vec<&'static str> {
    let Some(bits) = machine.capabilities else { return Vec::new() };
    let has = |capability: u32| bits & 1 << capability != 0;
    // CAP_SYS_ADMIN has been all of BPF and still stands for the two newer ones.
    let wanted = [
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN)),
        ("CAP_NET_ADMIN", has(NET_ADMIN)),
        ("CAP_PERFMON", has(PERFMON) || has(SYS_ADMIN)),
    ];
    wanted.into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect()
}

/// What XDP, and sockets that allocations share, need.
pub(in crate::datapath) const ALL_CAPABILITIES: &str = "cap_bpf,cap_net_admin,cap_net_raw,cap_perfmon+ep";

fn capabilities(machine: &Machine, findings: &mut Findings) {
    let lacking = lacking(machine);
    let binary = machine.binary.as_deref().unwrap_or("turnpike");
    let setcap = format!("setcap {ALL_CAPABILITIES} {binary}");
    if !lacking.is_empty() {
        let text = format!("{} lacking: run as root, or give them to the binary", lacking.join(", "));
        return findings.fix(Level::Error, text, setcap);
    }
    findings.say(Level::Ok, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there");
    if machine.capabilities.is_some_and(|bits| bits & 1 << NET_RAW == 0) {
        let text =
            "CAP_NET_RAW lacking: in userspace each allocation has a socket of its own, which is slower";
        findings.fix(Level::Warning, text, setcap);
    }
}

fn memlock(machine: &Machine, findings: &mut Findings) {
    if machine.kernel() >= NO_MEMLOCK || machine.memlock.is_none_or(|limit| limit == u64::MAX) {
        return findings.say(Level::Ok, "locked memory does not limit the tables");
    }
    findings.fix(
        Level::Warning,
        "before 5.11 the tables count as locked memory, which is limited; in the unit file LimitMEMLOCK=infinity",
        "ulimit -l unlimited",
    );
}

fn program(machine: &Machine, findings: &mut Findings) {
    match &machine.refusal {
        Some(reason) => findings.say(Level::Error, reason.clone()),
        None if machine.pieces == Some(false) => findings.say(
            Level::Note,
            "the kernel takes the program and its tables, but not for packets in pieces: large MTUs need generic mode",
        ),
        None if machine.asked => findings.say(
            Level::Ok,
            "the kernel takes the program and its tables, and hands it packets in pieces (xdp.frags)",
        ),
        None => {}
    }
}

fn bpf(machine: &Machine, findings: &mut Findings) {
    match machine.jit {
        Some(0) => findings.fix(
            Level::Warning,
            "BPF programs are interpreted: many times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => findings.say(Level::Ok, "BPF programs are compiled (JIT)"),
        None => {}
    }
    if machine.bpf_stats == Some(1) {
        findings.fix(
            Level::Note,
            "the kernel measures every BPF program, which takes two looks at the clock for each packet",
            "sysctl -w kernel.bpf_stats_enabled=0",
        );
    }
}

fn ports(wanted: Wanted<'_>, findings: &mut Findings) {
    let (first, last) = wanted.ports;
    if let Some(ports) = wanted.reserve {
        findings.fix(
            Level::Warning,
            "the kernel gives relayed ports to other programs on this host",
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={ports}"),
        );
    } else {
        findings.say(Level::Ok, format!("the kernel keeps ports {first}-{last} from other programs"));
    }
}

fn buffers(machine: &Machine, wanted: Wanted<'_>, findings: &mut Findings) {
    // Who may force a size is not held to these.
    if machine.capabilities.is_some_and(|bits| bits & 1 << NET_ADMIN != 0) {
        return findings.say(Level::Ok, "buffers can be made as large as they should be (CAP_NET_ADMIN)");
    }
    for (name, bytes) in [("rmem_max", machine.receive_buffer), ("wmem_max", machine.send_buffer)] {
        match bytes {
            Some(bytes) if bytes < wanted.buffer as u64 => findings.fix(
                Level::Warning,
                format!("net.core.{name} is {bytes}: bursts may be lost in userspace"),
                format!("sysctl -w net.core.{name}={}", wanted.buffer),
            ),
            Some(_) => findings.say(Level::Ok, format!("net.core.{name} is large enough")),
            None => {}
        }
    }
}

fn limits(machine: &Machine, wanted: Wanted<'_>, findings: &mut Findings) {
    let (first, last) = wanted.ports;
    let allocations = (u64::from(last - first) + 1) * wanted.addresses as u64;
    if let Some(files) = machine.open_files {
        if files < allocations {
            findings.fix(
                Level::Note,
                format!(
                    "{files} open files, one for each relayed address of an allocation, and {allocations} relayed \
                     ports; in the unit file LimitNOFILE={allocations}"
                ),
                format!("ulimit -Hn {allocations}"),
            );
        } else {
            findings.say(Level::Ok, format!("{files} open files are enough for {allocations} relayed ports"));
        }
    }
    // The client's side and the peer's.
    let wanted = allocations * 2;
    match machine.conntrack {
        Some(most) if most < wanted => findings.fix(
            Level::Note,
            format!(
                "conntrack follows {most} connections; {wanted} may come by: media on the fast path passes it, all else \
                 does not (or exempt the ports: notrack)"
            ),
            format!("sysctl -w net.netfilter.nf_conntrack_max={wanted}"),
        ),
        _ => {}
    }
}
