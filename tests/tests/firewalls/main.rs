//! A real browser, or the named client, behind each network that a relay must get through: see docs/firewalls.md.
//!
//! What takes two minutes together runs with all other tests. The rest is the whole matrix: `cargo xtask lab firewalls`, or
//! `cargo xtask test --suite e2e -- --ignored firewalls`.

use turnpike_tests::firewalls::networks::{NETWORKS, named};
use turnpike_tests::firewalls::{self, Subject};

fn firewalls_are_passed(name: &str) {
    if firewalls::skipped() {
        return;
    }
    let network = named(name).expect("a network of the list");
    firewalls::run(network, Subject::Turnpike).assert_good();
}

/// A test for each network, by its name with underscores. Those after `whole matrix` are left out unless asked for.
macro_rules! networks {
    ($($quick:ident)*; whole matrix: $($whole:ident)*) => {
        $(
            #[test]
            fn $quick() {
                firewalls_are_passed(&stringify!($quick).replace('_', "-"));
            }
        )*
        $(
            #[test]
            #[ignore = "a part of the whole matrix: cargo xtask lab firewalls"]
            fn $whole() {
                firewalls_are_passed(&stringify!($whole).replace('_', "-"));
            }
        )*

        #[test]
        fn every_network_has_a_test() {
            let mut tests = vec![$(stringify!($quick),)* $(stringify!($whole),)*];
            let mut networks: Vec<_> = NETWORKS.iter().map(|n| n.name.replace('-', "_")).collect();
            tests.sort_unstable();
            networks.sort_unstable();
            assert_eq!(tests, networks);
            let rows: Vec<_> = NETWORKS.iter().map(|network| network.row).collect();
            assert!((1..=18).all(|row| rows.contains(&row)), "{rows:?}");
        }
    };
}

networks! {
    open udp_443_only no_udp only_80_and_443 stun_aware proxy_intercepting ports_by_number sip_and_h323;
    whole matrix: only_443_and_53 https_only symmetric_nat_one symmetric_nat_both proxy proxy_basic
    browser_without_udp allow_list nothing_inbound credentials_from_a_page native_behind_proxy
}
