//! Address families, and what an allocation has at most once for each.

use std::fmt;
use std::net::IpAddr;

use super::types::RelayAddr;
use crate::stun::AddressFamily;

/// An address family that can be relayed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which answers name them.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

/// At most one thing for each family: RFC 8656 section 2 gives an allocation "one or two relayed transport addresses".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PerFamily<T> {
    v4: Option<T>,
    v6: Option<T>,
}

/// The relayed transport addresses of an allocation.
pub type Relayed = PerFamily<RelayAddr>;

impl<T> Default for PerFamily<T> {
    fn default() -> Self {
        Self { v4: None, v6: None }
    }
}

impl<T> PerFamily<T> {
    /// What there is for a family.
    pub const fn get(&self, family: Family) -> Option<&T> {
        self.place(family).as_ref()
    }

    /// As [`get`](Self::get).
    pub const fn get_mut(&mut self, family: Family) -> Option<&mut T> {
        self.place_mut(family).as_mut()
    }

    /// Puts something in the place of a family.
    pub fn insert(&mut self, family: Family, value: T) {
        *self.place_mut(family) = Some(value);
    }

    /// Takes what there is for a family out.
    pub const fn take(&mut self, family: Family) -> Option<T> {
        self.place_mut(family).take()
    }

    /// What there is, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::BOTH.into_iter().filter_map(|family| Some((family, self.get(family)?)))
    }

    /// As [`iter`](Self::iter).
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.v4.iter().chain(&self.v6)
    }

    const fn place(&self, family: Family) -> &Option<T> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    const fn place_mut(&mut self, family: Family) -> &mut Option<T> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl From<RelayAddr> for Relayed {
    fn from(address: RelayAddr) -> Self {
        let mut relayed = Self::default();
        relayed.insert(address.family(), address);
        relayed
    }
}

impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, address) in self.values().enumerate() {
            if i > 0 {
                f.write_str(" and ")?;
            }
            address.0.fmt(f)?;
        }
        Ok(())
    }
}
