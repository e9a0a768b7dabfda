//! What a data path would know, and the rules that effects must keep.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use turnpike::time::Timestamp;
use turnpike::turn::{Binding, BindingId, ConnectionId, Core, FiveTuple, Output, PeerAddr, RelayAddr, Via};

#[derive(Default, PartialEq, Eq, Debug)]
pub struct Datapath {
    /// Bindings between Bind and Unbind.
    pub bindings: HashMap<BindingId, Binding>,
    /// Relayed addresses between opening and CloseRelay.
    pub open: HashSet<RelayAddr>,
    /// Relayed addresses of TCP between opening and CloseTcpRelay.
    pub listening: HashSet<RelayAddr>,
    /// Connections with peers between ConnectPeer or AcceptPeer and their end.
    pub connections: HashMap<ConnectionId, Joined>,
    /// Every binding id ever seen.
    pub ids: HashSet<BindingId>,
}

/// A connection with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Joined {
    /// It is being made.
    Connecting(RelayAddr, PeerAddr),
    /// It waits for the client.
    Waiting,
    /// It is joined to this connection of the client.
    To(FiveTuple),
}

impl Datapath {
    pub fn opened(&mut self, relayed: RelayAddr) {
        assert!(self.open.insert(relayed), "{relayed:?} was opened twice");
    }

    pub fn listens(&mut self, relayed: RelayAddr) {
        assert!(self.listening.insert(relayed), "{relayed:?} was opened twice");
    }

    /// No effect refers to what is dead, and none contradicts another.
    pub fn carry_out(&mut self, now: Timestamp, output: &Output) {
        match output {
            Output::OpenRelay { relayed, .. } => assert!(!self.open.contains(relayed)),
            Output::CloseRelay { relayed } => {
                assert!(self.open.remove(relayed), "{relayed:?} was not open");
                let orphan = self.bindings.values().find(|b| b.relayed == *relayed);
                assert_eq!(orphan, None, "a binding outlives its allocation");
            }
            Output::Bind(binding) => {
                assert!(self.ids.insert(binding.id), "{:?} was used before", binding.id);
                assert!(self.open.contains(&binding.relayed));
                assert!(binding.deadline > now);
                assert_eq!(binding.via == Via::Indications, binding.peer.0.port() == 0, "{binding:?}");
                let same = self.bindings.values().find(|b| {
                    from_client(b) == from_client(binding)
                        || (b.relayed, b.peer) == (binding.relayed, binding.peer)
                });
                assert_eq!(same, None, "two bindings answer to the same packet");
                self.bindings.insert(binding.id, *binding);
            }
            Output::Extend(binding) => {
                assert!(binding.deadline > now);
                let known = self.bindings.get_mut(&binding.id).expect("only live bindings are extended");
                let before = std::mem::replace(known, *binding);
                assert_eq!(*binding, Binding { deadline: binding.deadline, ..before });
            }
            Output::Unbind { binding } => {
                self.bindings.remove(binding).expect("only live bindings are removed");
            }
            Output::ToPeer { relayed, .. } => assert!(self.open.contains(relayed)),
            Output::OpenTcpRelay { relayed, .. } => assert!(!self.listening.contains(relayed)),
            Output::CloseTcpRelay { relayed } => {
                assert!(self.listening.remove(relayed), "{relayed:?} was not listened on");
            }
            Output::ConnectPeer { connection, relayed, peer } => {
                assert!(self.listening.contains(relayed), "connects from an address that is not its own");
                let before = self.connections.insert(*connection, Joined::Connecting(*relayed, *peer));
                assert_eq!(before, None, "a name that is in use");
            }
            Output::AcceptPeer { connection } => {
                assert_eq!(
                    self.connections.insert(*connection, Joined::Waiting),
                    None,
                    "a name that is in use"
                );
            }
            Output::Join { five_tuple, connection, .. } => {
                let known = self.connections.get_mut(connection).expect("only what waits is joined");
                assert_eq!(std::mem::replace(known, Joined::To(*five_tuple)), Joined::Waiting);
            }
            Output::CloseConnection { connection } => {
                self.connections.remove(connection).expect("only what is there is closed");
            }
            Output::RefusePeer => {}
            Output::ToClient { .. }
            | Output::Forward { .. }
            | Output::Steer { .. }
            | Output::Dropped(_)
            | Output::Event(_) => {}
        }
    }

    /// What the core believes to be installed is installed, with the same deadlines.
    pub fn assert_agrees_with(&self, core: &Core) {
        let believed: HashMap<_, _> = core.bindings().map(|binding| (binding.id, binding)).collect();
        assert_eq!(self.bindings, believed);
        let occupancy = core.occupancy();
        assert_eq!(self.open.len() + self.listening.len(), occupancy.relayed);
        assert_eq!(self.connections.len(), occupancy.connections);
        for channel in self.bindings.values().filter(|b| channel_of(b).is_some()) {
            let permission = self.permission(channel.five_tuple, channel.peer.0.ip());
            let permission = permission.expect("no data passes without a permission");
            assert_eq!(permission.relayed, channel.relayed);
            assert!(permission.deadline >= channel.deadline, "{permission:?} ends before {channel:?}");
        }
    }

    /// The binding of a client's channel.
    pub fn binding(&self, five_tuple: FiveTuple, channel: u16) -> Option<&Binding> {
        self.bindings.values().find(|b| b.five_tuple == five_tuple && channel_of(b) == Some(channel))
    }

    /// The binding of a client's permission.
    pub fn permission(&self, five_tuple: FiveTuple, peer: IpAddr) -> Option<&Binding> {
        let wanted = (five_tuple, Via::Indications, Some(peer));
        self.bindings.values().find(|b| from_client(b) == wanted)
    }
}

/// What a client's packet is recognised by: its channel number, or the address that the indication names.
fn from_client(binding: &Binding) -> (FiveTuple, Via, Option<IpAddr>) {
    let named = (binding.via == Via::Indications).then_some(binding.peer.0.ip());
    (binding.five_tuple, binding.via, named)
}

/// The number of the channel that a binding is for.
pub fn channel_of(binding: &Binding) -> Option<u16> {
    match binding.via {
        Via::Channel(number) => Some(number.get()),
        Via::Indications => None,
    }
}
