//! What a shard does for its TCP allocations: outputs of the core go to [`TcpRelays`](super::TcpRelays), and letters of the
//! tasks to the core.

use std::io;

use super::super::batch::Arrival;
use super::super::shard::Shard;
use super::super::token::StreamToken;
use super::{Client, Happening, Joining};
use crate::time::Timestamp;
use crate::turn::{Input, RelayAddr, RelayRefused};

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
            Happening::Carried(connection) => Input::ConnectionCarried { connection },
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

    /// Takes a client's connection out of the shard and joins it to the peer's that was said. `early` is what the client sent
    /// behind its request.
    pub(in super::super) fn join(&mut self, now: Timestamp, token: StreamToken, early: Vec<u8>) {
        let Some(Joining { connection, pace, idle, carried }) = self.connections.joining.take() else {
            return;
        };
        let joined = self.connections.remove(token).is_some_and(|client| {
            self.counters.connections(client.kind()).closed.add(1);
            // Otherwise it would be reported here for ever.
            self.stream_epoll.delete(client.socket()).is_ok() && {
                let (stream, unsent) = client.give_up(early, &self.counters);
                self.tcp_relays.join(connection, Client { stream, unsent, pace, idle, carried })
            }
        });
        if !joined {
            self.hear_of_connection(now, Happening::Gone(connection));
        }
    }
}
