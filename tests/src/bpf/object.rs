//! The object's code, linked as a loader does it.

use std::collections::HashMap;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind};
use relay_common::tables::{SETTINGS, Settings, bytes_of};

use super::memory::Memory;
use super::tables::Table;

/// An instruction (RFC 9669 section 3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) opcode: u8,
    pub(super) dst: usize,
    pub(super) src: usize,
    pub(super) offset: i16,
    /// Of a load of 64 bits all of them.
    pub(super) imm: i64,
}

/// The code of all functions, with addresses and calls filled in.
pub(super) struct Code {
    pub(super) instructions: Vec<Instruction>,
    /// The number of the first instruction.
    pub(super) entry: usize,
}

/// `lddw`: a load of 64 immediate bits, which takes two slots.
pub(super) const LOAD_IMM64: u8 = 0x18;
/// A call; `src` says of what.
pub(super) const CALL: u8 = 0x85;
/// In `src` of a call: a function of the program's, so many slots from here.
pub(super) const OWN_FUNCTION: usize = 1;

const SLOT: usize = 8;

impl Code {
    /// Links the program `entry` to tables, and to read-only data with these settings, which become a region of `memory`.
    pub(super) fn link(
        object: &[u8],
        entry: &str,
        settings: &Settings,
        tables: &[Table],
        memory: &mut Memory,
    ) -> Self {
        let elf = parse(object);
        let symbol = |name: &str| elf.symbol_by_name(name).unwrap_or_else(|| panic!("no symbol {name}"));
        let rodata = elf.section_by_name(".rodata").expect("read-only data");
        let mut bytes = rodata.data().expect("its bytes").to_vec();
        let at = symbol(SETTINGS).address() as usize;
        bytes[at..][..size_of::<Settings>()].copy_from_slice(bytes_of(settings));
        let rodata = (rodata.index(), memory.add(bytes));

        // All sections with code, one behind the other.
        let mut instructions = Vec::new();
        let mut starts = HashMap::new();
        for section in elf.sections().filter(|section| section.kind() == SectionKind::Text) {
            starts.insert(section.index(), instructions.len());
            let slots = section.data().expect("its bytes").chunks_exact(SLOT);
            instructions.extend(slots.map(|slot| Instruction::of(slot.try_into().expect("eight bytes"))));
        }
        let mut code = Self { instructions, entry: 0 };
        for (section, start) in &starts {
            code.relocate(&elf, *section, *start, &starts, rodata, tables);
        }
        let mut pc = 0;
        while pc < code.instructions.len() {
            if code.instructions[pc].opcode == LOAD_IMM64 {
                let upper = code.instructions[pc + 1].imm << 32;
                let whole = &mut code.instructions[pc].imm;
                *whole = upper | i64::from(*whole as u32);
                pc += 1;
            }
            pc += 1;
        }
        let entry = symbol(entry);
        code.entry = starts[&entry.section_index().expect("code")] + entry.address() as usize / SLOT;
        code
    }

    /// Fills in what the section's relocations name: addresses of tables and data, functions in other sections.
    fn relocate(
        &mut self,
        elf: &ElfFile64<'_>,
        section: SectionIndex,
        start: usize,
        starts: &HashMap<SectionIndex, usize>,
        (rodata, rodata_address): (SectionIndex, u64),
        tables: &[Table],
    ) {
        for (offset, relocation) in elf.section_by_index(section).expect("it was there").relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("{relocation:?}") };
            let symbol = elf.symbol_by_index(symbol).expect("in the table");
            let (of, value) = (symbol.section_index().expect("defined here"), symbol.address());
            let pc = start + offset as usize / SLOT;
            let instruction = &mut self.instructions[pc];
            if instruction.opcode == CALL {
                // As a number of slots behind the symbol's, less one for the instruction after the call.
                let target = starts[&of] as i64 + value as i64 / SLOT as i64 + instruction.imm + 1;
                instruction.imm = target - (pc as i64 + 1);
                continue;
            }
            let address = if of == rodata {
                rodata_address + value
            } else {
                let name = symbol.name().expect("a name");
                let table = tables.iter().find(|table| table.name == name);
                table.unwrap_or_else(|| panic!("no table {name}")).address
            };
            // All addresses fit the lower slot; what stands there is an offset.
            instruction.imm += address as i64;
        }
    }
}

impl Instruction {
    fn of(slot: [u8; SLOT]) -> Self {
        let [opcode, registers, o0, o1, i0, i1, i2, i3] = slot;
        Self {
            opcode,
            dst: usize::from(registers & 0xf),
            src: usize::from(registers >> 4),
            offset: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]).into(),
        }
    }
}

fn parse(object: &[u8]) -> ElfFile64<'_, Endianness> {
    ElfFile64::parse(object).expect("an ELF file for BPF")
}

/// The version of rustc that the object is from, as its debug information says it.
pub fn compiler(object: &[u8]) -> String {
    let elf = parse(object);
    let strings = elf.section_by_name(".debug_str").expect("debug information");
    let strings = String::from_utf8_lossy(strings.data().expect("its bytes")).into_owned();
    let (_, version) = strings.split_once("rustc version ").expect("the compiler's name");
    version.split([' ', ')', '\0']).next().expect("split gives one").to_owned()
}
