//! Turnpike: a TURN relay (RFC 8656) whose media path runs in the network driver.
//!
//! The protocol core ([`turn`]) is sans-IO: it holds no socket, clock or randomness of its own and answers each
//! input with data. [`net`] carries its datagrams, [`datapath`] carries its bindings into the XDP tables.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod datapath;
pub mod dtls;
pub mod framing;
pub mod front;
mod lobby;
pub mod meter_bank;
pub mod net;
mod numbers;
mod pem;
pub mod policy;
mod shared_words;
pub mod stun;
mod throttle;
pub mod time;
pub mod tunnel;
pub mod turn;
pub mod web;

// What tests of this crate share with those that see it from outside names it as they do.
#[cfg(test)]
extern crate self as turnpike;
