//! All routes at once, for who has to know what has no route of its own.

use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::answers::route_of;
use super::{Netlink, Route};
use crate::datapath::monitor::Prefix;

/// The kernel's own tables (`enum rt_class_t`): default, main and local.
const TABLES: std::ops::RangeInclusive<u32> = 253..=255;

/// The routes that are looked through for every packet of ours, and whether others may be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::datapath) struct Rib {
    /// Whether there is a rule beside those that every host has: then routes may be for some packets only.
    pub(in crate::datapath) has_rules: bool,
    /// In the kernel's tables for both families.
    pub(in crate::datapath) routes: Vec<RibRoute>,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::datapath) struct RibRoute {
    /// What it is for.
    pub(in crate::datapath) prefix: Prefix,
    /// Whether it is for some sources or types of service only.
    pub(in crate::datapath) by_source: bool,
    /// Where it leads, if that is one neighbour or link.
    pub(in crate::datapath) route: Option<Route>,
}

impl Netlink {
    /// All routes, for both families. An error when one could not be read: what is missing would be taken for not there.
    pub(in crate::datapath) fn rib(&mut self) -> io::Result<Rib> {
        let mut rib = Rib::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let rules = self.request_all(RouteNetlinkMessage::GetRule(message))?;
            rib.has_rules |= rules.iter().any(|rule| !is_usual(rule));
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let routes = self.request_all(RouteNetlinkMessage::GetRoute(message))?;
            rib.routes.extend(routes.into_iter().filter_map(entry));
        }
        Ok(rib)
    }

    fn request_all(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.unread = false;
        let answers = self.request(message, NLM_F_DUMP)?;
        if self.unread { Err(io::ErrorKind::InvalidData.into()) } else { Ok(answers) }
    }
}

/// Whether a rule has one of the kernel's tables looked up for every packet.
fn is_usual(rule: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::NewRule(rule) = rule else { return false };
    let (header, mut table) = (&rule.header, u32::from(rule.header.table));
    let mut everything = header.src_len == 0 && header.dst_len == 0 && header.tos == 0;
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(_) | RuleAttribute::Protocol(_) => {}
            // Nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => everything = false,
        }
    }
    everything && header.flags.is_empty() && header.action == RuleAction::ToTable && TABLES.contains(&table)
}

fn entry(answer: RouteNetlinkMessage) -> Option<RibRoute> {
    let RouteNetlinkMessage::NewRoute(message) = &answer else { return None };
    let table = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    if !TABLES.contains(&table.unwrap_or(message.header.table.into())) {
        return None;
    }
    let prefix = Prefix::of(message);
    let by_source = message.header.source_prefix_length != 0 || message.header.tos != 0;
    Some(RibRoute { prefix, by_source, route: route_of(answer) })
}
