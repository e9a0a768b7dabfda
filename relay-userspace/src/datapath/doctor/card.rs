//! What is to be known of an interface before the rules can judge it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use aya::programs::loaded_programs;

use super::super::interfaces::Network;
use super::super::netlink::{Link, Netlink};
use super::ethtool::{Channels, Ethtool, Feature, Ring};

/// An interface. What could not be read is `None`, or missing from a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Card {
    pub(super) name: String,
    pub(super) driver: Option<String>,
    /// In bytes.
    pub(super) mtu: u32,
    pub(super) loopback: bool,
    pub(super) up: bool,
    /// The interface under a VLAN.
    pub(super) lower: Option<String>,
    /// Whether VLAN interfaces stand on it.
    pub(super) carries_vlans: bool,
    /// Of a veth.
    pub(super) far_end: Option<FarEnd>,
    /// Of a bond.
    pub(super) bond_mode: Option<String>,
    pub(super) channels: Option<Channels>,
    pub(super) ring: Option<Ring>,
    pub(super) features: BTreeMap<String, Feature>,
    /// Whether UDP ports choose the queue, for IPv4 and IPv6.
    pub(super) hashes_ports: [Option<bool>; 2],
    /// The receive queues whose packets the kernel hands to other CPUs (RPS).
    pub(super) rps: Vec<String>,
    /// How many interrupts it has, and how many CPUs serve them.
    pub(super) interrupts: Option<(usize, usize)>,
    /// The XDP program that it runs.
    pub(super) program: Option<Running>,
    /// Whether its virtio host hands over merged packets or unfinished checksums and cannot be told not to.
    pub(super) virtio_offloads_fixed: Option<bool>,
}

/// The other end of a veth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct FarEnd {
    /// Its name, when it is in this network namespace.
    pub(super) name: Option<String>,
    /// In bytes.
    pub(super) mtu: Option<u32>,
    /// Whether it runs an XDP program in driver mode.
    pub(super) has_xdp: bool,
    /// Whether it leaves checksums unfinished.
    pub(super) leaves_checksums: Option<bool>,
}

/// An XDP program on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Running {
    pub(super) id: u32,
    /// Its name, when we may know it.
    pub(super) name: Option<String>,
}

impl Card {
    pub(super) fn read(link: &Link, network: &Network) -> Self {
        let name = link.name.as_str();
        let mut card = Self {
            name: name.into(),
            mtu: link.mtu,
            loopback: link.loopback,
            up: link.up,
            carries_vlans: network.links.iter().any(|l| l.vlan.is_some_and(|vlan| vlan.lower == link.index)),
            lower: link
                .vlan
                .and_then(|vlan| network.links.iter().find(|l| l.index == vlan.lower))
                .map(|l| l.name.clone()),
            bond_mode: bond(name, "mode").and_then(|text| Some(text.split_whitespace().next()?.to_owned())),
            rps: rps(name),
            interrupts: interrupts(name),
            virtio_offloads_fixed: virtio_offloads_fixed(&read(&format!("{name}/device/features"))),
            ..Self::default()
        };
        let by_sysfs = || super::super::interfaces::driver(name).or_else(|| link.kind.clone());
        if let Ok(ethtool) = Ethtool::open() {
            card.driver = ethtool.driver(name).ok();
            card.channels = ethtool.channels(name).ok();
            card.ring = ethtool.ring(name).ok();
            card.features = ethtool.features(name).unwrap_or_default();
            card.hashes_ports = [false, true].map(|ipv6| ethtool.hashes_ports(name, ipv6).ok());
        }
        card.driver = card.driver.filter(|driver| !driver.is_empty()).or_else(by_sysfs);
        if card.driver.as_deref() == Some("virtio_net") {
            card.channels =
                card.channels.map(|channels| without_those_of_xdp(channels, sending_queues(name)));
        }
        card.program = link.programs.first().copied().map(running);
        card.far_end = link.far_end.map(|far_end| {
            let found = Netlink::open().ok().and_then(|mut netlink| netlink.far_end(far_end));
            let here = found.as_ref().filter(|_| far_end.netns.is_none()).map(|link| link.name.clone());
            let features = |name: &String| Ethtool::open().and_then(|e| e.features(name)).ok();
            FarEnd {
                mtu: found.as_ref().map(|link| link.mtu),
                has_xdp: found.is_some_and(|link| link.in_driver_mode),
                leaves_checksums: here.as_ref().and_then(features).map(|f| leaves_checksums(&f)),
                name: here,
            }
        });
        card
    }

    pub(super) fn is_on(&self, feature: &str) -> bool {
        self.features.get(feature).is_some_and(|feature| feature.on)
    }
}

/// The interfaces that are used, the ones under their VLANs and the members of their bonds, each once.
pub(super) fn with_those_below(links: &[Link], network: &Network) -> Vec<Link> {
    let mut all: Vec<Link> = links.to_vec();
    let mut next = 0;
    while let Some(link) = all.get(next) {
        let members = bond(&link.name, "slaves").unwrap_or_default();
        let members: BTreeSet<&str> = members.split_whitespace().collect();
        let lower = link.vlan.map(|vlan| vlan.lower);
        let below =
            network.links.iter().filter(|l| Some(l.index) == lower || members.contains(l.name.as_str()));
        let new: Vec<_> = below.filter(|l| all.iter().all(|known| known.index != l.index)).cloned().collect();
        all.extend(new);
        next += 1;
    }
    all
}

fn leaves_checksums(features: &BTreeMap<String, Feature>) -> bool {
    ["tx-checksum-ip-generic", "tx-checksum-ipv4"]
        .iter()
        .any(|name| features.get(*name).is_some_and(|f| f.on))
}

fn running(id: u32) -> Running {
    // Needs CAP_BPF.
    let name =
        loaded_programs().flatten().find(|p| p.id() == id).and_then(|p| Some(p.name_as_str()?.to_owned()));
    Running { id, name }
}

/// A file of an interface; empty when it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(format!("/sys/class/net/{path}")).unwrap_or_default()
}

fn bond(name: &str, file: &str) -> Option<String> {
    Some(read(&format!("{name}/bonding/{file}"))).filter(|text| !text.is_empty())
}

/// While a program is attached, virtio_net counts the queues that it took for what XDP sends, but the kernel's own
/// sending does not use them (`virtnet_xdp_set`).
fn without_those_of_xdp(channels: Channels, sending: u32) -> Channels {
    Channels {
        combined: if sending > 0 { channels.combined.min(sending) } else { channels.combined },
        ..channels
    }
}

/// How many queues the kernel's stack sends on.
fn sending_queues(name: &str) -> u32 {
    let Ok(queues) = fs::read_dir(format!("/sys/class/net/{name}/queues")) else { return 0 };
    queues.flatten().filter(|queue| queue.file_name().as_encoded_bytes().starts_with(b"tx-")).count() as u32
}

fn rps(name: &str) -> Vec<String> {
    let Ok(queues) = fs::read_dir(format!("/sys/class/net/{name}/queues")) else { return Vec::new() };
    let names = queues.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut on: Vec<_> = names
        .filter(|queue| {
            read(&format!("{name}/queues/{queue}/rps_cpus")).contains(|c| ('1'..='f').contains(&c))
        })
        .collect();
    on.sort_unstable();
    on
}

/// Those of the card, or of the PCI device that a virtio card is on.
fn interrupts(name: &str) -> Option<(usize, usize)> {
    let device = format!("/sys/class/net/{name}/device");
    let folder = fs::read_dir(format!("{device}/msi_irqs")).or_else(|_| {
        // `..` of the path would be that of the link.
        fs::read_dir(fs::canonicalize(&device)?.join("../msi_irqs"))
    });
    let numbers: Vec<_> =
        folder.ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let serving =
        |number: &String| fs::read_to_string(format!("/proc/irq/{number}/effective_affinity_list")).ok();
    // One that was never asked for has no CPU.
    let serving: Vec<_> = numbers.iter().filter_map(serving).filter(|cpus| !cpus.trim().is_empty()).collect();
    let cpus: BTreeSet<_> = serving.iter().collect();
    (!serving.is_empty()).then_some((serving.len(), cpus.len()))
}

/// From the negotiated features, a digit a bit from bit 0 on. The driver refuses XDP then (`virtnet_xdp_set`).
fn virtio_offloads_fixed(features: &str) -> Option<bool> {
    const CTRL_GUEST_OFFLOADS: usize = 2;
    // GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, GUEST_USO4, GUEST_USO6 (virtio 1.3 section 5.1.3).
    const GUEST_OFFLOADS: [usize; 7] = [1, 7, 8, 9, 10, 54, 55];
    let bits = features.trim().as_bytes();
    let has = |bit: usize| bits.get(bit) == Some(&b'1');
    (bits.len() >= 64).then(|| GUEST_OFFLOADS.into_iter().any(has) && !has(CTRL_GUEST_OFFLOADS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_that_virtio_took_for_xdp_are_not_counted() {
        let with = |combined, sending| {
            let channels = Channels { combined, max_combined: 4, ..Channels::default() };
            without_those_of_xdp(channels, sending).combined
        };
        assert_eq!(with(2, 2), 2, "before a program is attached");
        assert_eq!(with(4, 2), 2, "with a program");
        assert_eq!(with(4, 4), 4, "with a program for which there were no queues");
        assert_eq!(with(4, 0), 4, "when the queues cannot be listed");
    }

    #[test]
    fn virtio_offloads_are_read_from_the_bits_that_were_negotiated() {
        let with = |bits: &[usize]| {
            let text: String = (0..128).map(|bit| if bits.contains(&bit) { '1' } else { '0' }).collect();
            virtio_offloads_fixed(&format!("{text}\n"))
        };
        assert_eq!(with(&[0, 1, 7]), Some(true));
        assert_eq!(with(&[0, 1, 2, 7]), Some(false), "CTRL_GUEST_OFFLOADS lets the driver turn them off");
        assert_eq!(with(&[0, 5, 15]), Some(false));
        assert_eq!(virtio_offloads_fixed(""), None);
    }

    #[test]
    fn the_cards_under_vlans_are_looked_at_once_each() {
        use super::super::super::netlink::Vlan;
        let lo = Network::read().unwrap().links.into_iter().find(|link| link.loopback).unwrap();
        let link = |index, name: &str, lower: Option<u32>| Link {
            index,
            name: name.into(),
            loopback: false,
            master: None,
            vlan: lower.map(|lower| Vlan { lower, ethertype: 0x8100, id: 7 }),
            ..lo.clone()
        };
        let links = vec![
            link(901, "nosuch1", None),
            link(902, "nosuch1.7", Some(901)),
            link(903, "nosuch1.7.7", Some(902)),
            link(904, "nosuch1.8", Some(901)),
            link(905, "nosuch2", None),
        ];
        let network = Network { links, addresses: Vec::new() };
        let all = with_those_below(&network.links[2..4], &network);
        let names: Vec<_> = all.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["nosuch1.7.7", "nosuch1.8", "nosuch1.7", "nosuch1"]);

        let card = |index: usize| Card::read(&network.links[index], &network);
        assert!(card(0).carries_vlans && card(1).carries_vlans && !card(4).carries_vlans);
        assert_eq!(card(1).lower.as_deref(), Some("nosuch1"));
    }

    #[test]
    fn the_loopback_is_read_without_privileges() {
        let network = Network::read().unwrap();
        let lo = network.links.iter().find(|link| link.loopback).unwrap();
        let card = Card::read(lo, &network);
        assert!(card.loopback && card.mtu == lo.mtu && card.is_on("loopback"), "{card:?}");
        assert_eq!((card.far_end, card.program, card.bond_mode), (None, None, None));
    }
}
