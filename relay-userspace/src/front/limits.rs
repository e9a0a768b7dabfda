//! How many connections there may be, in all and of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::{Counts, Kind, Outcome};
use crate::config::StreamLimits;

/// Those who are in.
#[derive(Debug)]
pub(super) struct Doors {
    counts: Arc<Counts>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: u32,
    /// By [`network`]. Nobody stays here without a connection.
    by_network: HashMap<IpAddr, u32>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    doors: Arc<Doors>,
    network: Option<IpAddr>,
    kind: Kind,
}

impl Doors {
    pub(super) fn new(counts: Arc<Counts>) -> Arc<Self> {
        Arc::new(Self { counts, inside: Mutex::default() })
    }

    /// A place, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, limits: &StreamLimits) -> Result<Ticket, Outcome> {
        let mut inside = self.inside();
        if inside.all >= limits.connections {
            return Err(Outcome::TooMany);
        }
        inside.all += 1;
        self.counts.come(Kind::Undecided);
        Ok(Ticket { doors: self.clone(), network: None, kind: Kind::Undecided })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Counts the connection for the client's address, unless there are too many of that.
    pub(super) fn belongs_to(&mut self, client: IpAddr, limits: &StreamLimits) -> Result<(), Outcome> {
        let network = network(client);
        let mut inside = self.doors.inside();
        let count = inside.by_network.entry(network).or_insert(0);
        if *count >= limits.connections_per_address {
            return Err(Outcome::TooManyOfAddress);
        }
        *count += 1;
        drop(inside);
        self.network = Some(network);
        Ok(())
    }

    /// It is known what the connection is.
    pub(super) fn is(&mut self, kind: Kind) {
        self.doors.counts.go(self.kind);
        self.doors.counts.come(kind);
        self.kind = kind;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.doors.counts.go(self.kind);
        let mut inside = self.doors.inside();
        inside.all -= 1;
        let Some(network) = self.network else { return };
        if let Some(count) = inside.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                inside.by_network.remove(&network);
            }
        }
    }
}

/// What counts as one address: a subscriber has all of an IPv6 /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> StreamLimits =
        || StreamLimits { connections: 5, connections_per_address: 2, ..StreamLimits::default() };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_all_have_the_sum() {
        let doors = Doors::new(Arc::default());
        let of = |address: &str| {
            let mut ticket = doors.enter(&LIMITS())?;
            ticket.belongs_to(ip(address), &LIMITS()).map(|()| ticket)
        };
        let mut inside = vec![of("192.0.2.1").unwrap(), of("::ffff:192.0.2.1").unwrap()];
        assert_eq!(of("192.0.2.1").unwrap_err(), Outcome::TooManyOfAddress);
        inside.extend([of("2001:db8::1").unwrap(), of("2001:db8::ffff").unwrap()]);
        assert_eq!(of("2001:db8::2").unwrap_err(), Outcome::TooManyOfAddress);
        inside.push(of("2001:db8:0:1::1").unwrap());
        assert_eq!(of("192.0.2.9").unwrap_err(), Outcome::TooMany);
        assert_eq!(doors.counts.connections().undecided, 5);

        // What is refused, and what has gone, gives its place back.
        drop(inside.remove(0));
        inside.push(of("192.0.2.1").unwrap());
        inside.clear();
        assert_eq!(doors.counts.connections(), Default::default());
        let left = doors.inside();
        assert_eq!((left.all, left.by_network.len()), (0, 0));
    }

    #[test]
    fn a_connection_is_counted_as_what_it_is() {
        let doors = Doors::new(Arc::default());
        let mut ticket = doors.enter(&LIMITS()).unwrap();
        ticket.is(Kind::Http);
        ticket.is(Kind::Turn);
        let there = doors.counts.connections();
        assert_eq!((there.undecided, there.http, there.turn), (0, 0, 1));
    }
}
