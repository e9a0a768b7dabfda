//! What a running server says about itself: `/metrics`, `/livez`, `/readyz` and `/v1/status` over HTTP.
//!
//! It runs on a thread of its own, so that nothing here can slow a packet down, and it only reads.

mod metrics;
mod server;
mod status;

#[cfg(test)]
pub(crate) mod tests;

pub use server::{Admin, Source};
pub use status::{Allocations, Bindings, Drops, Responses, State, Status, Traffic, Verdict, Where};
