//! Settings of a protocol core by itself, without sockets.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;
use turnpike::auth::{Credentials, Realm, Realms};
use turnpike::config::StrangerRate;
use turnpike::policy::{HostAddresses, PeerRules};
use turnpike::turn::{CoreConfig, MOST_PEERS, Rates, RelayAddress};

/// The defaults of a server that relays from these addresses and ports, for clients with these credentials.
pub fn core_config(
    realm: &str,
    credentials: Credentials,
    relay: &[IpAddr],
    ports: RangeInclusive<u16>,
) -> Result<CoreConfig> {
    let host = HostAddresses { own: relay.to_vec(), relay: relay.to_vec(), relay_ports: ports.clone() };
    Ok(CoreConfig {
        realms: Realms::new(Realm::new(realm, credentials)?, [])?,
        peer_rules: PeerRules::new(vec![], vec![], host).into(),
        relay_addresses: relay.iter().map(|&ip| RelayAddress { public: ip, local: ip }).collect(),
        relay_ports: ports,
        max_lifetime: Duration::from_secs(3600),
        lifetimes: Default::default(),
        mobility: false,
        user_quota: None,
        smaller_quotas: Default::default(),
        total_quota: None,
        rates: Rates::default(),
        allocation_peers: MOST_PEERS,
        strangers: StrangerRate::default().rate(),
        peer_overrides: Default::default(),
        tcp_relay: None,
        software: None,
        discovery: None,
        alternate: None,
        draining: false,
    })
}
