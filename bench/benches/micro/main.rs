//! What small things cost by themselves, without kernel, sockets or other CPUs: for whoever changes one of them.
//!
//! `cargo bench -p turnpike-bench --bench micro`; `-- TEXT` runs those whose names contain it, and
//! `-- --save-baseline NAME`, `-- --baseline NAME` compare two states of the code. Everything is in the caches, so none of it
//! says what a busy server does.
//!
//! | group | what |
//! |---|---|
//! | `rewrite` | what XDP does to a packet, compiled for this machine: parse, decide, write |
//! | `flow_table` | the lookup of a packet's record |
//! | `message` | STUN messages read, built, signed and checked |
//! | `nonce` | nonces made and checked |
//! | `core` | the protocol core: a datagram in, what is to be done out |
//! | `timers` | permissions that are made, prolonged and that end, up to a million at a time |

mod core;
mod flow_table;
mod message;
mod rewrite;
mod timers;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    rewrite::bench(&mut criterion);
    flow_table::bench(&mut criterion);
    message::bench(&mut criterion);
    message::bench_nonces(&mut criterion);
    core::bench(&mut criterion);
    timers::bench(&mut criterion);
    criterion.final_summary();
}
