//! Which interfaces run the program now, and why the others do not, kept true while interfaces come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aya::programs::XdpMode;
use relay_common::interface::Interface;

use super::doctor::sends_pieces;
use super::headroom::{self, Headroom};
use super::hop_table::Attached;
use super::interface_log::Log;
use super::interfaces::{Network, Wanted, has_strict_rp_filter, is_virtual};
use super::ladder::{Climbed, attach_reason, climb, driver, rungs};
use super::netlink::{Link, Netlink};
use super::next_hop::NextHops;
use super::program::Program;
use super::{InterfaceStatus, Mode, Request};
use crate::auth::printable;

/// How long an interface keeps its rung before the ladder is climbed again: attaching takes some cards down and up, and
/// that is announced as a change.
const KEEP: Duration = Duration::from_secs(5);

/// The interfaces, each on its rung of the ladder. Dropping it detaches the program.
pub(super) struct Attachments {
    request: Request,
    wanted: Wanted,
    // Dropped before the next hops: no packet sees any that nobody follows.
    loaded: Result<Loaded, String>,
    present: BTreeMap<u32, Present>,
    /// By name: interfaces that are named, and those that carried an address of ours which no other carries now.
    absent: BTreeMap<String, BTreeSet<IpAddr>>,
    board: Board,
    log: Log,
}

/// What there is to attach, and who must know where it is.
pub(super) struct Loaded {
    pub(super) program: Program,
    pub(super) next_hops: Arc<NextHops>,
}

/// What everybody may read: how each interface relays.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<RwLock<Vec<InterfaceStatus>>>);

impl Board {
    pub(super) fn read(&self) -> Vec<InterfaceStatus> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, interfaces: Vec<InterfaceStatus>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = interfaces;
    }
}

/// An interface that is there and wanted.
struct Present {
    link: Link,
    carried: BTreeSet<IpAddr>,
    climbed: Climbed,
    /// What it was like when the ladder was climbed.
    then: Circumstances,
    at: Instant,
}

/// What decides on which rung an interface ends up.
#[derive(Clone, PartialEq, Eq)]
struct Circumstances {
    mtu: u32,
    deaf: bool,
    /// Whether the driver was found to lack headroom; it stays so while the card is the same.
    cramped: bool,
    connected: bool,
    /// Programs of others.
    foreign: BTreeSet<u32>,
}

impl Attachments {
    /// Attached nowhere yet. Without a program, for the reason given, everything relays in userspace.
    pub(super) fn new(request: Request, wanted: Wanted, loaded: Result<Loaded, String>) -> Self {
        Self {
            request,
            wanted,
            loaded,
            present: BTreeMap::new(),
            absent: BTreeMap::new(),
            board: Board::default(),
            log: Log::silent(),
        }
    }

    /// How each interface relays, now and later.
    pub(super) fn board(&self) -> Board {
        self.board.clone()
    }

    /// Brings everything in line with the network: attaches to what has come, lets go of what has gone, climbs the
    /// ladder again where that may end higher, or must end lower. What was done is logged, but for the first time.
    pub(super) fn follow(&mut self, network: &Network) {
        let links: BTreeMap<u32, Link> =
            self.wanted.links(network).into_iter().map(|link| (link.index, link)).collect();
        let now: BTreeMap<u32, Circumstances> =
            links.iter().map(|(&i, l)| (i, self.circumstances(l))).collect();
        let gone: Vec<u32> =
            self.present.values().map(|p| p.link.index).filter(|i| !self.holds(links.get(i), *i)).collect();
        let again: Vec<u32> = self.present.keys().copied().filter(|i| !gone.contains(i)).collect();
        let again: Vec<u32> = again.into_iter().filter(|i| self.may_move(*i, &now[i])).collect();

        // Before the program leaves them, so that what comes in by another interface goes up instead of nowhere.
        self.announce(|index| !gone.contains(&index) && !again.contains(&index));
        for &index in &gone {
            self.leave(index, links.contains_key(&index), network);
        }
        self.set_locals(network);
        for (index, link) in links {
            let circumstances = now[&index].clone();
            let carried = network.addresses_of(index);
            match self.present.remove(&index) {
                Some(Present { climbed: before, .. }) if again.contains(&index) => {
                    self.detach(index);
                    let climbed = self.raise(&link, &circumstances);
                    if climbed != before {
                        self.log.write(&link.name, "has changed", Some(&climbed));
                    }
                    self.place(link, carried, climbed, circumstances);
                }
                Some(present) => self.keep(Present { carried, ..present }, link, circumstances.cramped),
                None => {
                    let circumstances = Circumstances { cramped: false, ..circumstances };
                    let climbed = self.raise(&link, &circumstances);
                    let back = self.absent.remove(&link.name).is_some();
                    self.log.write(&link.name, if back { "is back" } else { "is new" }, Some(&climbed));
                    self.place(link, carried, climbed, circumstances);
                }
            }
        }
        self.describe(network);
        self.announce(|_| true);
        self.publish(network);
        self.log.speak();
    }

    /// Whether an interface is still wanted and has the program where it should.
    fn holds(&self, link: Option<&Link>, index: u32) -> bool {
        let Some(link) = link else { return false };
        let should = self.present.get(&index).is_some_and(|p| p.climbed.mode != Mode::Userspace);
        // An interface that was deleted and made again may have got its old index.
        !should || self.loaded.as_ref().is_ok_and(|loaded| link.programs.contains(&loaded.program.id()))
    }

    /// Whether the ladder is to be climbed again: where something is different from when it was, and it did not end at
    /// the top, or the top no longer holds.
    fn may_move(&self, index: u32, now: &Circumstances) -> bool {
        let Present { link, climbed, then, at, .. } = &self.present[&index];
        let Some(&top) = rungs(self.request).first() else { return false };
        // That is found once for a card, and every packet counts until it is mended.
        let newly_cramped = now.cramped && !then.cramped;
        if self.loaded.is_err() || link.loopback || (at.elapsed() < KEEP && !newly_cramped) {
            return false;
        }
        match climbed.mode {
            Mode::Userspace => now != then,
            mode if mode == top => self.request == Request::Auto && (now.deaf && !then.deaf || newly_cramped),
            // Up and down are no reason to take a program off.
            _ => *now != Circumstances { connected: now.connected, ..then.clone() },
        }
    }

    fn circumstances(&self, link: &Link) -> Circumstances {
        let ours = self.loaded.as_ref().ok().map(|loaded| loaded.program.id());
        Circumstances {
            mtu: link.mtu,
            deaf: is_deaf(link),
            cramped: self
                .present
                .get(&link.index)
                .is_some_and(|present| present.then.cramped || self.headroom(present) == Headroom::Lacking),
            connected: link.connected,
            foreign: link.programs.iter().copied().filter(|id| Some(*id) != ours).collect(),
        }
    }

    /// Whether a driver's headroom is still to be found enough or lacking, and whether one was found lacking about which
    /// nothing has been done.
    pub(super) fn look_at_headroom(&self) -> Headroom {
        let undecided = self.present.values().filter(|present| !present.then.cramped);
        let known: Vec<_> = undecided.map(|present| self.headroom(present)).collect();
        let first = [Headroom::Lacking, Headroom::Unknown].into_iter().find(|h| known.contains(h));
        first.unwrap_or(Headroom::Enough)
    }

    fn headroom(&self, present: &Present) -> Headroom {
        match &self.loaded {
            Ok(Loaded { program, .. }) if present.climbed.mode == Mode::Xdp => {
                headroom::judge(program.counted(present.link.index).as_ref())
            }
            _ => Headroom::Enough,
        }
    }

    /// Attaches to one interface on the highest rung that holds.
    fn raise(&mut self, link: &Link, now: &Circumstances) -> Climbed {
        let (request, deaf, cramped) = (self.request, now.deaf, now.cramped);
        let mut climbed = climb(request, |mode| {
            if link.loopback {
                return Err("what is sent over the loopback never comes to a network card".into());
            }
            let Loaded { program, .. } = self.loaded.as_mut().map_err(|reason| reason.clone())?;
            if request == Request::Auto && mode == Mode::Xdp && deaf {
                return Err(deaf_reason(link) + ", or insist with --datapath xdp");
            }
            if request == Request::Auto && mode == Mode::Xdp && cramped {
                return Err(headroom::reason(link));
            }
            let xdp_mode = if mode == Mode::Xdp { XdpMode::Driver } else { XdpMode::Skb };
            // Until `describe`, with the care that VLANs ask for.
            program.describe(link.index, flags(link) | Interface::VLANS);
            program.attach(link.index, xdp_mode).map_err(|e| attach_reason(mode, link, &e))?;
            program.add_device(link.index).map_err(|e| {
                program.detach(link.index);
                format!("the device table cannot be filled: {e}")
            })
        });
        if let (Mode::Userspace, Ok(Loaded { program, .. })) = (climbed.mode, &self.loaded) {
            program.forget(link.index);
        }
        if climbed.mode == Mode::Xdp && deaf {
            climbed.reasons.push(deaf_reason(link));
        }
        climbed
    }

    fn place(&mut self, link: Link, carried: BTreeSet<IpAddr>, climbed: Climbed, then: Circumstances) {
        self.present.insert(link.index, Present { link, carried, climbed, then, at: Instant::now() });
    }

    fn keep(&mut self, mut present: Present, link: Link, cramped: bool) {
        if cramped && !present.then.cramped {
            // Driver mode was insisted on.
            present.then.cramped = true;
            present.climbed.reasons.push(headroom::reason(&link));
            self.log.write(&link.name, "lacks headroom", Some(&present.climbed));
        }
        if link.name != present.link.name {
            let what = format!("is called {} now", printable(&link.name));
            self.log.write(&present.link.name, &what, None);
        }
        if link.connected != present.link.connected {
            self.log.write(&link.name, if link.connected { "is up" } else { "is down" }, None);
        }
        self.present.insert(link.index, Present { link, ..present });
    }

    fn leave(&mut self, index: u32, wanted: bool, network: &Network) {
        self.detach(index);
        if let Ok(Loaded { program, .. }) = &self.loaded {
            program.forget(index);
        }
        let Some(Present { link, mut carried, .. }) = self.present.remove(&index) else { return };
        let what = if wanted {
            "has lost the program"
        } else if self.wanted.names.is_none() && network.links.iter().any(|l| l.index == index) {
            "carries none of our addresses any more"
        } else {
            "is gone"
        };
        self.log.write(&link.name, what, None);
        let nowhere = self.wanted.nowhere(network);
        carried.retain(|ip| nowhere.contains(ip));
        self.absent.insert(link.name, carried);
    }

    fn detach(&mut self, index: u32) {
        if let Ok(Loaded { program, .. }) = &mut self.loaded {
            program.detach(index);
        }
    }

    fn set_locals(&mut self, network: &Network) {
        let Ok(Loaded { program, .. }) = &mut self.loaded else { return };
        if let Err(error) = program.set_locals(&self.wanted.locals(network)) {
            self.log.warn(format_args!(
                "some addresses of this host are served in userspace: the table of addresses cannot be changed: {error}"
            ));
        }
    }

    /// Tells the program what its interfaces are like now.
    fn describe(&self, network: &Network) {
        let Ok(Loaded { program, .. }) = &self.loaded else { return };
        for Present { link, .. } in self.present.values().filter(|p| has_program(p.climbed.mode)) {
            let vlans = if network.carries_vlans(link.index) { Interface::VLANS } else { 0 };
            let flags = flags(link) | vlans;
            program.describe(link.index, flags);
            program.describe_members(link.index, &network.members(link), flags);
        }
    }

    /// Tells the next hops which interfaces run the program.
    fn announce(&self, which: impl Fn(u32) -> bool) {
        let Ok(Loaded { next_hops, .. }) = &self.loaded else { return };
        let modes = self.present.iter().map(|(&index, present)| (index, present.climbed.mode));
        next_hops.set_attached(attached(modes.filter(|(index, _)| which(*index))));
    }

    fn publish(&mut self, network: &Network) {
        let nowhere = self.wanted.nowhere(network);
        match &self.wanted.names {
            Some(_) => {
                let missing = self.wanted.missing(network);
                self.absent = missing.into_iter().map(|name| (name, BTreeSet::new())).collect();
            }
            None => self.absent.retain(|_, carried| {
                carried.retain(|ip| nowhere.contains(ip));
                !carried.is_empty()
            }),
        }
        let present = self.present.values().map(|Present { link, climbed, .. }| {
            let down = (!link.connected).then(|| "it is down, or its other end is".to_owned());
            InterfaceStatus {
                name: link.name.clone(),
                index: link.index,
                mode: climbed.mode,
                reasons: climbed.reasons.iter().cloned().chain(down).collect(),
            }
        });
        let absent = self.absent.iter().map(|(name, carried)| InterfaceStatus {
            name: name.clone(),
            index: 0,
            mode: Mode::Absent,
            reasons: vec![absent_reason(carried)],
        });
        self.board.write(present.chain(absent).collect());
    }
}

fn absent_reason(carried: &BTreeSet<IpAddr>) -> String {
    if carried.is_empty() {
        return "there is no interface of this name".into();
    }
    let all: Vec<_> = carried.iter().map(ToString::to_string).collect();
    format!("no interface carries {} now", all.join(", "))
}

/// The interfaces with the program. Generic mode beside driver mode cannot take redirected packets: see
/// [`NextHop::redirect`](relay_common::next_hop::NextHop::redirect).
fn attached(modes: impl Iterator<Item = (u32, Mode)>) -> BTreeMap<u32, Attached> {
    let with_program: Vec<_> = modes.filter(|(_, mode)| has_program(*mode)).collect();
    let mixed = with_program.iter().any(|(_, mode)| *mode == Mode::Xdp);
    let redirect = |mode| Attached { redirect: !mixed || mode == Mode::Xdp };
    with_program.into_iter().map(|(index, mode)| (index, redirect(mode))).collect()
}

fn has_program(mode: Mode) -> bool {
    matches!(mode, Mode::Xdp | Mode::XdpGeneric)
}

/// What the program is told of an interface, whatever stands on it.
fn flags(link: &Link) -> u32 {
    let driver = driver(link).unwrap_or_default();
    let flag = |flag, is: bool| if is { flag } else { 0 };
    flag(Interface::VIRTUAL, is_virtual(&link.name))
        | flag(Interface::STRICT, has_strict_rp_filter(&link.name))
        | flag(Interface::WHOLE, !sends_pieces(&driver))
}

fn deaf_reason(link: &Link) -> String {
    format!(
        "the other end of {} runs no XDP program that can be seen, and a veth then delivers what XDP sends to it late \
         or never: attach one there",
        link.name
    )
}

/// Whether frames that XDP sends would get stuck: the kernel's veth driver tells the receiving end of them only when
/// that has a program itself (`veth_xdp_flush`). The usual container is attached like this.
fn is_deaf(link: &Link) -> bool {
    let has_program = |far_end| Netlink::open().ok()?.far_end(far_end).map(|link| link.in_driver_mode);
    link.far_end.is_some_and(|far_end| has_program(far_end) != Some(true))
}

#[cfg(test)]
#[path = "attachments_tests.rs"]
mod tests;
