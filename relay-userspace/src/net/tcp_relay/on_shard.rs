//! What a shard does for its TCP allocations: outputs of the core go to [`TcpRelays`](super::TcpRelays), and letters of the
//! tasks to the core.

use std::io;
use std::time::Duration;

use super::super::batch::Arrival;
use super::super::shard::Shard;
use super::super::streams::ClientStream;
use super::{Client, Happening};
use crate::time::Timestamp;
use crate::turn::{ConnectionId, FiveTuple, Input, Pace, RelayAddr, RelayRefused};

impl Shard {
    /// A task has something to say.
    pub(in super::super) fn hear_of_connection(&mut self, now: Timestamp, happening: Happening) {
        let input = match happening {
            Happening::Connected(connection) => Input::PeerConnected { connection },
            Happening::Failed(connection) => {
                self.tcp_relays.end(connection);
                Input::ConnectFailed { connection }
            }
            Happening::Incoming(incoming) => {
                let (relayed, peer) = (incoming.relayed, incoming.peer);
                if !self.tcp_relays.ask_about(incoming) {
                    return;
                }
                Input::PeerIncoming { relayed, peer }
            }
            Happening::Carried { connection, to_peer, to_client } => {
                self.counters.tcp_to_peer.add(to_peer.bytes);
                self.counters.tcp_to_client.add(to_client.bytes);
                Input::ConnectionCarried { connection, to_peer, to_client }
            }
            Happening::Gone(connection) => {
                self.tcp_relays.end(connection);
                Input::ConnectionGone { connection }
            }
        };
        self.core.handle(now, input, &mut self.outputs);
        self.carry_out(now, Arrival::default());
        self.flush();
    }

    /// Listens on a relayed transport address.
    pub(in super::super) fn open_tcp_relay(
        &mut self,
        now: Timestamp,
        relayed: RelayAddr,
    ) -> Result<(), RelayRefused> {
        self.tcp_relays.open(relayed).map_err(|error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                self.counters.ports_in_use.add(1);
                return RelayRefused::InUse;
            }
            self.counters.ports_without_resources.add(1);
            self.log.no_relay(now, relayed, &error);
            RelayRefused::NoResources
        })
    }

    /// Joins a client's connection to a peer's. One that is gone ends the peer's.
    pub(in super::super) fn join(
        &mut self,
        five_tuple: &FiveTuple,
        connection: ConnectionId,
        pace: Pace,
        idle: Duration,
    ) {
        let Some((stream, unsent)) = self.give_up_client(five_tuple) else {
            self.tcp_relays.end(connection);
            return self.connections_gone.push_back(connection);
        };
        if !self.tcp_relays.join(connection, Client { stream, unsent, pace, idle }) {
            self.connections_gone.push_back(connection);
        }
    }

    /// A client's connection, which carries no messages of TURN any more, and what is still to be sent to it.
    fn give_up_client(&mut self, _five_tuple: &FiveTuple) -> Option<(ClientStream, Vec<u8>)> {
        None
    }
}
