//! Peer rules for some users or realms only.

use std::collections::HashSet;
use std::sync::Arc;

use super::cidr::Cidr;
use super::peers::{Level, PeerRules};

/// The operator's rules for the users of some names, for the users of some realms, or for those who are both.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PeerOverride {
    /// For these users; of a time-limited user name the part that names the person. For all users when empty.
    pub users: HashSet<String>,
    /// In these realms. In all realms when empty.
    pub realms: HashSet<String>,
    /// They may reach these peers, in spite of the rules for everybody.
    pub allow: Vec<Cidr>,
    /// They may not reach these peers.
    pub deny: Vec<Cidr>,
}

/// All overrides of a server.
///
/// Those that apply to a user come before the rules for everybody, as levels of [`PeerRules`]: first those that name
/// the user and the realm, then those that name the user, then those that name the realm; among equals the first one
/// decides. What none of them decides is left to the rules for everybody.
#[derive(Clone, Default, Debug)]
pub struct PeerOverrides(Vec<(Scope, Arc<Level>)>);

#[derive(Clone, Default, Debug)]
struct Scope {
    users: HashSet<String>,
    realms: HashSet<String>,
}

impl PeerOverrides {
    /// In the order of the configuration.
    pub fn new(overrides: impl IntoIterator<Item = PeerOverride>) -> Self {
        let split = |o: PeerOverride| {
            let scope = Scope { users: o.users, realms: o.realms };
            (scope, Arc::new(Level { allow: o.allow, deny: o.deny }))
        };
        let mut overrides: Vec<_> = overrides.into_iter().map(split).collect();
        // A stable sort: equals stay in their order.
        overrides.sort_by_key(|(scope, _)| (scope.users.is_empty(), scope.realms.is_empty()));
        Self(overrides)
    }

    /// The rules that hold for a user of a realm: those for everybody, unless an override applies.
    pub fn rules_for(&self, general: &Arc<PeerRules>, realm: &str, account: &str) -> Arc<PeerRules> {
        let mut levels = self.0.iter().filter(|(scope, _)| scope.holds(realm, account)).peekable();
        if levels.peek().is_none() {
            return Arc::clone(general);
        }
        Arc::new(general.under(levels.map(|(_, level)| Arc::clone(level))))
    }
}

impl Scope {
    fn holds(&self, realm: &str, account: &str) -> bool {
        let among = |names: &HashSet<String>, name| names.is_empty() || names.contains(name);
        among(&self.users, account) && among(&self.realms, realm)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::HostAddresses;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn general(allow: &[&str], deny: &[&str]) -> Arc<PeerRules> {
        let relay = vec!["10.0.0.2".parse().unwrap()];
        let host = HostAddresses { own: relay.clone(), relay, relay_ports: 49152..=65535 };
        Arc::new(PeerRules::new(cidrs(allow), cidrs(deny), host))
    }

    fn for_users(users: &[&str], realms: &[&str], allow: &[&str], deny: &[&str]) -> PeerOverride {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        PeerOverride { users: names(users), realms: names(realms), allow: cidrs(allow), deny: cidrs(deny) }
    }

    fn permits(rules: &PeerRules, peer: &str) -> bool {
        rules.permits(peer.parse().unwrap())
    }

    #[test]
    fn an_override_holds_for_whom_it_names_and_for_nobody_else() {
        let general = general(&[], &["8.8.0.0/16"]);
        let overrides = PeerOverrides::new([
            for_users(&["alice", "bob"], &[], &["10.1.0.0/16", "8.8.8.8"], &["9.9.9.9"]),
            for_users(&[], &["x.org"], &["10.2.0.0/16"], &[]),
            for_users(&["carol"], &["x.org"], &["10.3.0.0/16"], &[]),
        ]);
        let may = |realm, user, peer| permits(&overrides.rules_for(&general, realm, user), peer);
        for user in ["alice", "bob"] {
            assert!(may("y.org", user, "10.1.0.1") && may("y.org", user, "8.8.8.8"));
            assert!(!may("y.org", user, "9.9.9.9") && !may("y.org", user, "8.8.4.4"));
            assert!(!may("y.org", user, "10.2.0.1") && may("x.org", user, "10.2.0.1"));
        }
        assert!(may("x.org", "carol", "10.3.0.1") && may("x.org", "carol", "10.2.0.1"));
        assert!(!may("y.org", "carol", "10.3.0.1") && !may("x.org", "dave", "10.3.0.1"));
        assert!(!may("y.org", "dave", "10.1.0.1") && may("y.org", "dave", "9.9.9.9"));
        assert!(Arc::ptr_eq(&general, &overrides.rules_for(&general, "y.org", "dave")), "nothing is copied");
    }

    #[test]
    fn the_most_particular_level_decides_and_within_a_level_deny_wins() {
        let general = general(&["8.8.8.8"], &["9.9.9.9"]);
        let overrides = PeerOverrides::new([
            for_users(&[], &["x.org"], &["9.9.9.9", "7.7.7.7"], &["8.8.8.8"]),
            for_users(&["alice"], &[], &["8.8.8.8", "7.7.7.7"], &["7.7.7.0/24", "9.9.9.9"]),
            for_users(&["alice"], &["x.org"], &["9.9.9.9"], &[]),
        ]);
        let may = |realm, user, peer| permits(&overrides.rules_for(&general, realm, user), peer);
        // The realm's override against the rules for everybody.
        assert!(!may("x.org", "bob", "8.8.8.8") && may("x.org", "bob", "9.9.9.9"));
        // The user's against the realm's.
        assert!(may("x.org", "alice", "8.8.8.8") && !may("x.org", "alice", "7.7.7.7"));
        // The one that names both against all.
        assert!(may("x.org", "alice", "9.9.9.9") && !may("y.org", "alice", "9.9.9.9"));
    }

    #[test]
    fn an_override_that_allows_everything_opens_nothing_that_is_refused_by_default() {
        let general = general(&[], &["8.8.8.8"]);
        let everything = for_users(&["alice"], &[], &["0.0.0.0/0", "::/0"], &[]);
        let rules = PeerOverrides::new([everything]).rules_for(&general, "x.org", "alice");
        for peer in ["127.0.0.1", "10.1.2.3", "::1", "169.254.169.254", "64:ff9b::10.1.2.3", "2002:a00:1::1"]
        {
            assert!(!permits(&rules, peer), "{peer}");
        }
        assert!(permits(&rules, "8.8.8.8"), "what the operator denied to everybody, the operator may open");
    }

    #[test]
    fn ports_of_this_host_are_opened_by_an_override_that_names_its_address_alone() {
        let general = general(&[], &[]);
        let port = |allow: &[&str]| {
            let overrides = PeerOverrides::new([for_users(&["alice"], &[], allow, &[])]);
            let rules = overrides.rules_for(&general, "x.org", "alice");
            rules.permits_port("10.0.0.2:53".parse().unwrap())
        };
        assert!(!port(&["10.0.0.0/8"]) && port(&["10.0.0.2"]));
        assert!(!general.permits_port("10.0.0.2:53".parse().unwrap()));
    }

    proptest! {
        /// An override without rules changes nothing, and one with the rules for everybody says the same again.
        #[test]
        fn an_override_that_adds_nothing_changes_no_verdict(
            v4 in prop_oneof![any::<u32>(), 0x0a00_0000..0x0a02_ffff_u32, 0x0700_0000..0x0c00_0000_u32],
            v6: u128,
            twice: bool,
        ) {
            let (allow, deny) = (["10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0"], ["10.1.2.0/24", "8.0.0.0/6"]);
            let general = general(&allow, &deny);
            let (allow, deny) = if twice { (&allow[..], &deny[..]) } else { (&[][..], &[][..]) };
            let rules =
                PeerOverrides::new([for_users(&["alice"], &[], allow, deny)]).rules_for(&general, "x", "alice");
            for ip in [std::net::IpAddr::V4(v4.into()), std::net::IpAddr::V6(v6.into())] {
                prop_assert_eq!(rules.permits(ip), general.permits(ip));
            }
        }
    }
}
