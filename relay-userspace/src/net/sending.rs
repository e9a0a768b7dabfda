//! Handing datagrams to one socket, and what becomes of those that the kernel refuses.

use std::io;
use std::iter;
use std::net::UdpSocket;
use std::slice;

use relay_common::reason::Reason;

use super::batch::{Arrival, MOST_ERRORS, PeerError, Queued, TRIES};
use super::counters::Counters;
use super::errors::{self, SocketError};
use super::receiving::ReceiveBuffers;
use super::sockets;
use super::sys::{Datagram, Sender};
use super::token::{RelayToken, Token};
use crate::stun::Icmp;

/// Most errors that are taken to find the one about a datagram that was just refused: about as many as a socket's buffer
/// holds.
const MOST_SOUGHT: usize = 4096;

/// Code 4 of "destination unreachable" (RFC 1191 section 4).
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);

/// Datagrams of one socket on their way out.
pub(super) struct Sending<'a> {
    pub(super) buffers: &'a ReceiveBuffers,
    pub(super) heads: &'a [u8],
    pub(super) socket: &'a UdpSocket,
    /// What the socket is set to.
    pub(super) ttl: Option<u8>,
    pub(super) token: Token,
    pub(super) counters: &'a Counters,
    pub(super) errors: &'a mut Vec<PeerError>,
    pub(super) oversized: &'a mut Vec<Queued>,
}

impl Sending<'_> {
    pub(super) fn send(&mut self, sender: &mut Sender, run: &[Queued]) {
        if !run[0].call().1 {
            return self.send_all(sender, run);
        }
        // Linux has no control message for DF: the socket is another one meanwhile.
        if sockets::set_dont_fragment(self.socket, true).is_err() {
            return count(run, Reason::SendFailed, self.counters);
        }
        self.send_all(sender, run);
        let reset = sockets::set_dont_fragment(self.socket, false);
        debug_assert!(reset.is_ok(), "an option that was set before can be set again: {reset:?}");
    }

    /// Never waits: what the kernel does not take is dropped and counted, as a router does.
    fn send_all(&mut self, sender: &mut Sender, run: &[Queued]) {
        // A raw socket cannot. A relayed transport address has a socket of its own only where this is not to be fast, and
        // its error queue would make each error look like a refusal.
        let joins = matches!(self.token, Token::Listener(_));
        let (mut rest, mut tries) = (run, 0);
        while let [first, others @ ..] = rest {
            let datagrams = rest.iter().map(|queued| {
                let raw = queued.is_raw();
                let mut to = queued.to;
                if raw {
                    // A raw socket takes it for a protocol.
                    to.set_port(0);
                }
                Datagram {
                    to,
                    head: &self.heads[queued.head.clone()],
                    body: &self.buffers.datagram(queued.arrival.slot)[queued.body.clone()],
                    ip: queued.ip.filter(|_| !raw),
                }
            });
            match sender.send(self.socket, self.ttl, joins, datagrams) {
                Ok(sent) => {
                    for queued in &rest[..sent] {
                        if let Some(reason) = queued.relayed {
                            self.counters.datagram(reason, queued.arrival.bytes);
                        }
                    }
                    (rest, tries) = (&rest[sent..], 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The send buffer is full: so it is for the others.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return count(rest, Reason::SendFailed, self.counters);
                }
                Err(error) if first.is_raw() && error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    // A socket of its own fragments it, or says for which MTU it was refused.
                    self.oversized.push(first.clone());
                    (rest, tries) = (others, 0);
                }
                Err(error) => {
                    tries += 1;
                    if let Some(mtu) = self.refused(first, &error) {
                        self.too_big(first, mtu);
                    } else if tries < TRIES && self.may_be_of_another(&error) {
                        continue;
                    } else {
                        // Too large, no route, forbidden by a firewall: a matter of this one.
                        count(slice::from_ref(first), Reason::SendFailed, self.counters);
                    }
                    (rest, tries) = (others, 0);
                }
            }
        }
    }

    /// Whether it may be an ICMP error that failed a call, and not its own datagram. Listeners have no error queue. A full
    /// queue at the interface (`ENOBUFS`, which sockets with an error queue are told) is not one, and would only be full
    /// again.
    fn may_be_of_another(&self, error: &io::Error) -> bool {
        matches!(self.token, Token::Relay(_)) && error.raw_os_error() != Some(libc::ENOBUFS)
    }

    /// The interface's MTU, if a datagram was refused for it.
    fn refused(&mut self, queued: &Queued, error: &io::Error) -> Option<u32> {
        match self.token {
            Token::Relay(relay) if queued.dont_fragment && error.raw_os_error() == Some(libc::EMSGSIZE) => {
                take_errors(relay, self.socket, MOST_SOUGHT, self.errors, self.counters)
            }
            _ => None,
        }
    }

    /// A datagram that was not to be fragmented was not sent. The client is told as a router would tell it.
    fn too_big(&mut self, queued: &Queued, mtu: u32) {
        count(slice::from_ref(queued), Reason::TooBig, self.counters);
        let relay = match self.token {
            Token::Relay(relay) => Some(relay),
            _ => queued.relay,
        };
        if let Some(relay) = relay {
            let (kind, code) = FRAGMENTATION_NEEDED;
            let icmp = Icmp { kind, code, data: mtu };
            keep(self.errors, PeerError { relay, peer: queued.to, icmp }, self.counters);
        }
    }
}

/// Takes at most `most` errors off a socket's queue. Ends, with the interface's MTU, at one about a datagram that was
/// refused for it.
pub(super) fn take_errors(
    relay: RelayToken,
    socket: &UdpSocket,
    most: usize,
    errors: &mut Vec<PeerError>,
    counters: &Counters,
) -> Option<u32> {
    iter::from_fn(|| errors::take(socket)).take(most).find_map(|error| {
        match error {
            SocketError::Icmp { peer, icmp } => keep(errors, PeerError { relay, peer, icmp }, counters),
            SocketError::TooBig { mtu } => return Some(mtu),
            SocketError::Other => {}
        }
        None
    })
}

/// Keeps an ICMP error to be told, if there is room.
pub(super) fn keep(errors: &mut Vec<PeerError>, error: PeerError, counters: &Counters) {
    if errors.len() < MOST_ERRORS {
        errors.push(error);
    } else {
        counters.datagram(Reason::IcmpRate, Arrival::icmp(error.peer).bytes);
    }
}

/// Counts what became of datagrams.
pub(super) fn count(run: &[Queued], reason: Reason, counters: &Counters) {
    for queued in run {
        counters.datagram(reason, queued.arrival.bytes);
    }
}
