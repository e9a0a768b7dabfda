//! The admin API over HTTP: what a running server says about itself (`/metrics`, `/livez`, `/readyz`, `/v1/status`,
//! `/v1/sessions`), and what can be changed while it runs (`/v1/reload`, `/v1/drain`, `/v1/sessions`).
//!
//! It runs on a thread of its own, so that nothing here can slow a packet down.

mod control;
mod metrics;
mod server;
mod sessions;
mod status;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use control::HEADER;
pub use server::{Admin, Source};
pub use sessions::{Carried, EndedSessions, MOST_SESSIONS, Session, Sessions};
pub(crate) use status::RELAYED;
pub use status::{
    Allocations, Bindings, Connections, Drained, Drops, Reload, Reloaded, Responses, State, Status, TcpRelay,
    Traffic, Verdict, Where,
};
