//! Watches routes, neighbours, interfaces and addresses, and has the next hops follow.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::netlink::{Netlink, messages, neighbour_key, route_ip};
use super::next_hop::NextHops;
use super::ways_back::WaysBack;

/// How often a neighbour that does not answer is asked for again.
const RETRY: Duration = Duration::from_secs(10);

/// How often everything is looked up afresh: the kernel announces no change of a path MTU, and an announcement may
/// be misread.
const SWEEP: Duration = Duration::from_secs(60);

/// How long after a look at all routes the next one may be.
const WAYS_PAUSE: Duration = Duration::from_millis(300);

/// Bytes of the socket's receive buffer. What it cannot hold is made up for by looking at everything.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Groups of rtnetlink (`enum rtnetlink_groups`).
const GROUPS: [u32; 8] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
];

/// The watching thread; ended on drop.
pub(super) struct Monitor {
    hops: Arc<NextHops>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts watching the network namespace of the calling thread. The new thread needs CAP_NET_ADMIN to have
    /// neighbours looked for; without, that is left to the slow path's packets.
    pub(super) fn start(hops: Arc<NextHops>, ways_back: WaysBack) -> io::Result<Self> {
        let events = subscribe(&GROUPS)?;
        let netlink = Netlink::open()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (hops2, stop2) = (hops.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("next-hops".into())
            .spawn(move || watch(&events, netlink, &hops2, ways_back, &stop2))?;
        Ok(Self { hops, stop, thread: Some(thread) })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Fails only when the counter is at its end, and then the thread is awake.
        let _ = self.hops.wake().write(1);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the next hop monitor had panicked: next hops were no longer followed");
        }
    }
}

/// What is to be looked at again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Changes {
    /// All routes, interfaces and neighbours.
    pub(super) everything: bool,
    /// These interfaces came, went or changed, and with them perhaps routes that nobody announced: the kernel drops
    /// the IPv4 routes of an interface that goes down without a word.
    pub(super) links: Vec<u32>,
    /// Routes to these prefixes.
    pub(super) routes: Vec<Prefix>,
    /// These neighbours, each with its interface.
    pub(super) neighbours: Vec<(u32, IpAddr)>,
}

impl Changes {
    /// Everything.
    pub(super) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether the route to an address may have changed.
    pub(super) fn concerns(&self, ip: IpAddr) -> bool {
        self.everything || self.routes.iter().any(|prefix| prefix.contains(ip))
    }

    fn add(&mut self, message: &RouteNetlinkMessage) {
        use RouteNetlinkMessage as M;
        match message {
            M::NewNeighbour(m) | M::DelNeighbour(m) => self.neighbours.extend(neighbour_key(m)),
            M::NewRoute(m) | M::DelRoute(m) => self.routes.push(Prefix::of(m)),
            M::NewLink(m) | M::DelLink(m) => self.links.push(m.header.index),
            _ => self.everything = true,
        }
    }
}

/// The addresses that a route is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix {
    ip: IpAddr,
    len: u8,
}

impl Prefix {
    /// The addresses whose first `len` bits are those of `ip`.
    pub(super) fn new(ip: IpAddr, len: u8) -> Self {
        Self { ip, len }
    }

    /// Those that a route is for.
    pub(super) fn of(message: &RouteMessage) -> Self {
        let is_v4 = message.header.address_family == netlink_packet_route::AddressFamily::Inet;
        let destination = message.attributes.iter().find_map(|a| match a {
            RouteAttribute::Destination(address) => route_ip(address),
            _ => None,
        });
        match destination {
            Some(ip) => Self::new(ip, message.header.destination_prefix_length),
            None if is_v4 => Self::new(IpAddr::from([0; 4]), 0),
            None => Self::new(IpAddr::from([0; 16]), 0),
        }
    }

    /// How many bits they have in common.
    pub(super) fn len(&self) -> u8 {
        self.len
    }

    /// One of them.
    pub(super) fn ip(&self) -> IpAddr {
        self.ip
    }

    fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u8| {
            let shift = u32::from(bits.saturating_sub(self.len));
            a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
        };
        match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// A socket that hears what the kernel announces to these groups.
pub(super) fn subscribe(groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.set_rx_buf_sz(RECEIVE_BUFFER as libc::c_int)?;
    socket.set_non_blocking(true)?;
    groups.iter().try_for_each(|&group| socket.add_membership(group))?;
    Ok(socket)
}

fn watch(events: &Socket, mut netlink: Netlink, hops: &NextHops, mut ways_back: WaysBack, stop: &AtomicBool) {
    let (mut retry_at, mut sweep_at) = (Instant::now() + RETRY, Instant::now() + SWEEP);
    // What changed between opening the socket and the first look.
    let mut changes = Changes::everything();
    // When the ways back were looked at, and when they are to be.
    let (mut ways_after, mut ways_at) = (Instant::now(), None);
    while !stop.load(Ordering::Relaxed) {
        if changes != Changes::default() {
            hops.apply(&changes);
        }
        if changes.everything || !changes.routes.is_empty() || !changes.links.is_empty() {
            // At once, but not for each of the changes that come one after another.
            ways_at = Some(ways_after);
        }
        if ways_at.is_some_and(|at| Instant::now() >= at) {
            let start = Instant::now();
            ways_back.follow(netlink.rib(), hops);
            // Where there are a million routes, most of the time is for other things.
            (ways_at, ways_after) = (None, Instant::now() + WAYS_PAUSE.max(20 * start.elapsed()));
        }
        if Instant::now() >= retry_at {
            hops.retry();
            retry_at = Instant::now() + RETRY;
        }
        for (ifindex, ip, kick) in hops.take_kicks() {
            if let Err(error) = netlink.kick(ifindex, ip, kick) {
                tracing::debug!(%ip, %error, "the kernel would not look for a neighbour");
            }
        }
        let due = ways_at.unwrap_or(sweep_at).min(sweep_at);
        wait(events, hops, retry_at.min(due));
        changes = read(events);
        if hops.take_look_again() {
            changes = Changes::everything();
        }
        if Instant::now() >= sweep_at {
            changes = Changes::everything();
            sweep_at = Instant::now() + SWEEP;
        }
    }
}

fn wait(events: &Socket, hops: &NextHops, until: Instant) {
    let mut fds = [events.as_fd(), hops.wake().as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    // An interrupted or failed wait is a short one: the caller looks at everything that may be due.
    let _ = poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO));
    let _ = hops.wake().read();
}

/// Everything announced so far.
pub(super) fn read(events: &Socket) -> Changes {
    let mut changes = Changes::default();
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        buffer.clear();
        match events.recv(&mut buffer, 0) {
            Ok(0) => return changes,
            Ok(_) => {
                for message in messages(&buffer) {
                    match message.map(|m| m.payload) {
                        Ok(NetlinkPayload::InnerMessage(message)) => changes.add(&message),
                        Ok(_) => {}
                        Err(_) => changes = Changes::everything(),
                    }
                }
            }
            Err(e) if e.raw_os_error() == Some(Errno::EAGAIN as i32) => return changes,
            Err(e) if e.raw_os_error() == Some(Errno::EINTR as i32) => {}
            // ENOBUFS: announcements were lost. Anything else is no better known.
            Err(_) => return Changes::everything(),
        }
    }
}
