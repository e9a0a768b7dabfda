//! A look at a built object before it is embedded: the kernel's own complaints come late and say little.

use anyhow::{Context, Result, bail, ensure};

/// Whether this is a relocatable ELF file for little-endian BPF with an XDP or socket lookup program and type information.
pub(crate) fn check(object: &[u8]) -> Result<()> {
    let Some(header) = object.get(..64) else { bail!("it is only {} bytes long", object.len()) };
    ensure!(header.starts_with(b"\x7fELF"), "it is no ELF file");
    ensure!(header[4] == 2 && header[5] == 1, "it is not 64-bit and little-endian");
    ensure!(number(header, 16, 2) == Some(1), "it is not relocatable");
    ensure!(number(header, 18, 2) == Some(247), "it is not for BPF");
    let Some(names) = section_names(object) else { bail!("its table of sections is cut off") };
    // `xdp`, `xdp.frags` or `xdp/...`, by what the program declares.
    let kind = |name: &[u8]| name.split(|byte| b"./".contains(byte)).next().map(<[u8]>::to_vec);
    let is_ours = |name: &&[u8]| matches!(kind(name).as_deref(), Some(b"xdp" | b"sk_lookup"));
    ensure!(names.iter().any(is_ours), "it lacks an XDP or socket lookup program");
    ensure!(names.contains(&&b".BTF"[..]), "it lacks type information");
    Ok(())
}

/// Whether this ELF program names a dynamic loader, which finds libraries on the host (segment `PT_INTERP`).
pub(crate) fn wants_loader(program: &[u8]) -> Result<bool> {
    let header = |at, size| number(program, at, size).context("it is no ELF program");
    ensure!(program.starts_with(b"\x7fELF"), "it is no ELF program");
    let (table, size, count) = (header(32, 8)?, header(54, 2)?, header(56, 2)?);
    const INTERP: usize = 3;
    let kinds = (0..count).map(|index| number(program, table + index * size, 4));
    Ok(kinds.collect::<Option<Vec<_>>>().context("its table of segments is cut off")?.contains(&INTERP))
}

/// The names of the sections, or nothing if they lie outside of the file.
fn section_names(object: &[u8]) -> Option<Vec<&[u8]>> {
    let table = number(object, 40, 8)?;
    let (size, count, names_at) = (number(object, 58, 2)?, number(object, 60, 2)?, number(object, 62, 2)?);
    let section = |index: usize| object.get(table.checked_add(index * size)?..);
    let strings_header = section(names_at)?;
    let strings = object.get(number(strings_header, 24, 8)?..)?;
    (0..count)
        .map(|index| {
            let name = strings.get(number(section(index)?, 0, 4)?..)?;
            name.split(|byte| *byte == 0).next()
        })
        .collect()
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let mut number = [0; 8];
    number[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    usize::try_from(u64::from_le_bytes(number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of nothing but a header, section headers and their names.
    fn elf(machine: u16, sections: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut headers = Vec::new();
        for section in sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&(strings.len() as u32).to_le_bytes());
            headers.push(header);
            strings.extend(section.bytes().chain([0]));
        }
        let names_offset = 64 + 64 * sections.len() as u64;
        headers[0][24..32].copy_from_slice(&names_offset.to_le_bytes());
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 1;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[40] = 64;
        file[58] = 64;
        file[60] = sections.len() as u8;
        file.extend(headers.concat());
        file.extend(strings);
        file
    }

    #[test]
    fn an_xdp_object_with_type_information_passes() {
        check(&elf(247, &[".strtab", "xdp", ".BTF"])).unwrap();
        check(&elf(247, &[".strtab", "xdp.frags", ".BTF"])).unwrap();
    }

    #[test]
    fn an_object_for_another_machine_is_refused() {
        let error = check(&elf(62, &[".strtab", "xdp", ".BTF"])).unwrap_err();
        assert_eq!(error.to_string(), "it is not for BPF");
    }

    #[test]
    fn an_object_without_its_program_or_types_is_refused() {
        let error = check(&elf(247, &[".strtab", "xdp", ".BTF.ext"])).unwrap_err();
        assert_eq!(error.to_string(), "it lacks type information");
        let error = check(&elf(247, &[".strtab", ".text", ".BTF"])).unwrap_err();
        assert_eq!(error.to_string(), "it lacks an XDP or socket lookup program");
    }

    #[test]
    fn an_object_cut_off_anywhere_is_refused_without_a_panic() {
        let whole = elf(247, &[".strtab", "xdp", ".BTF"]);
        // The last byte ends the last name.
        for length in 0..whole.len() - 5 {
            assert!(check(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_program_that_needs_the_hosts_libraries_is_told_from_one_that_does_not() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(wants_loader(&program).unwrap(), "tests are linked to libc");
        let segments = usize::from(u16::from_le_bytes([program[56], program[57]]));
        let mut alone = program.clone();
        for segment in 0..segments {
            let at = 64 + segment * 56;
            if alone[at] == 3 {
                alone[at] = 0;
            }
        }
        assert!(!wants_loader(&alone).unwrap());
        assert!(wants_loader(&program[..80]).is_err() && wants_loader(b"#!/bin/sh").is_err());
    }
}
