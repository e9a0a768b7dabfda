//! What the kernel knows about the network, asked over rtnetlink with a blocking socket.

mod answers;
mod rib;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use answers::{link_of, neighbour_of, route_of};
pub(super) use answers::{messages, neighbour_key, route_ip};
pub(super) use rib::Rib;

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

/// The questions that [`NextHops`](super::next_hop::NextHops) asks; the kernel answers them, or a test.
pub(super) trait Kernel: Send {
    /// The way a packet from our address `source` would take; `None` when it would not leave by an interface
    /// (local, unreachable, multicast, encapsulated).
    fn route(&mut self, destination: IpAddr, source: IpAddr) -> io::Result<Option<Route>>;
    /// What is known of a neighbour.
    fn neighbour(&mut self, ifindex: u32, ip: IpAddr) -> io::Result<Neighbour>;
    /// An interface, `None` when it is gone.
    fn link(&mut self, ifindex: u32) -> io::Result<Option<Link>>;
}

/// Where a packet goes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Route {
    /// The interface.
    pub(super) oif: u32,
    /// The router; `None` when the destination is on the link.
    pub(super) gateway: Option<IpAddr>,
    /// The route's or path's MTU in bytes, where it has one of its own.
    pub(super) mtu: Option<u32>,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Neighbour {
    /// Nothing that a packet could be sent to.
    Unknown,
    /// Its address, lately confirmed or permanent.
    Known(Mac),
    /// Its address, not confirmed for a while.
    Stale(Mac),
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// Its index.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
    /// The kernel's word for a virtual device: `veth`, `vlan`, `bond`.
    pub(super) kind: Option<String>,
    /// Its Ethernet address; `None` when it is no Ethernet.
    pub(super) mac: Option<Mac>,
    /// Its MTU in bytes.
    pub(super) mtu: u32,
    /// Whether it is up and has a carrier.
    pub(super) up: bool,
    /// Whether it was set up and its other end is there. Unlike `up`, which takes the kernel up to a second, at once.
    pub(super) connected: bool,
    /// Whether it is the loopback.
    pub(super) loopback: bool,
    /// The bond or bridge that it is a member of.
    pub(super) master: Option<u32>,
    /// When it is a VLAN on top of another interface.
    pub(super) vlan: Option<Vlan>,
    /// When it is one end of a veth: the other.
    pub(super) far_end: Option<FarEnd>,
    /// The XDP programs attached to it, by the kernel's numbers.
    pub(super) programs: BTreeSet<u32>,
    /// Whether one of them runs in the driver.
    pub(super) in_driver_mode: bool,
}

/// The other end of a veth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FarEnd {
    /// Its index, in its network namespace.
    pub(super) index: u32,
    /// Our number for that namespace; `None` for our own.
    pub(super) netns: Option<i32>,
}

/// A VLAN interface's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Vlan {
    /// The interface underneath.
    pub(super) lower: u32,
    /// The tag's EtherType: 0x8100 or 0x88a8.
    pub(super) ethertype: u16,
    /// The VLAN number.
    pub(super) id: u16,
}

/// How to make the kernel look for a neighbour. Both need CAP_NET_ADMIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kick {
    /// As if a packet was to be sent: an unknown neighbour is asked for.
    Resolve,
    /// Confirm a stale one now. Its packets do not pass the kernel, which would otherwise never ask again.
    Confirm,
}

/// A socket for requests.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    /// Whether a message was left out.
    unread: bool,
}

impl Netlink {
    /// Opens it in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(1 << 16), unread: false })
    }

    /// All interfaces. [Interrupted](io::ErrorKind::Interrupted) when they changed meanwhile, so that one that is there may
    /// be missing from the list.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(link_of).collect())
    }

    /// All addresses of this host, each with the index of its interface; interrupted as [links](Netlink::links) are.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<(u32, IpAddr)>> {
        let answers = self.request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let local = |answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
            // On a point-to-point link IFA_ADDRESS is the other end and IFA_LOCAL ours; IPv6 has only the former.
            let find =
                |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
            let ip = find(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None })
                .or_else(|| find(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None }))?;
            Some((message.header.index, ip))
        };
        Ok(answers.into_iter().filter_map(local).collect())
    }

    /// The other end of a veth; `None` when it cannot be seen: asking about another namespace's interface needs
    /// CAP_NET_ADMIN there.
    pub(super) fn far_end(&mut self, far_end: FarEnd) -> Option<Link> {
        let mut message = LinkMessage::default();
        message.header.index = far_end.index;
        message.attributes.extend(far_end.netns.map(LinkAttribute::IfNetnsId));
        let answers = self.request(RouteNetlinkMessage::GetLink(message), 0).ok()?;
        answers.into_iter().find_map(link_of)
    }

    /// Makes the kernel look for a neighbour; it is not waited for.
    pub(super) fn kick(&mut self, ifindex: u32, ip: IpAddr, kick: Kick) -> io::Result<()> {
        let mut message = neighbour_message(ifindex, ip);
        match kick {
            Kick::Resolve => message.header.flags = NeighbourFlags::Use,
            Kick::Confirm => message.header.state = NeighbourState::Probe,
        }
        // Without NLM_F_CREATE, Confirm touches only an entry that exists.
        let create = if kick == Kick::Resolve { NLM_F_CREATE } else { 0 };
        let flags = NLM_F_ACK | NLM_F_REPLACE | create;
        self.request(RouteNetlinkMessage::NewNeighbour(message), flags).map(drop)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut answers = Vec::new();
        let mut torn = false;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            for message in messages(&self.buffer) {
                // A message of a shape that the parser does not know is left out.
                let Ok(message) = message else {
                    self.unread = true;
                    continue;
                };
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(e) => match e.code {
                        Some(code) => return Err(io::Error::from_raw_os_error(-code.get())),
                        None => return Ok(answers),
                    },
                    NetlinkPayload::Done(_) if torn => return Err(io::ErrorKind::Interrupted.into()),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
            // A single request without NLM_F_ACK has a single answer.
            if !is_dump && flags & NLM_F_ACK == 0 {
                return Ok(answers);
            }
        }
    }
}

impl Kernel for Netlink {
    fn route(&mut self, destination: IpAddr, source: IpAddr) -> io::Result<Option<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = host_prefix(destination);
        message.header.source_prefix_length = host_prefix(source);
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        message.attributes.push(RouteAttribute::Source(source.into()));
        match self.request(RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(route_of)),
            Err(e) if is_no_route(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn neighbour(&mut self, ifindex: u32, ip: IpAddr) -> io::Result<Neighbour> {
        let message = neighbour_message(ifindex, ip);
        match self.request(RouteNetlinkMessage::GetNeighbour(message), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(neighbour_of).unwrap_or(Neighbour::Unknown)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(Neighbour::Unknown),
            Err(e) => Err(e),
        }
    }

    fn link(&mut self, ifindex: u32) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(link_of)),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn neighbour_message(ifindex: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = ifindex;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn host_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The kernel's ways to say that there is no route: none at all, a blackhole (EINVAL) or prohibit (EACCES) route, or
/// a source that is no address of ours (EINVAL for IPv4).
fn is_no_route(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES | libc::EADDRNOTAVAIL)
    )
}
