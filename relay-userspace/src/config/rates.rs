//! Limits on how much and how fast, as the operator writes them and as the protocol core takes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::layer::Limits;
use super::values::{BadValue, refuse};
use super::{ConfigError, resolve};
use crate::policy::Rate;
use crate::turn::{MOST_PEERS, Rates, Throughput};

/// Answers a second to strangers of one network unless told otherwise, and ten times as many at once.
///
/// Of the usual answers, 60 to 132 bytes with their headers, this is 1 Mbit/s at most, and longer requests count as several:
/// no harm to whoever they are sent to in another's name. And it passes a carrier's or campus's NAT of some thousand callers behind one IPv4 /24: each sends
/// two or three such requests when a call is set up, and a Binding request every ten seconds or so to keep its NAT open.
pub const DEFAULT_STRANGER_RATE: u32 = 1_000;

/// The largest datagram: each must fit in the burst, or it would never pass.
const LARGEST_DATAGRAM: u64 = 65_535;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// `[limits]`, but for quotas and lifetimes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateSettings {
    /// Data of one allocation, in each direction.
    pub allocation_bandwidth: Option<Bandwidth>,
    /// Datagrams of one allocation a second, in each direction.
    pub allocation_packets: Option<u32>,
    /// Data of all allocations of one user, in each direction.
    pub user_bandwidth: Option<Bandwidth>,
    /// Datagrams of all allocations of one user a second, in each direction.
    pub user_packets: Option<u32>,
    /// New permissions of one user a minute.
    pub user_new_peers: Option<u32>,
    /// Permissions, and channels, of one allocation.
    pub allocation_peers: u32,
    /// Answers to strangers of one network.
    pub strangers: StrangerRate,
}

impl RateSettings {
    /// Checks the numbers and fills in the defaults.
    pub(super) fn resolve(limits: &Limits) -> Result<Self, ConfigError> {
        let counts = [
            (limits.allocation_packets, "allocation-packets", "nothing could be relayed"),
            (limits.user_packets, "user-packets", "nothing could be relayed"),
            (limits.user_new_peers, "user-new-peers", "nobody could be called"),
        ];
        for (limit, name, what) in counts {
            if limit == Some(0) {
                return resolve::refuse(format!("{name} is 0: {what}; leave it out for no limit"));
            }
        }
        let allocation_peers = limits.allocation_peers.unwrap_or(MOST_PEERS as u32);
        if !(1..=MOST_PEERS as u32).contains(&allocation_peers) {
            return resolve::refuse(format!(
                "allocation-peers is {allocation_peers}: an allocation can have 1 to {MOST_PEERS} permissions"
            ));
        }
        Ok(Self {
            allocation_bandwidth: limits.allocation_bandwidth,
            allocation_packets: limits.allocation_packets,
            user_bandwidth: limits.user_bandwidth,
            user_packets: limits.user_packets,
            user_new_peers: limits.user_new_peers,
            allocation_peers,
            strangers: limits.stranger_rate.unwrap_or_default(),
        })
    }

    /// Each with its key in the file.
    pub(super) fn named(&self) -> [(&'static str, String); 7] {
        fn shown(limit: Option<impl fmt::Display>) -> String {
            limit.map_or("none".into(), |limit| limit.to_string())
        }
        [
            ("limits.allocation-bandwidth", shown(self.allocation_bandwidth)),
            ("limits.allocation-packets", shown(self.allocation_packets)),
            ("limits.allocation-peers", self.allocation_peers.to_string()),
            ("limits.user-bandwidth", shown(self.user_bandwidth)),
            ("limits.user-packets", shown(self.user_packets)),
            ("limits.user-new-peers", shown(self.user_new_peers)),
            ("limits.stranger-rate", self.strangers.to_string()),
        ]
    }

    /// As the protocol core takes them. What is limited may come at once up to a second's worth (a minute's, for new
    /// peers): a key frame is a burst of hundreds of packets.
    pub fn rates(&self) -> Rates {
        let throughput = |bandwidth: Option<Bandwidth>, packets: Option<u32>| Throughput {
            bytes: bandwidth
                .map(|Bandwidth(bits)| Rate::new(bits / 8, SECOND, (bits / 8).max(LARGEST_DATAGRAM))),
            packets: packets.map(|packets| Rate::new(packets.into(), SECOND, packets.into())),
        };
        Rates {
            allocation: throughput(self.allocation_bandwidth, self.allocation_packets),
            user: throughput(self.user_bandwidth, self.user_packets),
            new_peers: self.user_new_peers.map(|peers| Rate::new(peers.into(), MINUTE, peers.into())),
        }
    }
}

/// Bits a second, written `8Mbit`: decimal, and of the data that users send, without headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bandwidth(u64);

const UNITS: [(&str, u64); 3] = [("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];

/// An Opus call, and more than any network card has.
const BANDWIDTHS: std::ops::RangeInclusive<u64> = 64_000..=1_000_000_000_000;

impl FromStr for Bandwidth {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).map(|(_, n)| n);
        let bits =
            number.parse::<u64>().ok().zip(factor).map(|(number, factor)| number.saturating_mul(*factor));
        match bits {
            Some(bits) if BANDWIDTHS.contains(&bits) => Ok(Self(bits)),
            Some(_) => refuse(format!("{text:?} is out of range: 64kbit to 1000Gbit can be set")),
            None => refuse(format!(
                "{text:?} is no bandwidth: write a whole number of kbit, Mbit or Gbit, as in 8Mbit"
            )),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().rev().find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.expect("only whole kbit are read");
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// Answers to strangers: so many a second for each network, or `off` for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StrangerRate {
    /// All are answered.
    Off,
    /// So many a second; ten times as many at once.
    PerSecond(u32),
}

impl StrangerRate {
    /// As the protocol core takes it.
    pub fn rate(self) -> Option<Rate> {
        match self {
            Self::Off => None,
            Self::PerSecond(answers) => Some(Rate::new(answers.into(), SECOND, 10 * u64::from(answers))),
        }
    }
}

impl Default for StrangerRate {
    fn default() -> Self {
        Self::PerSecond(DEFAULT_STRANGER_RATE)
    }
}

impl FromStr for StrangerRate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            Ok(0) => refuse("0: nobody could find out how to log in; write off for no limit"),
            Ok(answers) => Ok(Self::PerSecond(answers)),
            Err(_) if text == "off" => Ok(Self::Off),
            Err(_) => refuse(format!("{text:?} is neither a number of answers a second nor off")),
        }
    }
}

impl fmt::Display for StrangerRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::PerSecond(answers) => write!(f, "{answers}"),
        }
    }
}
