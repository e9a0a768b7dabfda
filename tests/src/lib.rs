//! What the end-to-end and packet tests share.

pub mod bpf;
pub mod browser;
pub mod firewalls;
pub mod frames;
pub mod lab;
pub mod xdp;
