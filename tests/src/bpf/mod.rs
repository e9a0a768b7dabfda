//! The XDP program without the kernel: an interpreter of its bytecode, which counts the instructions that a packet costs.
//!
//! Times differ from machine to machine and from minute to minute. The number of instructions between a packet's arrival and
//! its verdict does not, so a test can hold it (`instructions_a_packet_do_not_grow.rs`). It is of the bytecode as the compiler
//! wrote it: what the kernel puts in place of a helper's call, and what a processor makes of it, is not in it.
//!
//! | file | holds |
//! |---|---|
//! | `object.rs` | the object's code, linked as a loader does it |
//! | `tables.rs` | the tables, as they are in the kernel when the run begins |
//! | `memory.rs` | all that a program may read and write |
//! | `machine.rs` | the instructions |
//! | `helpers.rs` | the kernel's functions that the program calls |

mod helpers;
mod machine;
mod memory;
mod object;
mod tables;

pub use object::compiler;

use crate::xdp::{INGRESS, Program, Verdict, object};
use machine::Machine;
use memory::Memory;
use object::Code;

/// What a run of the interpreter came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interpreted {
    /// The program's verdict.
    pub verdict: Verdict,
    /// The packet afterwards.
    pub frame: Vec<u8>,
    /// Instructions executed; a load of 64 immediate bits is one.
    pub instructions: u64,
}

/// Bytes before a packet, as `BPF_PROG_TEST_RUN` has them.
const HEADROOM: usize = 256;

/// Bytes behind one: more than any answer adds.
const TAILROOM: usize = 256;

/// Runs the program on a frame, with tables as they are now. The kernel's own are left as they are.
pub fn interpret(program: &Program, frame: &[u8]) -> Interpreted {
    let mut memory = Memory::default();
    let tables = tables::read(program, &mut memory);
    let code = Code::link(object(), program.entry(), program.settings(), &tables, &mut memory);
    let mut machine = Machine::new(&code, tables, memory, frame, INGRESS);
    let verdict = Verdict::of(machine.run() as u32);
    Interpreted { verdict, frame: machine.packet(), instructions: machine.instructions() }
}
