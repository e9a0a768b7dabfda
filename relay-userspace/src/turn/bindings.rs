//! What the data path knows of an allocation: the one place where its bindings come, move and go.
//!
//! A binding lives while what it is for, the permission for its peer and the allocation all do. An allocation whose data
//! is limited has none.

use std::net::IpAddr;

use super::allocations::{Allocation, ChannelState};
use super::io::{Binding, Output, Outputs, Via};
use super::types::{BindingId, ChannelNumber, PeerAddr};
use crate::time::Timestamp;

/// The binding of a channel, between its Bind and its Unbind; or none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Installed(Option<(BindingId, Timestamp)>);

impl Installed {
    /// Has the data path forget it.
    pub(super) fn remove(&mut self, out: &mut Outputs) {
        out.items.extend(self.0.take().map(|(binding, _)| Output::Unbind { binding }));
    }

    /// Tells the data path until when it is to live now.
    fn settle(&mut self, wanted: Option<Binding>, next_id: &mut u64, out: &mut Outputs) {
        let Some(wanted) = wanted else { return self.remove(out) };
        let effect = match &mut self.0 {
            Some((_, deadline)) if *deadline == wanted.deadline => return,
            Some((id, deadline)) => {
                *deadline = wanted.deadline;
                Output::Extend(Binding { id: *id, ..wanted })
            }
            None => {
                let id = BindingId(*next_id);
                *next_id += 1;
                self.0 = Some((id, wanted.deadline));
                Output::Bind(Binding { id, ..wanted })
            }
        };
        out.items.push(effect);
    }
}

impl Allocation {
    /// Tells the data path what became of a channel.
    pub(super) fn settle(&mut self, number: ChannelNumber, next_id: &mut u64, out: &mut Outputs) {
        if !self.may_take_fast_path() {
            return;
        }
        let wanted = self.wanted(number);
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.installed.settle(wanted, next_id, out);
        }
    }

    /// [`Self::settle`] for every channel to an address, after its permission changed.
    pub(super) fn settle_peer(&mut self, peer: IpAddr, next_id: &mut u64, out: &mut Outputs) {
        let (from, to) = self.numbers.position(|p| p.0.ip() < peer, |p| p.0.ip() > peer);
        for i in from..to {
            self.settle(*self.numbers.at(i), next_id, out);
        }
    }

    /// [`Self::settle`] for every channel, after the allocation's lifetime changed.
    pub(super) fn settle_all(&mut self, next_id: &mut u64, out: &mut Outputs) {
        for i in 0..self.numbers.len() {
            self.settle(*self.numbers.at(i), next_id, out);
        }
    }

    /// Has the data path forget every binding and learn it anew, for the 5-tuple that holds now. One after the other: a
    /// peer's packets find the new binding where the old one was.
    pub(super) fn rebind(&mut self, next_id: &mut u64, out: &mut Outputs) {
        for i in 0..self.numbers.len() {
            let number = *self.numbers.at(i);
            if let Some(channel) = self.channels.get_mut(&number) {
                channel.installed.remove(out);
                self.settle(number, next_id, out);
            }
        }
    }

    /// The bindings that the data path knows of.
    pub(super) fn bindings(&self) -> impl Iterator<Item = Binding> {
        self.channels.iter().filter_map(|(&number, channel)| {
            let (id, deadline) = channel.installed.0?;
            Some(Binding { id, deadline, ..self.wanted(number)? })
        })
    }

    /// The binding that a channel should have, but for its name.
    fn wanted(&self, number: ChannelNumber) -> Option<Binding> {
        let channel = self.channels.get(&number)?;
        let until = (channel.state == ChannelState::Bound).then_some(channel.expires)?;
        self.binding(channel.peer, Via::Channel(number), until)
    }

    /// A binding to a peer that lasts no longer than `until`, the peer's permission and the allocation.
    fn binding(&self, peer: PeerAddr, via: Via, until: Timestamp) -> Option<Binding> {
        let lease = self.leases.get(peer.family())?;
        let permitted = *self.permissions.get(&peer.0.ip())?;
        Some(Binding {
            id: BindingId(0),
            five_tuple: self.five_tuple,
            relayed: lease.relayed,
            peer,
            via,
            deadline: until.min(permitted).min(lease.expires),
            meter: 0,
        })
    }

    /// Whether the data path may forward for this allocation by itself.
    fn may_take_fast_path(&self) -> bool {
        self.metered.is_none()
    }
}
