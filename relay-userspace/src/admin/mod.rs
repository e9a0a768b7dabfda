//! The admin API over HTTP: what a running server says about itself (`/metrics`, `/livez`, `/readyz`, `/v1/status`), and what
//! can be changed while it runs (`/v1/reload`, `/v1/drain`).
//!
//! It runs on a thread of its own, so that nothing here can slow a packet down.

mod control;
mod metrics;
mod server;
mod status;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use control::HEADER;
pub use server::{Admin, Source};
pub use status::{
    Allocations, Bindings, Drained, Drops, Reload, Reloaded, Responses, State, Status, Traffic, Verdict,
    Where,
};
