//! What the XDP program and the userspace server must agree on: wire formats, table layouts, the packet rewrite
//! and the names of the reasons a packet was dropped or passed up.
//!
//! The crate is `no_std`, has no dependencies and is compiled twice, for the host and for BPF, so that every rule
//! about a packet exists once. Code here must suit the BPF verifier: flat `Copy` structs, no panics, no slices.

#![no_std]

pub mod addr;
pub mod bench;
pub mod binding;
pub mod channel;
pub mod checksum;
pub mod flow;
pub mod interface;
pub mod meter;
pub mod next_hop;
pub mod packet;
pub mod reason;
pub mod rewrite;
pub mod send;
pub mod steer;
pub mod strangers;
pub mod stun;
pub mod tables;
pub mod way;
pub mod way_back;
pub mod wire;
