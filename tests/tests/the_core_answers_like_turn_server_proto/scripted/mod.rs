//! What clients do, one subject each. A script says what the core answers; that the other server does the same, or
//! otherwise in a way that is explained, is checked at every step.

mod allocations;
mod relaying;
mod requests;

use std::net::SocketAddr;
use std::time::Duration;

use turnpike::stun::{Builder, Class, Method};

use crate::both::{Both, Step};
use crate::common::addr;
use crate::party::Party;

/// Its subject, and what is done; the servers are handed back with what they still have.
pub(crate) type Script = (&'static str, fn() -> Both);

pub(crate) const SCRIPTS: &[Script] = &[
    ("a call from its first request to its last", relaying::a_call),
    ("Binding", requests::binding),
    ("credentials that are missing or wrong", requests::credentials),
    ("SHA-256 and USERHASH", requests::newer_credentials),
    ("another user at the same 5-tuple", requests::another_user),
    ("requests that lack something or have too much", requests::odd_requests),
    ("Allocate: transports, families, lifetimes", allocations::allocations),
    ("EVEN-PORT and RESERVATION-TOKEN", allocations::ports),
    ("a relayed address of each family", allocations::both_families),
    ("no sockets, and a server without IPv6", allocations::refused_families),
    ("Refresh and its lifetimes", allocations::refreshes),
    ("permissions and their end", relaying::permissions),
    ("channels, their conflicts and their end", relaying::channels),
    ("requests that are sent again", requests::retransmissions),
    ("data that is malformed or not let through", relaying::data),
    ("ICMP errors", relaying::icmp_errors),
    ("two clients of one server", relaying::hairpin),
];

const V4: &str = "203.0.113.1:1000";
const V4_OTHER: &str = "203.0.113.2:1000";
const V6: &str = "[2001:db8:ff::1]:1000";

fn v6() -> SocketAddr {
    addr(V6)
}

fn udp(b: &mut Builder<'_>) {
    b.requested_transport(17);
}

fn seconds(seconds: u64) -> impl Fn(&mut Builder<'_>) {
    move |b| {
        b.lifetime(Duration::from_secs(seconds));
    }
}

fn peers(peers: Vec<SocketAddr>) -> impl Fn(&mut Builder<'_>) {
    move |b| {
        for &peer in &peers {
            b.xor_peer_address(peer);
        }
    }
}

fn channel(number: u16, peer: SocketAddr) -> impl Fn(&mut Builder<'_>) {
    move |b| {
        b.channel_number(number).xor_peer_address(peer);
    }
}

#[track_caller]
fn allocate(both: &mut Both, party: &mut Party) -> Step {
    both.request(party, Method::ALLOCATE, udp)
}

#[track_caller]
fn permit(both: &mut Both, party: &mut Party, peer: SocketAddr) -> Step {
    both.request(party, Method::CREATE_PERMISSION, peers(vec![peer]))
}

#[track_caller]
fn bind(both: &mut Both, party: &mut Party, number: u16, peer: SocketAddr) -> Step {
    both.request(party, Method::CHANNEL_BIND, channel(number, peer))
}

#[track_caller]
fn send(both: &mut Both, party: &mut Party, peer: SocketAddr) -> Step {
    let indication = party.ours.plain(Method::SEND, Class::Indication, |b| {
        b.xor_peer_address(peer).data(b"sent").expect("short");
    });
    party.theirs.transactions = party.ours.transactions;
    both.datagram(party, &indication)
}

#[track_caller]
fn plain(
    both: &mut Both,
    party: &mut Party,
    method: Method,
    class: Class,
    fill: impl Fn(&mut Builder<'_>),
) -> Step {
    let message = party.ours.plain(method, class, fill);
    party.theirs.transactions = party.ours.transactions;
    both.datagram(party, &message)
}
