//! The settings of a network card, asked by the ioctl that `ethtool` uses. All of these questions are answered to
//! anybody, without privileges.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Of `linux/ethtool.h`.
const GET_DRIVER: u32 = 0x03;
const GET_RINGS: u32 = 0x10;
const GET_STRINGS: u32 = 0x1b;
const GET_HASH: u32 = 0x29;
const GET_STRING_COUNT: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
const FEATURE_NAMES: u32 = 4;
const UDP_OVER_IPV4: u32 = 0x02;
const UDP_OVER_IPV6: u32 = 0x06;

/// More features than any kernel has, so that an answer cannot make this take much memory.
const MOST_FEATURES: u32 = 1024;

/// `ETH_GSTRING_LEN`, in words.
const NAME_WORDS: usize = 8;

/// How many queues a card has and could have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Channels {
    pub(super) rx: u32,
    pub(super) tx: u32,
    /// For both directions.
    pub(super) combined: u32,
    pub(super) max_rx: u32,
    pub(super) max_combined: u32,
}

/// How many descriptors its receive ring has and could have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ring {
    pub(super) rx: u32,
    pub(super) max_rx: u32,
}

/// A feature of a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Feature {
    pub(super) on: bool,
    /// It cannot be changed.
    pub(super) fixed: bool,
}

/// A socket to ask through, in the network namespace of the thread that opened it.
pub(super) struct Ethtool(OwnedFd);

impl Ethtool {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?))
    }

    /// The name of the driver.
    pub(super) fn driver(&self, interface: &str) -> io::Result<String> {
        // struct ethtool_drvinfo: 196 bytes.
        let mut info = [0; 49];
        info[0] = GET_DRIVER;
        self.ask(interface, &mut info)?;
        Ok(text(&info[1..=NAME_WORDS]))
    }

    /// Its queues; an error where the driver has no such setting.
    pub(super) fn channels(&self, interface: &str) -> io::Result<Channels> {
        // struct ethtool_channels.
        let mut words = [0; 9];
        words[0] = GET_CHANNELS;
        self.ask(interface, &mut words)?;
        let [_, max_rx, _, _, max_combined, rx, tx, _, combined] = words;
        Ok(Channels { rx, tx, combined, max_rx, max_combined })
    }

    /// Its rings.
    pub(super) fn ring(&self, interface: &str) -> io::Result<Ring> {
        // struct ethtool_ringparam.
        let mut words = [0; 9];
        words[0] = GET_RINGS;
        self.ask(interface, &mut words)?;
        Ok(Ring { max_rx: words[1], rx: words[5] })
    }

    /// Whether the queue of a UDP packet depends on its ports.
    pub(super) fn hashes_ports(&self, interface: &str, ipv6: bool) -> io::Result<bool> {
        // RXH_L4_B_0_1 and RXH_L4_B_2_3, the source and the destination port.
        const PORTS: u64 = 1 << 6 | 1 << 7;
        // struct ethtool_rxnfc has 192 bytes, of which the kernel fills in the first 16 for this question.
        let mut words = [0; 64];
        words[0] = GET_HASH;
        words[1] = if ipv6 { UDP_OVER_IPV6 } else { UDP_OVER_IPV4 };
        self.ask(interface, &mut words)?;
        Ok(long(words[2], words[3]) & PORTS == PORTS)
    }

    /// All features, by the kernel's names (`rx-lro`).
    pub(super) fn features(&self, interface: &str) -> io::Result<BTreeMap<String, Feature>> {
        // struct ethtool_sset_info with room for one count; the mask of sets is a 64-bit number.
        let mask = (1_u64 << FEATURE_NAMES).to_ne_bytes();
        let [low, high] =
            [&mask[..4], &mask[4..]].map(|half| u32::from_ne_bytes(half.try_into().expect("four")));
        let mut sets = [GET_STRING_COUNT, 0, low, high, 0];
        self.ask(interface, &mut sets)?;
        let count = sets[4];
        if count > MOST_FEATURES {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }

        // struct ethtool_gstrings. The kernel writes as many names as it counted; that number is a constant of it.
        let mut names = vec![0; 3 + count as usize * NAME_WORDS];
        names[..3].copy_from_slice(&[GET_STRINGS, FEATURE_NAMES, count]);
        self.ask(interface, &mut names)?;

        // struct ethtool_gfeatures: blocks of 32 features, as many as it is told there is room for.
        let blocks = count.div_ceil(32);
        let mut bits = vec![0; 2 + blocks as usize * 4];
        bits[..2].copy_from_slice(&[GET_FEATURES, blocks]);
        self.ask(interface, &mut bits)?;

        let features = names[3..].chunks_exact(NAME_WORDS).enumerate().map(|(n, name)| {
            let block = &bits[2 + n / 32 * 4..][..4];
            let has = |word: u32| word & 1 << (n % 32) != 0;
            let [available, _, active, never_changed] = [0, 1, 2, 3].map(|i| has(block[i]));
            (text(name), Feature { on: active, fixed: never_changed || !available })
        });
        Ok(features.collect())
    }

    /// Asks about an interface; the answer comes in place of the question. `words` must have room for all of the
    /// kernel's answer: see the SAFETY line.
    fn ask(&self, interface: &str, words: &mut [u32]) -> io::Result<()> {
        let name = interface.as_bytes();
        if name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut ifr_name = [0; libc::IFNAMSIZ];
        for (to, from) in ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: words.as_mut_ptr().cast() };
        let mut request = libc::ifreq { ifr_name, ifr_ifru };
        // SAFETY: the request names an interface, closed by a zero, and points at `words`, which outlive the call. The
        // kernel writes no more than the structure that belongs to the command in the first word, for which every
        // caller above makes room (the commands and structures are private to this file).
        let rc = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn long(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// Text up to the first zero.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopbacks_features_are_read_by_name() {
        let features = Ethtool::open().unwrap().features("lo").unwrap();
        // Both hold for every loopback: the first cannot be changed, the second can.
        assert_eq!(features["loopback"], Feature { on: true, fixed: true });
        assert!(!features["rx-gro"].fixed, "{features:?}");
        assert!(!features["rx-lro"].on && features["rx-lro"].fixed, "{features:?}");
    }

    #[test]
    fn an_interface_that_does_not_exist_is_an_error() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.driver("nosuch0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        let error = ethtool.channels("a-name-that-is-too-long").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
