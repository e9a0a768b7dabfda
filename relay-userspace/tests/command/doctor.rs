use serde_json::Value;

use crate::common::{finished, finished_unprivileged};

#[test]
fn without_privileges_it_reads_all_the_same_and_names_what_is_lacking() {
    let (code, shown, complaints) = finished_unprivileged("doctor --listen udp://127.0.0.1 --interface lo");
    assert_eq!(code, 1, "{shown}{complaints}");
    let lacking = "error    CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON lacking";
    assert!(
        shown.contains(lacking)
            && shown.contains(": setcap cap_bpf,cap_net_admin,cap_net_raw,cap_perfmon+ep /"),
        "{shown}"
    );
    assert!(shown.contains("\nlo    error    what is sent over the loopback"), "{shown}");
    assert!(shown.contains(" errors prevent XDP; "), "{shown}");
    assert!(!shown.contains("permission denied"), "{shown}");
}

#[test]
fn a_server_that_is_to_relay_in_userspace_has_nothing_that_prevents_it() {
    let words = "doctor --listen udp://127.0.0.1 --datapath userspace";
    let (code, shown, complaints) = finished_unprivileged(words);
    assert_eq!(code, 0, "{shown}{complaints}");
    assert!(shown.contains("XDP is not asked for") && shown.contains("nothing prevents XDP"), "{shown}");
}

#[test]
fn json_has_the_same_findings_and_the_outcome() {
    let (code, shown, _) =
        finished_unprivileged("doctor --json --listen udp://127.0.0.1 --relay-ports 50000-50099");
    let answer: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &answer["xdp"]), (1, &Value::Bool(false)));
    let findings = answer["findings"].as_array().unwrap();
    let lacking = findings.iter().find(|f| f["level"] == "error" && f["about"] == "host").unwrap();
    assert!(lacking["command"].as_str().unwrap().starts_with("setcap "), "{lacking}");
    let ports = findings.iter().find(|f| f["text"].as_str().unwrap().contains("50000-50099"));
    let reserve = "sysctl -w net.ipv4.ip_local_reserved_ports=50000-50099";
    assert!(ports.is_some() || findings.iter().any(|f| f["command"] == reserve), "{shown}");
}

#[test]
fn settings_that_are_wrong_and_interfaces_that_are_not_there_are_refused() {
    let (code, shown, complaint) = finished("doctor --listen udp://127.0.0.1:50000");
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("lies in the relay port range"), "{complaint}");
    let (code, shown, complaint) = finished("doctor --listen udp://127.0.0.1 --interface nosuch0");
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("--interface nosuch0: there is no such interface"), "{complaint}");
}
