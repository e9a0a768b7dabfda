//! Every row of the table of drivers and every rule for cards, hit and missed.

use super::card::{Card, FarEnd, Running};
use super::card_rules::{self, Setting};
use super::drivers::{DRIVERS, Queues};
use super::ethtool::{Channels, Feature, Ring};
use super::{Finding, Level};

const SETTING: Setting = Setting { kernel: (6, 18), cpus: 4, frags: false, native: true };

/// A card that suits its driver and every rule, on a machine with four CPUs.
fn suiting(driver: &str) -> Card {
    let each = |rx, tx, max_rx| Channels { rx, tx, max_rx, ..Channels::default() };
    let combined = |combined, max_combined| Channels { combined, max_combined, ..Channels::default() };
    let features = [("rx-lro", false), ("rx-vlan-hw-parse", false), ("rx-gro", true)];
    Card {
        name: "eth7".into(),
        driver: Some(driver.into()),
        mtu: 1500,
        up: true,
        features: features.map(|(name, on)| (name.into(), Feature { on, fixed: false })).into(),
        channels: Some(if driver == "gve" { each(4, 4, 8) } else { combined(4, 8) }),
        ring: Some(Ring { rx: 512, max_rx: 4096 }),
        hashes_ports: [Some(true); 2],
        interrupts: Some((5, 4)),
        far_end: (driver == "veth").then(|| FarEnd {
            name: Some("far0".into()),
            mtu: Some(1500),
            has_xdp: true,
            leaves_checksums: Some(false),
        }),
        bond_mode: (driver == "bonding").then(|| "802.3ad".into()),
        ..Card::default()
    }
}

fn judged(card: &Card) -> Vec<Finding> {
    card_rules::judge(card, SETTING)
}

/// What is to be done, as level and command.
pub(super) fn todo(findings: &[Finding]) -> Vec<(Level, &str)> {
    let worse = findings.iter().filter(|finding| finding.level >= Level::Warning);
    worse.map(|finding| (finding.level, finding.command.as_deref().unwrap_or("-"))).collect()
}

#[test]
fn the_operators_page_has_every_row_of_the_table() {
    let page = include_str!("../../../../docs/operations.md");
    for driver in &DRIVERS {
        let name = format!("`{}`", driver.name);
        let mut rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(&name));
        let row = rows.next().unwrap_or_else(|| panic!("no row of {name}"));
        let of = |(major, minor)| format!(" ({major}.{minor})");
        let mtu =
            driver.max_mtu.map(|mtu| format!("| {mtu}{}", driver.frags_since.map(of).unwrap_or_default()));
        assert!(mtu.is_none_or(|mtu| row.contains(&mtu)), "{row}");
        assert_eq!(row.contains("must be off"), driver.refuses_lro, "{row}");
        assert_eq!(
            row.contains("at most half"),
            matches!(driver.queues, Queues::Half | Queues::HalfEach),
            "{row}"
        );
    }
}

#[test]
fn a_card_that_suits_its_driver_has_nothing_to_be_done() {
    for driver in &DRIVERS {
        let findings = judged(&suiting(driver.name));
        assert_eq!(todo(&findings), [], "{}: {findings:#?}", driver.name);
        let untested = findings.iter().any(|finding| finding.text.contains("not been tried on a card"));
        assert_eq!(untested, !driver.tested, "{}", driver.name);
    }
}

#[test]
fn every_driver_with_a_largest_mtu_refuses_one_byte_more_and_names_the_command() {
    let limits: Vec<_> = DRIVERS.iter().filter_map(|driver| Some((driver.name, driver.max_mtu?))).collect();
    let expected = [
        ("mlx5_core", 3498),
        ("ice", 3046),
        ("i40e", 3046),
        ("ixgbe", 3050),
        ("bnxt_en", 3502),
        ("virtio_net", 3506),
        ("ena", 3498),
        ("gve", 2032),
        ("mana", 3506),
        ("hv_netvsc", 3506),
    ];
    assert_eq!(limits[..limits.len() - 1], expected, "and veth, which has a test of its own");
    for (name, most) in expected {
        let with = |mtu| Card { mtu, ..suiting(name) };
        assert_eq!(todo(&judged(&with(most))), [], "{name}");
        let command = format!("ip link set eth7 mtu {most}");
        assert_eq!(todo(&judged(&with(most + 1))), [(Level::Error, command.as_str())], "{name}");
    }
}

#[test]
fn a_program_that_takes_packets_in_pieces_takes_large_mtus_where_driver_and_kernel_do() {
    for driver in &DRIVERS {
        let mut card = Card { mtu: 9000, ..suiting(driver.name) };
        if let Some(far_end) = &mut card.far_end {
            far_end.mtu = Some(9000);
        }
        let refused = |kernel| {
            let setting = Setting { frags: true, kernel, ..SETTING };
            card_rules::judge(&card, setting).iter().any(|finding| finding.level == Level::Error)
        };
        match driver.frags_since {
            Some((major, minor)) => {
                assert!(!refused((major, minor)), "{}", driver.name);
                assert!(refused((major, minor - 1)) || minor == 0, "{}", driver.name);
            }
            None => assert_eq!(refused((6, 18)), driver.max_mtu.is_some(), "{}", driver.name),
        }
    }
}

#[test]
fn a_veths_mtu_is_that_of_the_other_end() {
    let with = |mtu, far_mtu, name: Option<&str>| {
        let mut card = Card { mtu, ..suiting("veth") };
        let far_end = card.far_end.as_mut().unwrap();
        (far_end.mtu, far_end.name) = (far_mtu, name.map(Into::into));
        judged(&card)
    };
    assert_eq!(todo(&with(9000, Some(3506), Some("far0"))), []);
    let far0 = [(Level::Error, "ip link set far0 mtu 3506")];
    assert_eq!(todo(&with(1500, Some(3507), Some("far0"))), far0);
    assert_eq!(todo(&with(1500, Some(9000), None)), [(Level::Error, "ip link set DEV mtu 3506")]);
    assert_eq!(todo(&with(9000, None, None)), [(Level::Warning, "ip link set DEV mtu 3506")]);
}

#[test]
fn a_veth_wants_a_program_and_finished_checksums_at_the_other_end_and_gro_here() {
    let mut card = suiting("veth");
    card.far_end.as_mut().unwrap().has_xdp = false;
    assert_eq!(todo(&judged(&card)), [(Level::Error, "-")]);

    let mut card = suiting("veth");
    card.far_end.as_mut().unwrap().leaves_checksums = Some(true);
    assert_eq!(todo(&judged(&card)), [(Level::Warning, "ethtool -K far0 tx off")]);
    card.far_end.as_mut().unwrap().leaves_checksums = None;
    let findings = judged(&card);
    assert_eq!(todo(&findings), []);
    assert!(findings.iter().any(|finding| finding.command.as_deref() == Some("ethtool -K DEV tx off")));

    let mut card = suiting("veth");
    card.features.get_mut("rx-gro").unwrap().on = false;
    assert_eq!(todo(&judged(&card)), [(Level::Warning, "ethtool -K eth7 gro on")]);
}

#[test]
fn lro_is_an_error_where_the_driver_refuses_xdp_with_it_and_else_a_warning() {
    for driver in &DRIVERS {
        let mut card = suiting(driver.name);
        card.features.get_mut("rx-lro").unwrap().on = true;
        let refuses = ["mlx5_core", "ixgbe", "mana", "hv_netvsc"].contains(&driver.name);
        let level = if refuses { Level::Error } else { Level::Warning };
        assert_eq!(todo(&judged(&card)), [(level, "ethtool -K eth7 lro off")], "{}", driver.name);
        card.features.get_mut("rx-lro").unwrap().fixed = true;
        assert_eq!(todo(&judged(&card)), [(level, "-")], "{}", driver.name);
    }
}

#[test]
fn the_queues_are_as_the_driver_wants_them() {
    let combined = |combined, max_combined| Channels { combined, max_combined, ..Channels::default() };
    let each = |rx, tx, max_rx| Channels { rx, tx, max_rx, ..Channels::default() };
    use Level::{Error, Warning};
    let cases = [
        ("i40e", combined(3, 8), vec![(Warning, "ethtool -L eth7 combined 4")]),
        ("ice", combined(3, 8), vec![(Warning, "ethtool -L eth7 combined 4")]),
        ("ice", combined(2, 2), vec![(Warning, "-")]),
        ("ena", combined(5, 8), vec![(Error, "ethtool -L eth7 combined 4")]),
        ("ena", combined(2, 2), vec![(Error, "ethtool -L eth7 combined 1")]),
        ("ena", combined(1, 1), vec![(Error, "-")]),
        ("ena", combined(2, 8), vec![(Warning, "ethtool -L eth7 combined 4")]),
        ("gve", each(5, 5, 8), vec![(Error, "ethtool -L eth7 rx 4 tx 4")]),
        ("gve", each(4, 3, 8), vec![(Error, "ethtool -L eth7 rx 4 tx 4")]),
        ("gve", each(2, 2, 8), vec![(Warning, "ethtool -L eth7 rx 4 tx 4")]),
        ("virtio_net", combined(5, 8), vec![(Warning, "ethtool -L eth7 combined 4")]),
        ("virtio_net", combined(4, 4), vec![(Warning, "-")]),
        ("virtio_net", combined(1, 8), vec![(Warning, "ethtool -L eth7 combined 4")]),
        (
            "bnxt_en",
            Channels { rx: 4, tx: 4, max_rx: 8, max_combined: 8, ..Channels::default() },
            vec![(Error, "ethtool -L eth7 rx 0 tx 0 combined 4")],
        ),
        ("mlx5_core", combined(1, 8), vec![(Warning, "ethtool -L eth7 combined 4")]),
        ("mlx5_core", combined(8, 8), vec![]),
        ("mlx5_core", combined(2, 2), vec![]),
        ("veth", combined(1, 8), vec![]),
        ("tun", combined(1, 8), vec![]),
        // A driver that nothing is known of has its queues spread all the same.
        ("other", each(1, 1, 8), vec![(Warning, "ethtool -L eth7 rx 4 tx 4")]),
    ];
    for (driver, channels, expected) in cases {
        let card = Card { channels: Some(channels), ..suiting(driver) };
        let findings = judged(&card);
        assert_eq!(todo(&findings), expected, "{driver} {channels:?}");
    }
}

#[test]
fn a_virtio_card_that_runs_a_program_takes_no_other_number_of_queues() {
    let channels = Channels { combined: 5, max_combined: 8, ..Channels::default() };
    let program = Some(Running { id: 7, name: Some("turnpike_xdp".into()) });
    let findings = judged(&Card { channels: Some(channels), program, ..suiting("virtio_net") });
    assert_eq!(todo(&findings), [(Level::Warning, "ethtool -L eth7 combined 4")]);
    assert!(findings.iter().any(|finding| finding.text.contains("stop the server first")));
}

#[test]
fn a_virtio_card_whose_host_spreads_the_packets_cannot_be_told_how() {
    let mut card = Card { hashes_ports: [Some(false); 2], ..suiting("virtio_net") };
    let command = |family| (Level::Warning, format!("ethtool -N eth7 rx-flow-hash {family} sdfn"));
    let said = |card: &Card| -> Vec<_> {
        todo(&judged(card)).into_iter().map(|(level, command)| (level, command.to_owned())).collect()
    };
    assert_eq!(said(&card), [command("udp4"), command("udp6")]);
    card.features.insert("rx-hashing".into(), Feature { on: false, fixed: true });
    assert_eq!(said(&card), []);
    assert!(judged(&card).iter().any(|finding| finding.text.contains("up to the host")));
    // Other drivers have such a feature for something else.
    card.driver = Some("i40e".into());
    assert_eq!(said(&card), [command("udp4"), command("udp6")]);
}

#[test]
fn a_virtio_host_that_cannot_be_told_to_leave_packets_alone_prevents_xdp() {
    let with = |fixed| Card { virtio_offloads_fixed: Some(fixed), ..suiting("virtio_net") };
    assert_eq!(todo(&judged(&with(false))), []);
    let findings = judged(&with(true));
    assert_eq!(todo(&findings), [(Level::Error, "-")]);
    assert!(findings.iter().any(|finding| finding.text.contains("ctrl_guest_offloads=on")));
}

#[test]
fn a_bond_wants_a_mode_and_a_kernel_that_take_xdp() {
    let with = |mode: &str| Card { bond_mode: Some(mode.into()), ..suiting("bonding") };
    for mode in ["balance-rr", "active-backup", "balance-xor", "802.3ad"] {
        assert_eq!(todo(&judged(&with(mode))), [], "{mode}");
    }
    for mode in ["broadcast", "balance-tlb", "balance-alb"] {
        assert_eq!(todo(&judged(&with(mode))), [(Level::Error, "-")], "{mode}");
    }
    let old = Setting { kernel: (5, 14), ..SETTING };
    assert_eq!(todo(&card_rules::judge(&suiting("bonding"), old)), [(Level::Error, "-")]);
}

#[test]
fn vlan_stripping_is_a_warning_where_vlans_stand_on_the_card() {
    let mut card = suiting("ice");
    card.features.get_mut("rx-vlan-hw-parse").unwrap().on = true;
    let findings = judged(&card);
    assert_eq!(todo(&findings), []);
    let note = findings.iter().find(|f| f.command.as_deref() == Some("ethtool -K eth7 rxvlan off"));
    assert_eq!(note.unwrap().level, Level::Note);
    card.carries_vlans = true;
    assert_eq!(todo(&judged(&card)), [(Level::Warning, "ethtool -K eth7 rxvlan off")]);
}

#[test]
fn a_vlan_points_to_the_card_under_it() {
    let card = Card { lower: Some("eth0".into()), ..suiting("802.1Q VLAN Support") };
    let findings = judged(&card);
    assert_eq!(todo(&findings), [(Level::Error, "-")]);
    assert!(findings.iter().any(|finding| finding.text.contains("--interface eth0")));
}

#[test]
fn udp_is_to_be_spread_by_ports_where_there_are_several_queues() {
    let card = Card { hashes_ports: [Some(false); 2], ..suiting("mlx5_core") };
    let both = ["ethtool -N eth7 rx-flow-hash udp4 sdfn", "ethtool -N eth7 rx-flow-hash udp6 sdfn"];
    assert_eq!(todo(&judged(&card)), both.map(|command| (Level::Warning, command)));
    let one = Channels { combined: 1, max_combined: 1, ..Channels::default() };
    assert_eq!(todo(&judged(&Card { channels: Some(one), ..card })), []);
}

#[test]
fn interrupts_rps_and_rings_are_looked_at() {
    let card = Card { interrupts: Some((5, 1)), ..suiting("mlx5_core") };
    assert_eq!(todo(&judged(&card)), [(Level::Warning, "systemctl start irqbalance")]);
    let card = Card {
        rps: vec!["rx-0".into()],
        ring: Some(Ring { rx: 1024, max_rx: 8192 }),
        ..suiting("mlx5_core")
    };
    let findings = judged(&card);
    assert_eq!(todo(&findings), []);
    let commands: Vec<_> = findings.iter().filter_map(|finding| finding.command.as_deref()).collect();
    assert_eq!(commands, ["echo 0 > /sys/class/net/eth7/queues/rx-0/rps_cpus", "ethtool -G eth7 rx 512"]);
}

#[test]
fn a_foreign_program_prevents_xdp_and_our_own_does_not() {
    let with = |name: Option<&str>| {
        let program = Some(Running { id: 9, name: name.map(Into::into) });
        Card { program, ..suiting("mlx5_core") }
    };
    let off = [(Level::Error, "ip link set dev eth7 xdp off")];
    assert_eq!(todo(&judged(&with(Some("xdp_dispatcher")))), off);
    assert_eq!(todo(&judged(&with(None))), off);
    assert_eq!(todo(&judged(&with(Some("turnpike_xdp")))), []);
}

#[test]
fn of_an_unknown_driver_it_says_that_nothing_is_known() {
    for driver in [Some("fancy".to_owned()), None] {
        let findings = judged(&Card { driver, ..suiting("") });
        assert_eq!(todo(&findings), []);
        assert!(findings.iter().any(|f| f.level == Level::Note && f.text.contains("nothing is known")));
    }
}

#[test]
fn generic_mode_asks_nothing_of_the_driver() {
    let generic = Setting { native: false, ..SETTING };
    let mut card = Card { mtu: 9000, ..suiting("mlx5_core") };
    card.features.get_mut("rx-lro").unwrap().on = true;
    let findings = card_rules::judge(&card, generic);
    assert_eq!(todo(&findings), [(Level::Warning, "ethtool -K eth7 lro off")]);
    let program = Some(Running { id: 9, name: None });
    let findings = card_rules::judge(&Card { program, ..suiting("mlx5_core") }, generic);
    assert_eq!(todo(&findings), [(Level::Error, "ip link set dev eth7 xdp off")]);
}

#[test]
fn the_loopback_and_a_card_that_is_down() {
    let card = Card { loopback: true, ..suiting("mlx5_core") };
    assert_eq!(todo(&judged(&card)), [(Level::Error, "-")]);
    let card = Card { up: false, ..suiting("mlx5_core") };
    assert_eq!(todo(&judged(&card)), [(Level::Warning, "ip link set eth7 up")]);
}
