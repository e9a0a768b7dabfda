//! Each subject of the capacity bench sends on what it is offered: real sockets for TURN servers, frames for the yardsticks.
//!
//! They make network namespaces, so they need root and say so where there is none.

mod allocations;
mod common;
mod interrupted;
mod pktgen;
mod resting;
mod streams;
mod trains;
mod turn_servers;
mod yardsticks;
