//! What the data path knows of an allocation: the one place where its bindings come, move and go.
//!
//! Channels have bindings, and so have permissions, for what is sent in indications. A binding lives while the channel,
//! the permission and the allocation all do. An allocation whose data is limited has none.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

use super::allocations::{Allocation, ChannelState};
use super::io::{Binding, Output, Outputs, Via};
use super::types::{BindingId, ChannelNumber, PeerAddr, Transport};
use crate::time::Timestamp;

/// What may have a binding.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    Channel(ChannelNumber),
    /// The permission for this address.
    Permission(IpAddr),
}

/// A binding between its Bind and its Unbind; or none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Installed {
    /// `None` takes no memory: it is in every permission and channel.
    id: Option<NonZeroU64>,
    deadline: Timestamp,
}

impl Installed {
    /// Has the data path forget it.
    pub(super) fn remove(&mut self, out: &mut Outputs) {
        out.items.extend(self.id.take().map(|id| Output::Unbind { binding: BindingId(id.get()) }));
    }

    /// Tells the data path until when it is to live now.
    fn settle(&mut self, wanted: Option<Binding>, next_id: &mut NonZeroU64, out: &mut Outputs) {
        let Some(wanted) = wanted else { return self.remove(out) };
        let effect = match self.id {
            Some(_) if self.deadline == wanted.deadline => return,
            Some(id) => Output::Extend(Binding { id: BindingId(id.get()), ..wanted }),
            None => {
                let id = BindingId(next_id.get());
                self.id = Some(*next_id);
                *next_id = next_id.saturating_add(1);
                Output::Bind(Binding { id, ..wanted })
            }
        };
        self.deadline = wanted.deadline;
        out.items.push(effect);
    }
}

impl Allocation {
    /// Tells the data path what became of a channel or permission.
    pub(super) fn settle(&mut self, bound: Bound, next_id: &mut NonZeroU64, out: &mut Outputs) {
        let wanted = self.binding(bound).filter(|binding| self.may_take_fast_path(binding));
        if let Some(installed) = self.installed_mut(bound) {
            installed.settle(wanted, next_id, out);
        }
    }

    /// [`Self::settle`] for a permission that changed, and for every channel to its address. The channels come first:
    /// where the data path has little room left, they are to get it.
    pub(super) fn settle_peer(&mut self, peer: IpAddr, next_id: &mut NonZeroU64, out: &mut Outputs) {
        let (from, to) = self.numbers.position(|p| p.0.ip() < peer, |p| p.0.ip() > peer);
        for i in from..to {
            self.settle(Bound::Channel(*self.numbers.at(i)), next_id, out);
        }
        self.settle(Bound::Permission(peer), next_id, out);
    }

    /// [`Self::settle`] for everything, after the allocation's lifetime changed.
    pub(super) fn settle_all(&mut self, next_id: &mut NonZeroU64, out: &mut Outputs) {
        self.for_all(|allocation, bound| allocation.settle(bound, next_id, out));
    }

    /// Has the data path forget every binding and learn it anew, for the 5-tuple that holds now. One after the other: a
    /// peer's packets find the new binding where the old one was.
    pub(super) fn rebind(&mut self, next_id: &mut NonZeroU64, out: &mut Outputs) {
        self.for_all(|allocation, bound| {
            if let Some(installed) = allocation.installed_mut(bound) {
                installed.remove(out);
                allocation.settle(bound, next_id, out);
            }
        });
    }

    /// The bindings that the data path knows of.
    pub(super) fn bindings(&self) -> impl Iterator<Item = Binding> {
        let channels = self.channels.iter().map(|(&number, c)| (Bound::Channel(number), c.installed));
        let permissions = self.permissions.iter().map(|(&peer, p)| (Bound::Permission(peer), p.installed));
        channels.chain(permissions).filter_map(|(bound, installed)| {
            let (id, deadline) = (BindingId(installed.id?.get()), installed.deadline);
            Some(Binding { id, deadline, ..self.binding(bound)? })
        })
    }

    fn for_all(&mut self, mut each: impl FnMut(&mut Self, Bound)) {
        for i in 0..self.numbers.len() {
            each(self, Bound::Channel(*self.numbers.at(i)));
        }
        for i in 0..self.permissions.len() {
            each(self, Bound::Permission(*self.permissions.key_at(i)));
        }
    }

    fn installed_mut(&mut self, bound: Bound) -> Option<&mut Installed> {
        match bound {
            Bound::Channel(number) => self.channels.get_mut(&number).map(|channel| &mut channel.installed),
            Bound::Permission(peer) => self.permissions.get_mut(&peer).map(|p| &mut p.installed),
        }
    }

    /// The binding that a living channel or permission may have, but for its name.
    fn binding(&self, bound: Bound) -> Option<Binding> {
        let (peer, via, channel_expires) = match bound {
            Bound::Permission(ip) => (PeerAddr(SocketAddr::new(ip, 0)), Via::Indications, None),
            Bound::Channel(number) => {
                let channel = self.channels.get(&number)?;
                let expires = (channel.state == ChannelState::Bound).then_some(channel.expires.at())?;
                (channel.peer, Via::Channel(number), Some(expires))
            }
        };
        let relayed = self.relayed_to(peer.0.ip())?;
        let lease = self.leases.get(peer.family())?;
        let permitted = self.permissions.get(&peer.0.ip())?.expires.at();
        let deadline = permitted.min(lease.at());
        Some(Binding {
            id: BindingId(0),
            allocation: self.id,
            five_tuple: self.five_tuple,
            relayed,
            peer,
            via,
            deadline: channel_expires.map_or(deadline, |expires| deadline.min(expires)),
            meter: self.meter().unwrap_or_default(),
        })
    }

    /// Whether the data path may forward for this binding by itself. It knows of datagrams alone: this is the one place that
    /// keeps clients over TCP, TLS and DTLS from its tables.
    fn may_take_fast_path(&self, binding: &Binding) -> bool {
        let of_datagrams = binding.five_tuple.transport == Transport::Udp;
        let peer = binding.peer.0.ip();
        // Tables hold an IPv4-mapped address as the IPv4 address that it means, which is another family's.
        let of_its_family = peer == peer.to_canonical();
        // A channel has one port, which was looked at when it was bound.
        let ports_open = binding.via != Via::Indications || self.rules.permits_ports_unseen(peer);
        of_datagrams && self.meter().is_some() && of_its_family && ports_open
    }
}
