//! Programs for the benchmarks and tests.
//!
//! - `restore` and `nothing` (`restore.rs`): for `BPF_PROG_TEST_RUN`, which repeats a program on whatever packet the last
//!   run left.
//! - `generate` (`generate.rs`) and `sink` (`sink.rs`): frames that really travel, and what becomes of them.
//! - `swap_macs`, `swap_macs_after_one`, `swap_macs_after_two`, `crowd` (`reflect.rs`): the least that a program can do that sends
//!   a frame back, the same after lines of a large table were read, and a sender that leaves no room before its frames.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[path = "../frame.rs"]
mod frame;
#[cfg(target_arch = "bpf")]
mod generate;
#[cfg(target_arch = "bpf")]
#[path = "../object.rs"]
mod object;
#[cfg(target_arch = "bpf")]
mod reflect;
#[cfg(target_arch = "bpf")]
mod restore;
#[cfg(target_arch = "bpf")]
mod sink;

/// The object is for BPF only; this lets host tools look at the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
