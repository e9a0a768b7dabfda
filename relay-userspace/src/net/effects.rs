//! Carrying out what the protocol core decided.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;

use relay_common::reason::Reason;

use super::batch::{Arrival, Origin, Route};
use super::control::IpFields;
use super::log::Ended;
use super::mailbox::{HandOn, Steering};
use super::raw;
use super::shard::{Shard, readable};
use super::tcp_relay::Joining;
use super::token::{RelayToken, Token};
use crate::datapath::NotInstalled;
use crate::time::Timestamp;
use crate::turn::{Binding, Event, Input, Output, RelayAddr, RelayRefused};

impl Shard {
    /// Carries out the outputs of one input, in order, and those of the answers that they ask for.
    pub(super) fn carry_out(&mut self, now: Timestamp, arrival: Arrival) {
        loop {
            let mut outputs = mem::take(&mut self.outputs);
            for output in outputs.items.drain(..) {
                self.effect(now, output, &outputs.bytes, arrival);
            }
            self.outputs = outputs;
            let Some((allocation, outcome)) = self.opened.pop_front() else { return };
            self.core.handle(now, Input::RelayOpened { allocation, outcome }, &mut self.outputs);
        }
    }

    /// Sends all that is queued and frees the buffers of what was received.
    pub(super) fn flush(&mut self) {
        self.send_queued();
        self.batch.reuse_buffers();
        self.flush_connections();
    }

    fn effect(&mut self, now: Timestamp, output: Output, bytes: &[u8], arrival: Arrival) {
        match output {
            Output::ToClient { five_tuple, head, body } if five_tuple.transport.is_stream() => {
                self.queue_for_connection(now, &five_tuple, (&bytes[head], body), arrival);
            }
            Output::ToClient { five_tuple, head, body } => {
                let index = self.listeners.iter().position(|l| l.address == five_tuple.listener);
                let socket = index.map(|index| Token::Listener(index as u16));
                let to = five_tuple.client.0;
                let route = match arrival.origin {
                    Origin::Client => Some(Route::own(socket, to, None)),
                    Origin::Icmp => Some(Route::own(socket, to, Some(Reason::Icmp))),
                    Origin::Peer => self.relay(socket, to, Reason::ToClient, arrival),
                };
                if let Some(route) = route {
                    self.batch.push(route, &bytes[head], body, arrival);
                }
            }
            Output::ToPeer { relayed, peer, payload, dont_fragment } => {
                let token = self.relays.token(relayed);
                let socket = token.map(Token::Relay);
                let Some(route) = self.relay(socket, peer.0, Reason::ToPeer, arrival) else { return };
                let route = Route { dont_fragment, ..route };
                match token.filter(|_| self.relays.shared().is_some()) {
                    Some(token) => self.push_raw(token, relayed, route, payload, arrival),
                    None => self.batch.push(route, &[], payload, arrival),
                }
            }
            Output::Forward { shard, five_tuple } if five_tuple.transport.is_stream() => {
                self.connections.moving_to = Some(shard);
            }
            Output::Forward { shard, five_tuple } => {
                let datagram = self.batch.datagram(arrival);
                let with = HandOn { from: self.number, five_tuple, ip: arrival.ip };
                if !self.mailboxes[usize::from(shard)].hand_on(with, datagram) {
                    self.counters.datagram(Reason::ShardBusy, arrival.bytes);
                }
            }
            Output::Steer { shard, five_tuple, here } => {
                let steering = Steering { by: self.number, five_tuple, here };
                self.mailboxes[usize::from(shard)].steer(steering);
            }
            Output::OpenRelay { allocation, relayed } => {
                let outcome = self.open_relay(now, relayed);
                self.opened.push_back((allocation, outcome));
            }
            Output::CloseRelay { relayed } => {
                // What was relayed before leaves before.
                self.send_queued();
                self.relays.close(relayed);
            }
            Output::OpenTcpRelay { allocation, relayed } => {
                let outcome = self.open_tcp_relay(now, relayed);
                self.opened.push_back((allocation, outcome));
            }
            Output::CloseTcpRelay { relayed } => self.tcp_relays.close(relayed),
            Output::ConnectPeer { connection, relayed, peer } => {
                self.tcp_relays.connect(connection, relayed, peer);
            }
            Output::AcceptPeer { connection } => self.tcp_relays.accept(connection),
            Output::RefusePeer => self.tcp_relays.refuse(),
            // Carried out once the message in hand is done with.
            Output::Join { five_tuple: _, connection, pace, idle, carried } => {
                self.connections.joining = Some(Joining { connection, pace, idle, carried });
            }
            Output::CloseConnection { connection } => self.tcp_relays.end(connection),
            Output::Bind(binding) => self.bind(now, &binding),
            Output::Extend(binding) => self.fast_path.extend(&binding),
            Output::Unbind { binding } => self.fast_path.unbind(binding),
            Output::Dropped(reason) => self.counters.datagram(reason, arrival.bytes),
            Output::Event(event) => self.event(now, &event),
        }
    }

    /// Queues a datagram to a peer for the raw socket of its relay address, if that can send it.
    fn push_raw(
        &mut self,
        token: RelayToken,
        relayed: RelayAddr,
        route: Route,
        payload: Range<usize>,
        arrival: Arrival,
    ) {
        if !raw::carries(route.to, payload.len()) {
            self.relays.need_own(token);
            return self.batch.push(route, &[], payload, arrival);
        }
        let mut headers = [0; raw::HEADERS];
        let data = &self.batch.datagram(arrival)[payload.clone()];
        let ends = (relayed.0, route.to);
        let length = raw::write_headers(&mut headers, ends, route.ip, route.dont_fragment, data);
        let route = Route { socket: Some(Token::Raw(token.address)), relay: Some(token), ..route };
        self.batch.push(route, &headers[..length], payload, arrival);
    }

    /// Where relayed data goes on to, unless it was on its last hop.
    fn relay(
        &self,
        socket: Option<Token>,
        to: SocketAddr,
        relayed: Reason,
        arrival: Arrival,
    ) -> Option<Route> {
        let ip = arrival.ip.map(IpFields::forwarded);
        if ip == Some(None) {
            self.counters.datagram(Reason::TtlExceeded, arrival.bytes);
            return None;
        }
        Some(Route { ip: ip.flatten(), ..Route::own(socket, to, Some(relayed)) })
    }

    fn send_queued(&mut self) {
        self.send_by_sockets();
        let relays = &mut self.relays;
        let mut again = false;
        for relay in self.batch.requeue_oversized() {
            relays.need_own(relay);
            again = true;
        }
        if again {
            self.send_by_sockets();
        }
    }

    fn send_by_sockets(&mut self) {
        let (listeners, relays) = (&self.listeners, &self.relays);
        let socket = |token| match token {
            Token::Listener(index) => Some((&listeners[usize::from(index)].socket, None)),
            Token::Relay(relay) => relays.own(relay).map(|own| (&own.socket, Some(&own.ttl))),
            Token::Raw(address) => relays.shared().map(|shared| (shared.sender(usize::from(address)), None)),
            Token::Mail | Token::Shared(_) | Token::Icmp(_) | Token::Streams | Token::Stream(_) => None,
        };
        self.batch.send(socket, &self.counters);
    }

    fn open_relay(&mut self, now: Timestamp, relayed: RelayAddr) -> Result<(), RelayRefused> {
        self.open_and_register(relayed).map_err(|error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                self.counters.ports_in_use.add(1);
                return RelayRefused::InUse;
            }
            self.counters.ports_without_resources.add(1);
            self.log.no_relay(now, relayed, &error);
            RelayRefused::NoResources
        })
    }

    fn open_and_register(&mut self, relayed: RelayAddr) -> io::Result<()> {
        let token = self.relays.open(relayed)?;
        let Some(own) = self.relays.own(token) else { return Ok(()) };
        let registered = self.epoll.add(&own.socket, readable(Token::Relay(token)));
        registered.map_err(|error| {
            self.relays.close(relayed);
            error.into()
        })
    }

    /// The fast path has the binding before its response is sent, as outputs are in order.
    fn bind(&mut self, now: Timestamp, binding: &Binding) {
        match self.fast_path.bind(binding) {
            Ok(()) => self.counters.bindings_installed.add(1),
            Err(why) => {
                self.counters.not_installed(why);
                if why == NotInstalled::Full {
                    self.log.fast_path_full(now, binding);
                }
            }
        }
    }

    fn event(&mut self, now: Timestamp, event: &Event) {
        match event {
            Event::AllocationCreated { .. } => self.counters.allocations_created.add(1),
            Event::AllocationEnded { allocation, username, cause, summary } => {
                self.counters.allocations_ended.add(1);
                // Its bindings were removed before: outputs are in order.
                let fast = self.fast_path.close(*allocation);
                let ended = Ended { allocation: *allocation, username, cause: *cause, summary };
                self.log.ended(now, &ended, fast);
            }
            Event::AllocationMoved { .. } => {}
            Event::Tcp(event) => self.counters.tcp(*event),
            Event::TcpCarried { to_peer, to_client } => {
                self.counters.tcp_to_peer.add(to_peer.bytes);
                self.counters.tcp_to_client.add(to_client.bytes);
            }
            Event::Refused { method, code } => self.counters.response(*method, Some(*code)),
            Event::Answered { method } => self.counters.response(*method, None),
        }
        self.log.event(now, event);
    }
}
