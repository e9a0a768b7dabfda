//! What a data path would know, and the rules that effects must keep.

use std::collections::{HashMap, HashSet};

use turnpike::time::Timestamp;
use turnpike::turn::{Binding, BindingId, Core, FiveTuple, Output, RelayAddr};

#[derive(Default, PartialEq, Eq, Debug)]
pub struct Datapath {
    /// Bindings between Bind and Unbind.
    pub bindings: HashMap<BindingId, Binding>,
    /// Relayed addresses between opening and CloseRelay.
    pub open: HashSet<RelayAddr>,
    /// Every binding id ever seen.
    pub ids: HashSet<BindingId>,
}

impl Datapath {
    pub fn opened(&mut self, relayed: RelayAddr) {
        assert!(self.open.insert(relayed), "{relayed:?} was opened twice");
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
                let same = self.bindings.values().find(|b| {
                    let client = (b.five_tuple, b.channel) == (binding.five_tuple, binding.channel);
                    client || (b.relayed, b.peer) == (binding.relayed, binding.peer)
                });
                assert_eq!(same, None, "two bindings answer to the same packet");
                self.bindings.insert(binding.id, *binding);
            }
            Output::Extend { binding, deadline } => {
                assert!(*deadline > now);
                self.bindings.get_mut(binding).expect("only live bindings are extended").deadline = *deadline;
            }
            Output::Unbind { binding } => {
                self.bindings.remove(binding).expect("only live bindings are removed");
            }
            Output::ToPeer { relayed, .. } => assert!(self.open.contains(relayed)),
            Output::ToClient { .. } | Output::Dropped(_) | Output::Event(_) => {}
        }
    }

    /// What the core believes to be installed is installed, with the same deadlines.
    pub fn assert_agrees_with(&self, core: &Core) {
        let believed: HashMap<_, _> = core.bindings().map(|binding| (binding.id, binding)).collect();
        assert_eq!(self.bindings, believed);
        assert_eq!(self.open.len(), core.occupancy().relayed);
    }

    /// The binding of a client's channel.
    pub fn binding(&self, five_tuple: FiveTuple, channel: u16) -> Option<&Binding> {
        self.bindings.values().find(|b| b.five_tuple == five_tuple && b.channel.get() == channel)
    }
}
