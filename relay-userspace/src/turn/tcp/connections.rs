//! The connections of TCP allocations: what a core knows of its own, and the identifiers that all cores share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::allocations::Slot;
use super::super::authenticate::Signer;
use super::super::request::{Caller, Request};
use super::super::timers::Deadline;
use super::super::types::{ClientAddr, FiveTuple, PeerAddr};
use super::{Carried, ConnectionId};
use crate::stun::Message;

/// What only TCP allocations have.
#[derive(Debug, Default)]
pub(in super::super) struct TcpAllocation {
    /// Its connections, in the order in which they came. There are few.
    pub(in super::super) connections: Vec<ConnectionId>,
}

/// A connection with a peer.
#[derive(Debug)]
pub(in super::super) struct Connection {
    /// Its allocation, which it does not outlive.
    pub(super) slot: Slot,
    pub(super) peer: PeerAddr,
    pub(super) state: State,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum State {
    /// A Connect request waits for it.
    Connecting { asker: Box<Asker>, expires: Deadline },
    /// It is there and waits for its ConnectionBind request.
    Pending { expires: Deadline },
    /// It is joined to a connection of the client: "active" in RFC 6062 section 5.2.
    Active { carried: Carried },
}

impl Connection {
    /// The timer that ends its state.
    pub(super) fn expires(&self) -> Option<Deadline> {
        match self.state {
            State::Connecting { expires, .. } | State::Pending { expires } => Some(expires),
            State::Active { .. } => None,
        }
    }
}

/// Who waits for the answer to a Connect request.
#[derive(Debug)]
pub(super) struct Asker {
    five_tuple: FiveTuple,
    request: Box<[u8]>,
    digest: u64,
    signer: Option<Signer>,
}

impl Asker {
    pub(super) fn new(request: &Request<'_>) -> Box<Self> {
        let caller = &request.caller;
        Box::new(Self {
            five_tuple: caller.five_tuple,
            request: caller.message.as_bytes().into(),
            digest: caller.digest,
            signer: caller.signer.clone(),
        })
    }

    pub(super) fn caller(&self) -> Caller<'_> {
        Caller {
            five_tuple: self.five_tuple,
            message: Message::parse(&self.request).expect("it was read before"),
            digest: self.digest,
            signer: self.signer.clone(),
        }
    }
}

/// The connections of all cores, and whose they are. Asked when connections come and go.
#[derive(Default, Debug)]
pub(in super::super) struct Connections(Mutex<HashMap<ConnectionId, Holder>>);

/// Whose a connection is.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Holder {
    /// The shard that has its allocation.
    pub(in super::super) shard: u16,
    /// The client's end of the control connection when the connection got its name.
    pub(in super::super) client: ClientAddr,
}

impl Connections {
    /// Takes an identifier from `draw`, which is asked again should it be taken; `None` when there are `most` already.
    pub(super) fn insert(
        &self,
        holder: Holder,
        most: usize,
        mut draw: impl FnMut() -> u32,
    ) -> Option<ConnectionId> {
        let mut map = self.map();
        if map.len() >= most {
            return None;
        }
        loop {
            if let Entry::Vacant(vacant) = map.entry(ConnectionId(draw())) {
                let id = *vacant.key();
                vacant.insert(holder);
                return Some(id);
            }
        }
    }

    /// Who has a connection.
    pub(in super::super) fn holder(&self, id: ConnectionId) -> Option<Holder> {
        self.map().get(&id).copied()
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        let known = self.map().remove(&id);
        debug_assert!(known.is_some(), "{id} ended twice");
    }

    pub(in super::super) fn len(&self) -> usize {
        self.map().len()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<ConnectionId, Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
