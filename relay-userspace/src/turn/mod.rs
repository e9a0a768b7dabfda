//! The protocol core: TURN (RFC 8656) over STUN (RFC 8489), sans-IO.
//!
//! `Core::handle(now, input, outputs)` is all there is: no sockets, no clock, no randomness of its own. The XDP table
//! writer is one consumer of its outputs, the userspace relay another, the tests a third.

mod accounts;
mod allocate;
mod allocations;
mod answers;
mod authenticate;
mod bindings;
mod channel;
mod config;
mod core;
mod discovery;
mod expire;
mod family;
mod icmp;
mod io;
mod metering;
mod mobility;
mod peers;
mod permission;
mod ports;
mod redirect;
mod refresh;
mod relay;
mod request;
mod reservations;
mod shared;
mod slot_index;
mod sorted_map;
mod steering;
mod strangers;
mod tcp;
mod timers;
mod types;
mod usage;
mod wheel;

pub use self::core::{Core, Occupancy};
pub use config::{CoreConfig, Lifetimes};
pub use discovery::{Discovery, NoSquare};
pub use family::{Family, PerFamily, Relayed};
pub use io::{Binding, EndCause, Event, Input, Output, Outputs, RelayRefused, Via};
pub use metering::{Direction, Rates, Throughput};
pub use permission::MOST_PEERS;
pub use redirect::{Alternate, RedirectWhen};
pub use shared::Shared;
pub use tcp::{Carried, ConnectionId, Pace, TcpEvent, TcpRelay};
pub use types::{
    AllocationId, BindingId, ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, RelayAddress,
    Transport,
};
pub use usage::{Look, Session, Summary, Usage, Way};
