//! What an operator decides about the protocol.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::accounts::Account;
use super::discovery::Discovery;
use super::metering::Rates;
use super::redirect::Alternate;
use super::tcp::TcpRelay;
use super::types::RelayAddress;
use crate::auth::Realms;
use crate::policy::{PeerOverrides, PeerRules, Rate};

/// The settings of every protocol core of a server; shared, immutable, replaced as a whole on reload.
#[derive(Debug)]
pub struct CoreConfig {
    /// Who may allocate, by realm (RFC 8489 section 9.2).
    pub realms: Realms,
    /// Which peers may be reached.
    pub peer_rules: Arc<PeerRules>,
    /// The addresses that allocations relay from.
    pub relay_addresses: Vec<RelayAddress>,
    /// The ports of relayed transport addresses.
    pub relay_ports: RangeInclusive<u16>,
    /// The longest lifetime a client is given (RFC 8656 section 7.2 recommends 3600 s).
    pub max_lifetime: Duration,
    /// The listeners of NAT behaviour discovery (RFC 5780); it is refused with 420 when `None`.
    pub discovery: Option<Discovery>,
    /// Other servers to send clients to (RFC 8489 section 10).
    pub alternate: Option<Alternate>,
    /// How long permissions and channels last.
    pub lifetimes: Lifetimes,
    /// Whether clients may take their allocations along to another address (RFC 8016); refused with 405 otherwise.
    pub mobility: bool,
    /// Most allocations of one user at a time, over all shards (486 beyond).
    pub user_quota: Option<u32>,
    /// Accounts that may hold fewer, with how many.
    pub smaller_quotas: HashMap<String, u32>,
    /// Most allocations at a time, over all users and shards (486 beyond).
    pub total_quota: Option<u32>,
    /// How much users may relay, and how fast they may name new peers.
    pub rates: Rates,
    /// Most permissions, and most channels, of one allocation (508 beyond); at most [`MOST_PEERS`](super::MOST_PEERS).
    pub allocation_peers: usize,
    /// How often requests that prove nothing are answered, for each network that they come from; always if `None`.
    pub strangers: Option<Rate>,
    /// Which peers some users may reach in spite of `peer_rules`, or not.
    pub peer_overrides: PeerOverrides,
    /// What TCP allocations may do (RFC 6062); they are refused with 442 when `None`.
    pub tcp_relay: Option<TcpRelay>,
    /// SOFTWARE attribute of responses; hidden when `None`.
    pub software: Option<String>,
    /// No new allocations; those there are go on.
    pub draining: bool,
}

impl CoreConfig {
    /// How many allocations an account may hold.
    pub(super) fn quota_of(&self, account: &str) -> Option<u32> {
        self.smaller_quotas.get(account).copied().into_iter().chain(self.user_quota).min()
    }

    /// Which peers a user of a realm may reach.
    pub(super) fn rules_for(&self, realm: &str, account: &Account) -> Arc<PeerRules> {
        self.peer_overrides.rules_for(&self.peer_rules, realm, account.person())
    }
}

/// How long permissions and channels last unless refreshed. The RFC leaves no choice; tests and laboratories do not
/// always have five minutes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// RFC 8656 section 9: "The Permission Lifetime MUST be 300 seconds".
    pub permission: Duration,
    /// RFC 8656 section 12: "A channel binding lasts for 10 minutes unless refreshed".
    pub channel: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { permission: Duration::from_secs(300), channel: Duration::from_secs(600) }
    }
}
