//! The protocol core: TURN (RFC 8656) over STUN (RFC 8489), sans-IO.
//!
//! `Core::handle(now, input, outputs)` is all there is: no sockets, no clock, no randomness of its own. The XDP table
//! writer is one consumer of its outputs, the userspace relay another, the tests a third.

mod config;
mod io;
mod types;

pub use config::CoreConfig;
pub use io::{Binding, EndCause, Event, Input, Output, Outputs, RelayRefused};
pub use types::{
    AllocationId, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, RelayAddress,
    Transport,
};
