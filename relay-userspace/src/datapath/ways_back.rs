//! Ways back: by which next hop the program may answer a packet from an address that it knows nothing of.
//!
//! What came from an address need not go back to where it came from: the sender may be a router's real address beside its
//! virtual one, or the way in may be another than the way out. So answers go by the route, as all else does, and the program knows
//! one: the default route of each family, for all sources that no other route is for. Where more than the destination
//! decides (rules, several default routes, source-specific routes), and for what is on a link of our own, it knows none,
//! and the kernel answers. See `docs/decisions/0006-answers-to-strangers.md`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};

use super::netlink::{Rib, Route};
use super::next_hop::NextHops;

/// Prefixes that the table has room for. A host with more routes to tell apart answers in userspace.
pub(super) const PREFIXES: u32 = 1024;

/// Sources that nobody can be, or that are on a link of ours, whatever the routes say: none is ever to be answered
/// (RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5 and 2.7, RFC 3927). All of `::/8` has IPv4 in it, which has entries of its own.
const NEVER: [(IpAddr, u8); 7] = [
    (IpAddr::V4(Ipv4Addr::new(0, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 3),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// The program's table, and what is in it.
pub(super) struct WaysBack {
    table: LpmTrie<MapData, [u8; 16], u32>,
    /// By prefix length and address: the row of the next hop, 0 for none.
    present: BTreeMap<Prefix, u32>,
}

/// Prefix length and address, IPv4 as in `::ffff:0:0/96`.
type Prefix = (u32, [u8; 16]);

impl WaysBack {
    pub(super) fn new(table: LpmTrie<MapData, [u8; 16], u32>) -> Self {
        Self { table, present: BTreeMap::new() }
    }

    /// Goes by these routes from now on.
    pub(super) fn follow(&mut self, rib: io::Result<Rib>, hops: &NextHops) {
        let rib = rib.unwrap_or_else(|error| {
            tracing::debug!(%error, "the kernel did not tell its routes");
            Rib::default()
        });
        let wanted = plan(&rib, |routes| hops.hold_defaults(routes));
        if let Err(error) = self.set(wanted) {
            // Nobody is answered by a route that may not hold.
            tracing::warn!(%error, "ways back are not followed: Binding requests are answered in userspace");
            let known: Vec<_> = self.present.keys().copied().collect();
            known.into_iter().for_each(|prefix| drop(self.remove(prefix)));
        }
    }

    /// Exceptions come before, and go after, the default route that they are excepted from.
    fn set(&mut self, wanted: BTreeMap<Prefix, u32>) -> Result<(), MapError> {
        for (&prefix, &row) in wanted.iter().rev() {
            if self.present.get(&prefix) != Some(&row) {
                self.table.insert(&Key::new(prefix.0, prefix.1), row, 0)?;
                self.present.insert(prefix, row);
            }
        }
        let gone: Vec<_> =
            self.present.keys().filter(|prefix| !wanted.contains_key(*prefix)).copied().collect();
        gone.into_iter().try_for_each(|prefix| self.remove(prefix))
    }

    fn remove(&mut self, prefix: Prefix) -> Result<(), MapError> {
        self.table.remove(&Key::new(prefix.0, prefix.1))?;
        self.present.remove(&prefix);
        Ok(())
    }
}

/// The table for these routes. `rows` gives the rows of the default routes, IPv4's first; 0 for none.
fn plan(rib: &Rib, rows: impl FnOnce([Option<Route>; 2]) -> [u32; 2]) -> BTreeMap<Prefix, u32> {
    let mut defaults = [default_route(rib, true), default_route(rib, false)];
    let exceptions = rib
        .routes
        .iter()
        .filter(|route| route.prefix.len() > 0)
        .map(|route| (route.prefix.ip(), route.prefix.len()));
    let exceptions: BTreeMap<_, _> = exceptions.chain(NEVER).map(|(ip, len)| (prefix(ip, len), 0)).collect();
    if exceptions.len() as u32 + 2 > PREFIXES {
        defaults = [None, None];
    }
    let mut table = BTreeMap::new();
    for (row, any) in rows(defaults)
        .into_iter()
        .zip([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)])
        .filter(|(row, _)| *row != 0)
    {
        let (len, bytes) = prefix(any, 0);
        table.insert((len, bytes), row);
        let is_v4 = any.is_ipv4();
        table.extend(exceptions.iter().filter(|((_, ip), _)| is_mapped(ip) == is_v4));
    }
    table
}

/// The one way to all that has no other route; `None` when it takes more than the destination to know it.
fn default_route(rib: &Rib, v4: bool) -> Option<Route> {
    if rib.has_rules {
        return None;
    }
    let mut of_family = rib.routes.iter().filter(|route| route.prefix.ip().is_ipv4() == v4);
    if of_family.clone().any(|route| route.by_source) {
        return None;
    }
    let default = of_family.find(|route| route.prefix.len() == 0)?;
    if of_family.any(|route| route.prefix.len() == 0) {
        return None;
    }
    default.route.filter(|route| route.gateway.is_some())
}

fn prefix(ip: IpAddr, len: u8) -> Prefix {
    match ip {
        IpAddr::V4(ip) => (96 + u32::from(len), ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => (u32::from(len), ip.octets()),
    }
}

fn is_mapped(ip: &[u8; 16]) -> bool {
    ip[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
}
