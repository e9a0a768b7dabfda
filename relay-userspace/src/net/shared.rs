//! What a shard has instead of a socket for every allocation: one to receive by for each address family, one to send by for
//! each relay address, and one for the ICMP errors of each family.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use relay_common::steer;

use super::foreign::{ForeignPorts, Watch};
use super::lookup::{Lookup, LookupError, holder};
use super::token::Family;
use super::{icmp, raw, sockets};

/// Most datagrams that the queue of a socket holds: the kernel grants twice the buffer space, and the smallest takes more
/// than 512 bytes of it.
const MOST_QUEUED: usize = 2 * sockets::SHARED_BUFFER / 512;

/// The shared sockets of one shard.
pub(super) struct Shared {
    /// By family.
    families: [Option<Receiver>; 2],
    /// By relay address.
    senders: Vec<UdpSocket>,
    lookup: Arc<Lookup>,
    foreign: Arc<ForeignPorts>,
    shard: u16,
    moment: Moment,
}

/// How datagrams and errors of one family come in.
pub(super) struct Receiver {
    pub(super) socket: UdpSocket,
    pub(super) icmp: UdpSocket,
    /// The last reading of the socket's count of dropped datagrams.
    pub(super) socket_drops: u32,
    queue: Queue,
}

/// A place in the order in which a shard reads its queues and closes ports. Time would not do: it is the same for all that is
/// done between two waits. Zero is before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Moment(u64);

/// How far a queue has been read.
#[derive(Debug, Default)]
struct Queue {
    /// What came before this was read.
    read_to: Moment,
    /// When there were `taken` datagrams fewer.
    mark: Moment,
    taken: usize,
}

impl Queue {
    /// Notes a call, begun at `now`, that took this many datagrams and perhaps all that there were. Says whether all that waited
    /// when it last said so is read.
    fn took(&mut self, now: Moment, taken: usize, all: bool) -> bool {
        self.taken += taken;
        let over = all || self.taken >= MOST_QUEUED;
        if over {
            self.read_to = if all { now } else { self.mark };
            (self.mark, self.taken) = (now, 0);
        }
        over
    }
}

impl Shared {
    /// The socket of a family.
    pub(super) fn receiver(&mut self, family: Family) -> Option<&mut Receiver> {
        self.families[usize::from(family)].as_mut()
    }

    /// Those that there are.
    pub(super) fn receivers(&self) -> impl Iterator<Item = (Family, &Receiver)> {
        (0..).zip(&self.families).filter_map(|(family, receiver)| Some((family, receiver.as_ref()?)))
    }

    /// The socket that sends from a relay address.
    pub(super) fn sender(&self, address: usize) -> &UdpSocket {
        &self.senders[address]
    }

    /// The relay addresses by their places.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        self.lookup.addresses()
    }

    /// Has a port's datagrams come here. Another program's is refused as `bind` would.
    pub(super) fn open(&self, address: usize, port: u16) -> io::Result<()> {
        if self.foreign.hold(address, port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.lookup.open(address, port, self.shard);
        Ok(())
    }

    /// Has them come no longer. Some may wait in the queue: see [`may_hold`](Self::may_hold).
    pub(super) fn close(&self, address: usize, port: u16) {
        self.lookup.close(address, port);
    }

    /// What is done next comes after all that was done so far.
    pub(super) fn next_moment(&mut self) -> Moment {
        self.moment.0 += 1;
        self.moment
    }

    /// Notes what was taken from a family's queue: see [`Queue::took`].
    pub(super) fn took(&mut self, family: Family, now: Moment, taken: usize, all: bool) {
        let shard = self.shard;
        if let Some(receiver) = &mut self.families[usize::from(family)]
            && receiver.queue.took(now, taken, all)
        {
            self.lookup.next_round(shard);
        }
    }

    /// Whether the queue may still hold datagrams that came before a port was closed; zero is never.
    pub(super) fn may_hold(&self, family: Family, closed: Moment) -> bool {
        closed != Moment::default()
            && self.families[usize::from(family)].as_ref().is_some_and(|r| r.queue.read_to <= closed)
    }

    /// Looks whether anything waits at all.
    pub(super) fn look(&mut self, family: Family) {
        let now = self.next_moment();
        let Some(receiver) = &self.families[usize::from(family)] else { return };
        let mut fds = [PollFd::new(receiver.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            self.took(family, now, 0, true);
        }
    }
}

/// Why each allocation has a socket of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotShared {
    #[error("a raw socket, to send for all allocations or to hear ICMP errors, is not to be had: {0}{advice}", advice = advice(.0))]
    Raw(#[source] io::Error),
    #[error("a socket for the allocations of a shard is not to be had: {0}")]
    Socket(#[source] io::Error),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the kernel does not list its UDP sockets, among which are the ports of other programs: {0}")]
    Foreign(#[source] io::Error),
    #[error("a UNIX socket, by which other Turnpikes know which ports are taken, is not to be had: {0}")]
    Name(#[source] io::Error),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; it needs CAP_NET_RAW",
        io::ErrorKind::AddrNotAvailable => {
            "; every relay address must be one of this host when the server starts"
        }
        _ => "",
    }
}

/// Opens the sockets of all shards and attaches the program that leads datagrams to them.
pub(super) fn open(
    ips: Vec<IpAddr>,
    range: &RangeInclusive<u16>,
    shards: usize,
) -> Result<(Vec<Shared>, Watch), NotShared> {
    let families = [false, true].map(|ipv6| ips.iter().any(|ip| ip.is_ipv6() == ipv6).then_some(ipv6));
    let sinks = open_each(families, |ipv6| sockets::open_sink(ipv6).map_err(NotShared::Socket))?;
    let mut by_shard = Vec::with_capacity(shards);
    for _ in 0..shards {
        let receivers = open_each(families, |ipv6| {
            Ok(Receiver {
                socket: sockets::open_shared(ipv6).map_err(NotShared::Socket)?,
                icmp: icmp::open(ipv6).map_err(NotShared::Raw)?,
                socket_drops: 0,
                queue: Queue::default(),
            })
        })?;
        let senders = ips.iter().map(|ip| raw::open(*ip));
        by_shard.push((receivers, senders.collect::<io::Result<Vec<_>>>().map_err(NotShared::Raw)?));
    }
    let mut takers = Vec::new();
    for family in [false, true] {
        let at = usize::from(family);
        takers.extend(sinks[at].iter().map(|sink| (steer::socket(0, family), sink)));
        for (shard, (receivers, _)) in (0..).zip(&by_shard) {
            let place = steer::socket(holder(shard), family);
            takers.extend(receivers[at].iter().map(|receiver| (place, &receiver.socket)));
        }
    }
    let lookup = Arc::new(Lookup::attach(ips, range, shards, &takers)?);
    let foreign = Arc::new(ForeignPorts::read(&lookup).map_err(NotShared::Foreign)?);
    let watch = Watch::start(sinks, foreign.clone(), lookup.clone()).map_err(NotShared::Foreign)?;
    let shared = (0..).zip(by_shard).map(|(shard, (families, senders))| Shared {
        families,
        senders,
        lookup: lookup.clone(),
        foreign: foreign.clone(),
        shard,
        moment: Moment::default(),
    });
    Ok((shared.collect(), watch))
}

fn open_each<T>(
    families: [Option<bool>; 2],
    open: impl Fn(bool) -> Result<T, NotShared>,
) -> Result<[Option<T>; 2], NotShared> {
    let [v4, v6] = families.map(|family| family.map(&open).transpose());
    Ok([v4?, v6?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_read_to_where_it_was_seen_empty_or_has_passed_as_much_as_it_holds() {
        let mut queue = Queue::default();
        assert!(!queue.took(Moment(5), 64, false));
        assert_eq!(queue.read_to, Moment(0));
        assert!(queue.took(Moment(6), 3, true));
        assert_eq!(queue.read_to, Moment(6));
        // It is never seen empty again.
        assert!(!queue.took(Moment(7), MOST_QUEUED - 1, false));
        assert!(queue.took(Moment(8), 1, false));
        assert_eq!(queue.read_to, Moment(6), "what came since may wait");
        assert!(queue.took(Moment(9), MOST_QUEUED, false));
        assert_eq!(queue.read_to, Moment(8));
    }
}
