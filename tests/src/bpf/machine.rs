//! The instructions that compilers write for `-Ctarget-cpu=v3` (RFC 9669 sections 4 and 5), without division, which the
//! program has none of.

use super::memory::Memory;
use super::object::{CALL, Code, Instruction, LOAD_IMM64, OWN_FUNCTION};
use super::tables::Table;
use super::{HEADROOM, TAILROOM};

/// A processor in the middle of a packet.
pub(super) struct Machine<'a> {
    code: &'a Code,
    pub(super) tables: Vec<Table>,
    pub(super) memory: Memory,
    /// Where the packet's headroom begins, and where its tailroom ends.
    pub(super) room: (u64, u64),
    context: u64,
    stack: u64,
    instructions: u64,
}

/// Bytes of a function's stack.
const FRAME: u64 = 512;

/// Functions that may be in each other (`MAX_CALL_FRAMES`).
const DEPTH: u64 = 8;

/// Instructions after which the program is taken to run for ever.
const LIMIT: u64 = 1_000_000;

/// Offsets in the context, `struct xdp_md`.
const DATA: u64 = 0;
const DATA_END: u64 = 4;
const INGRESS_IFINDEX: u64 = 12;
const CONTEXT: usize = 24;

const EXIT: u8 = 0x95;

impl<'a> Machine<'a> {
    /// One that is about to run the program on this frame, which came in by this interface.
    pub(super) fn new(
        code: &'a Code,
        tables: Vec<Table>,
        mut memory: Memory,
        frame: &[u8],
        ifindex: u32,
    ) -> Self {
        let mut packet = vec![0; HEADROOM];
        packet.extend_from_slice(frame);
        packet.resize(HEADROOM + frame.len() + TAILROOM, 0);
        let len = packet.len() as u64;
        let start = memory.add(packet);
        let context = memory.add(vec![0; CONTEXT]);
        let stack = memory.add(vec![0; (FRAME * DEPTH) as usize]);
        let mut machine =
            Self { code, tables, memory, room: (start, start + len), context, stack, instructions: 0 };
        let data = start + HEADROOM as u64;
        machine.set_bounds(data, data + frame.len() as u64);
        machine.memory.store(context + INGRESS_IFINDEX, 4, ifindex.into());
        machine
    }

    /// Runs the program, and gives what it returned.
    pub(super) fn run(&mut self) -> u64 {
        self.call(self.code.entry, [self.context, 0, 0, 0, 0], 1)
    }

    /// Instructions executed.
    pub(super) fn instructions(&self) -> u64 {
        self.instructions
    }

    /// The packet as it lies now.
    pub(super) fn packet(&mut self) -> Vec<u8> {
        let (data, end) = self.bounds();
        self.memory.bytes(data, (end - data) as usize).to_vec()
    }

    /// Where the packet begins and ends.
    pub(super) fn bounds(&mut self) -> (u64, u64) {
        let at = self.context;
        (self.memory.load(at + DATA, 4), self.memory.load(at + DATA_END, 4))
    }

    pub(super) fn set_bounds(&mut self, data: u64, end: u64) {
        self.memory.store(self.context + DATA, 4, data);
        self.memory.store(self.context + DATA_END, 4, end);
    }

    /// Runs a function to its end: `depth` functions are in each other.
    fn call(&mut self, start: usize, arguments: [u64; 5], depth: u64) -> u64 {
        assert!(depth <= DEPTH, "{depth} functions in each other");
        let mut r = [0; 11];
        r[1..6].copy_from_slice(&arguments);
        r[10] = self.stack + FRAME * depth;
        let mut pc = start;
        loop {
            let i = self.code.instructions[pc];
            self.instructions += 1;
            assert!(self.instructions < LIMIT, "the program does not end");
            pc += 1;
            match (i.opcode & 7, i.opcode) {
                (_, LOAD_IMM64) => {
                    r[i.dst] = i.imm as u64;
                    pc += 1;
                }
                (_, EXIT) => return r[0],
                (_, CALL) => {
                    let arguments = [r[1], r[2], r[3], r[4], r[5]];
                    r[0] = if i.src == OWN_FUNCTION {
                        self.call(pc.wrapping_add_signed(i.imm as isize), arguments, depth + 1)
                    } else {
                        self.help(i.imm, arguments)
                    };
                }
                (1, _) => r[i.dst] = self.memory.load(address(r[i.src], i), size(i)),
                (2, _) => self.memory.store(address(r[i.dst], i), size(i), i.imm as u64),
                (3, _) => self.store(address(r[i.dst], i), r[i.src], i),
                (4 | 7, _) => r[i.dst] = compute(i, r[i.dst], r[i.src]),
                // Jumps of 32 and 64 bits.
                (_, _) if i.opcode == 0x05 || jumps(i, r[i.dst], r[i.src]) => {
                    pc = pc.wrapping_add_signed(i.offset.into());
                }
                _ => {}
            }
        }
    }

    /// Stores a register, or adds it where it is an atomic operation.
    fn store(&mut self, at: u64, value: u64, i: Instruction) {
        let value = match (i.opcode & 0xe0, i.imm) {
            (0x60, _) => value,
            (0xc0, 0) => self.memory.load(at, size(i)).wrapping_add(value),
            _ => panic!("{i:x?} is not interpreted"),
        };
        self.memory.store(at, size(i), value);
    }
}

/// The address of an access.
fn address(register: u64, i: Instruction) -> u64 {
    register.wrapping_add_signed(i.offset.into())
}

/// Bytes of an access.
fn size(i: Instruction) -> usize {
    match i.opcode & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// The second operand: a register's value or what stands in the instruction.
fn operand(i: Instruction, src: u64) -> u64 {
    if i.opcode & 8 != 0 { src } else { i.imm as u64 }
}

/// Arithmetic, of 64 bits or of 32, which clears the upper ones.
fn compute(i: Instruction, dst: u64, src: u64) -> u64 {
    const SWAP: u8 = 0xd0;
    if i.opcode & 0xf0 == SWAP {
        let from_big_endian = i.opcode & 8 != 0;
        return match (i.imm, from_big_endian) {
            (16, true) => (dst as u16).swap_bytes().into(),
            (32, true) => (dst as u32).swap_bytes().into(),
            (64, true) => dst.swap_bytes(),
            (16, false) => (dst as u16).into(),
            (32, false) => (dst as u32).into(),
            _ => dst,
        };
    }
    let (whole, b) = (i.opcode & 7 == 7, operand(i, src));
    let (a, b) = if whole { (dst, b) } else { (dst as u32 as u64, b as u32 as u64) };
    let shift = b as u32 & if whole { 63 } else { 31 };
    let result = match i.opcode & 0xf0 {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a << shift,
        0x70 => a >> shift,
        0x80 => a.wrapping_neg(),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 if whole => ((a as i64) >> shift) as u64,
        0xc0 => ((a as i32) >> shift) as u64,
        _ => panic!("{i:x?} is not interpreted"),
    };
    if whole { result } else { result as u32 as u64 }
}

/// Whether a jump is taken.
fn jumps(i: Instruction, dst: u64, src: u64) -> bool {
    let (whole, b) = (i.opcode & 7 == 5, operand(i, src));
    let (a, b) = if whole { (dst, b) } else { (dst as u32 as u64, b as u32 as u64) };
    let (sa, sb) = if whole { (a as i64, b as i64) } else { ((a as i32).into(), (b as i32).into()) };
    match i.opcode & 0xf0 {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => sa > sb,
        0x70 => sa >= sb,
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => sa < sb,
        0xd0 => sa <= sb,
        _ => panic!("{i:x?} is not interpreted"),
    }
}
