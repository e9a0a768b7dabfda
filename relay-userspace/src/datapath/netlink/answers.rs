//! Reading the kernel's messages.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkXdp, XdpAttached,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMetric, RouteType, RouteVia};

use super::{FarEnd, Link, Mac, Neighbour, Route, Vlan};

/// The messages of one datagram; an unreadable one is an error, an unreadable header the last.
pub(in crate::datapath) fn messages(
    mut bytes: &[u8],
) -> impl Iterator<Item = Result<NetlinkMessage<RouteNetlinkMessage>, netlink_packet_core::DecodeError>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        if length < size_of::<libc::nlmsghdr>() || length > bytes.len() {
            return None;
        }
        let message = NetlinkMessage::deserialize(&bytes[..length]);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The neighbour that a message is about.
pub(in crate::datapath) fn neighbour_key(message: &NeighbourMessage) -> Option<(u32, IpAddr)> {
    let ip = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    Some((message.header.ifindex, ip))
}

/// An address of a route, where it is an IP address.
pub(in crate::datapath) fn route_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

pub(super) fn neighbour_of(answer: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
    let mac = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    Some(match (message.header.state, mac) {
        (NeighbourState::Stale, Some(mac)) => Neighbour::Stale(mac),
        (
            NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp,
            Some(mac),
        ) => Neighbour::Known(mac),
        _ => Neighbour::Unknown,
    })
}

pub(super) fn route_of(answer: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut route = Route { oif: 0, gateway: None, mtu: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => route.oif = *oif,
            RouteAttribute::Gateway(address) => route.gateway = Some(route_ip(address)?),
            RouteAttribute::Via(RouteVia::Inet(ip)) => route.gateway = Some(IpAddr::V4(*ip)),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => route.gateway = Some(IpAddr::V6(*ip)),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|m| match m {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::EncapType(_) => return None,
            _ => {}
        }
    }
    (route.oif != 0).then_some(route)
}

pub(super) fn link_of(answer: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = answer else { return None };
    let flags = message.header.flags;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up | LinkFlags::Running),
        connected: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        master: None,
        vlan: None,
        far_end: None,
        programs: BTreeSet::new(),
        in_driver_mode: false,
    };
    let (mut lower, mut tag, mut netns) = (None, None, None);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) if ethernet => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => lower = Some(index),
            LinkAttribute::LinkNetNsId(id) => netns = Some(id),
            LinkAttribute::Xdp(xdp) => {
                link.programs = xdp.iter().filter_map(program).collect();
                link.in_driver_mode = xdp.contains(&LinkXdp::Attached(XdpAttached::Driver));
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Vlan(data)) => tag = vlan_tag(&data),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.vlan = lower.zip(tag).map(|(lower, (ethertype, id))| Vlan { lower, ethertype, id });
    if link.kind.as_deref() == Some("veth") {
        link.far_end = lower.map(|index| FarEnd { index, netns });
    }
    Some(link)
}

fn program(xdp: &LinkXdp) -> Option<u32> {
    use LinkXdp::{DrvProgId, HwProgId, ProgId, SkbProgId};
    match xdp {
        ProgId(id) | DrvProgId(id) | SkbProgId(id) | HwProgId(id) => Some(*id),
        _ => None,
    }
}

fn vlan_tag(data: &[InfoVlan]) -> Option<(u16, u16)> {
    let id = data.iter().find_map(|d| if let InfoVlan::Id(id) = d { Some(*id) } else { None })?;
    let protocol = data.iter().find_map(|d| if let InfoVlan::Protocol(p) = d { Some(*p) } else { None });
    Some((protocol.unwrap_or_default() as u16, id))
}
