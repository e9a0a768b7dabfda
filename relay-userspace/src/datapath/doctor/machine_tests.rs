//! Every rule for the host, hit and missed.

use super::Level;
use super::machine::Machine;
use super::machine_rules::{self, Wanted};
use super::tests::todo;

const WANTED: Wanted<'_> =
    Wanted { xdp: true, ports: (50_000, 50_999), addresses: 1, reserve: None, buffer: 4 << 20 };

/// A host to which there is nothing to be said.
fn good_host() -> Machine {
    Machine {
        pieces: Some(true),
        release: "6.18.0".into(),
        capabilities: Some(1 << 12 | 1 << 13 | 1 << 38 | 1 << 39),
        binary: Some("/opt/turnpike".into()),
        cpus: 4,
        memlock: Some(u64::MAX),
        open_files: Some(1000),
        receive_buffer: Some(4 << 20),
        send_buffer: Some(4 << 20),
        jit: Some(1),
        bpf_stats: Some(0),
        conntrack: Some(2000),
        refusal: None,
        asked: true,
    }
}

#[test]
fn a_good_host_has_nothing_to_be_done() {
    let findings = machine_rules::judge(&good_host(), WANTED);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
}

#[test]
fn every_setting_of_the_host_is_judged() {
    use Level::{Error, Note, Warning};
    let host = good_host;
    let setcap = "setcap cap_bpf,cap_net_admin,cap_net_raw,cap_perfmon+ep /opt/turnpike";
    let all_but = |bit: u32| Some(good_host().capabilities.unwrap() & !(1 << bit));
    let cases = [
        (Machine { release: "5.10.0".into(), ..host() }, vec![(Error, "-")]),
        (Machine { release: "5.11.0".into(), ..host() }, vec![(Warning, "-")]),
        (Machine { release: "5.17.9".into(), ..host() }, vec![(Note, "-")]),
        (Machine { capabilities: all_but(38), ..host() }, vec![(Error, setcap)]),
        (Machine { capabilities: all_but(39), ..host() }, vec![(Error, setcap)]),
        (Machine { capabilities: Some(1 << 12 | 1 << 13 | 1 << 21), ..host() }, vec![]),
        (Machine { capabilities: all_but(13), ..host() }, vec![(Warning, setcap)]),
        (
            Machine { release: "5.10.0".into(), memlock: Some(65_536), ..host() },
            vec![(Error, "-"), (Warning, "ulimit -l unlimited")],
        ),
        (Machine { memlock: Some(65_536), ..host() }, vec![]),
        (Machine { refusal: Some("no".into()), ..host() }, vec![(Error, "-")]),
        (Machine { jit: Some(0), ..host() }, vec![(Warning, "sysctl -w net.core.bpf_jit_enable=1")]),
        (Machine { bpf_stats: Some(1), ..host() }, vec![(Note, "sysctl -w kernel.bpf_stats_enabled=0")]),
        (Machine { open_files: Some(999), ..host() }, vec![(Note, "ulimit -Hn 1000")]),
        (
            Machine { conntrack: Some(1999), ..host() },
            vec![(Note, "sysctl -w net.netfilter.nf_conntrack_max=2000")],
        ),
        (
            Machine { capabilities: Some(0), receive_buffer: Some(212_992), send_buffer: Some(1), ..host() },
            vec![
                (Error, setcap),
                (Warning, "sysctl -w net.core.rmem_max=4194304"),
                (Warning, "sysctl -w net.core.wmem_max=4194304"),
            ],
        ),
        // Who may force a size does not need them; what cannot be read is not judged.
        (Machine { receive_buffer: Some(1), ..host() }, vec![]),
        (Machine { jit: None, bpf_stats: None, conntrack: None, open_files: None, ..host() }, vec![]),
    ];
    for (machine, expected) in cases {
        let findings = machine_rules::judge(&machine, WANTED);
        let said: Vec<_> = findings
            .iter()
            .filter(|finding| finding.level > Level::Ok)
            .map(|finding| (finding.level, finding.command.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(said, expected, "{machine:?}");
    }
}

#[test]
fn ports_that_the_kernel_hands_out_are_to_be_reserved() {
    let findings = machine_rules::judge(&good_host(), Wanted { reserve: Some("3478,50000-50999"), ..WANTED });
    let command = "sysctl -w net.ipv4.ip_local_reserved_ports=3478,50000-50999";
    assert_eq!(todo(&findings), [(Level::Warning, command)]);
}

#[test]
fn a_host_that_is_to_relay_in_userspace_needs_no_privileges() {
    let machine = Machine { capabilities: Some(0), jit: Some(0), ..good_host() };
    assert_eq!(todo(&machine_rules::judge(&machine, Wanted { xdp: false, ..WANTED })), []);
}
