//! XDP knows its tables and settings on whichever CPU a packet arrives.

use std::thread::available_parallelism;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::common::settled;

#[test]
fn the_same_call() {
    let Some((_net, server, mut call)) = settled("xdp") else { return };
    // A veth delivers on the CPU of the thread that sends.
    for cpu in 0..available_parallelism().expect("known").get() {
        let mut only = CpuSet::new();
        only.set(cpu).expect("a CPU");
        sched_setaffinity(Pid::from_raw(0), &only).expect("a CPU of this machine");
        call.both_ways_by_xdp(&server);
    }
}
