//! Whether a request that proves nothing is answered.
//!
//! Nothing proves that the client sent it: no request was authenticated, so that it may be in another's name, and its
//! answer may hit that other. All such answers pass here; what is authenticated does not, so no flood shuts users out.

use std::time::Duration;

use relay_common::reason::Reason;
use relay_common::strangers::units;

use super::core::Core;
use super::io::{Output, Outputs};
use super::request::Caller;
use crate::policy::Rate;

/// What a client with an allocation is answered in any case: a client asks for a new nonce once in half an hour, and
/// sends a Binding request every few seconds at most.
const OWN: Rate = Rate::new(10, Duration::from_secs(1), 100);

impl Core {
    /// Whether an answer may be sent to a caller without credentials. If not, the request is dropped and counted. What comes
    /// by a connection is in nobody else's name, and is always answered.
    ///
    /// A client with an allocation has proved its address, and is not to lose its allocation because the nonce runs
    /// out while its network is flooded. So it has a bucket of its own: a small one, as others may still write in its name.
    pub(super) fn may_answer(&self, caller: &Caller<'_>, out: &mut Outputs) -> bool {
        let Some(rate) = self.config.strangers.filter(|_| caller.five_tuple.transport.may_be_spoofed())
        else {
            return true;
        };
        let units = units(caller.message.as_bytes().len() as u16);
        let ours = self.allocations.of_client(&caller.five_tuple).map(|slot| self.allocations.get(slot));
        let granted = ours.is_some_and(|a| a.as_a_stranger.take(&OWN, self.now, units))
            || self.shared.strangers.admit(&rate, self.now, caller.five_tuple.client.0.ip(), units);
        if !granted {
            out.items.push(Output::Dropped(Reason::StrangerLimited));
        }
        granted
    }
}
