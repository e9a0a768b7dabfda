//! The XDP program: a packet's way from the wire to the wire.
//!
//! parse, find its flow, decide, rewrite, send. All lookups and checks come before the first store; after it a packet
//! leaves or is dropped with a reason, never passed up half rewritten. What the program does not know or cannot do
//! goes up untouched, and userspace does the same with it, slower.
//!
//! Kernel 5.11 or newer (`bpf_ktime_get_coarse_ns`).

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// For atomic addition (Rust's own is not there for a target without compare-and-swap), and to hide from the compiler what
// it must not fold.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod add;
#[cfg(target_arch = "bpf")]
mod binding;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod machine;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod meters;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod other_ways;
#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
mod strangers;

/// The object is for BPF only; this lets host tools look at the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
