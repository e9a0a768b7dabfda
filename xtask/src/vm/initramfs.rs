//! The filesystem that the kernel starts with: a busybox, modules, and the script that goes over to the real one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::kernel::Kernel;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// It as an archive (`Documentation/driver-api/early-userspace/buffer-format.rst`).
pub(super) fn build(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "root", "modules"] {
        archive.add(folder, FOLDER, b"");
    }
    archive.add("bin/busybox", PROGRAM, &read(&kernel.busybox)?);
    archive.add("init", PROGRAM, include_bytes!("init.sh"));
    archive.add("guest.sh", PROGRAM, include_bytes!("guest.sh"));
    for (number, module) in kernel.modules.iter().enumerate() {
        // The script loads them by their names' order.
        let name = module.file_name().and_then(|name| name.to_str()).context("a module's name")?;
        archive.add(&format!("modules/{number:02}-{name}"), PROGRAM, &read(module)?);
    }
    Ok(archive.finished())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A cpio archive of the format `newc`.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // Inode, mode, user, group, links, time, size, four numbers of devices, length of the name, checksum.
        let mut fields = [0; 13];
        (fields[0], fields[1], fields[4]) = (self.entries, mode as usize, 1);
        (fields[6], fields[11]) = (content.len(), name.len() + 1);
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn finished(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_a_header_of_110_characters_and_everything_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.add("init", PROGRAM, b"hello");
        let header = "070701\
            00000001000081ed0000000000000000000000010000000000000005\
            000000000000000000000000000000000000000500000000";
        assert_eq!(header.len(), 110);
        let expected = [header.as_bytes(), b"init\0\0", b"hello\0\0\0"].concat();
        assert_eq!(String::from_utf8_lossy(&archive.bytes), String::from_utf8_lossy(&expected));
        let whole = archive.finished();
        assert_eq!(whole.len() % 4, 0);
        assert!(String::from_utf8_lossy(&whole).contains("TRAILER!!!"));
    }
}
