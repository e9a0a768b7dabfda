//! A kernel of Debian's with its modules, unpacked under `target/vm`: nothing of it is installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::quietly;
use crate::packages;
use crate::shell::capture;

/// What the tests need that Debian's kernels have as modules, and what boots the machine.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "9pnet_virtio",
    "9p",
    "veth",
    "bridge",
    "8021q",
    "bonding",
    "tun",
    "pktgen",
];

/// The first programs of the machine; it also reads the kernel's modules here.
const BUSYBOX: &str = "busybox-static";

/// A kernel to boot.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) version: String,
    /// The file to boot.
    pub(super) image: PathBuf,
    /// The modules to load, in this order.
    pub(super) modules: Vec<PathBuf>,
    /// A busybox that needs no libraries.
    pub(super) busybox: PathBuf,
}

/// Finds the kernel that a package is or depends on, and fetches it unless it is there already.
pub(super) fn fetch(folder: &Path, package: &str) -> Result<Kernel> {
    let package = latest(package)?;
    let version = package.trim_start_matches("linux-image-").to_owned();
    let unpacked = unpack(folder, &package)?;
    let busybox = unpack(folder, BUSYBOX)?.join("bin/busybox");
    let library = unpacked.join("lib/modules").join(&version);
    if !library.join("modules.dep").is_file() {
        quietly(Command::new(&busybox).args(["depmod", "-b"]).arg(&unpacked).arg(&version))?;
    }
    let list = fs::read_to_string(library.join("modules.dep")).context("no list of the kernel's modules")?;
    let modules = in_order(&list, MODULES)?.into_iter().map(|path| library.join(path)).collect();
    let image = unpacked.join(format!("boot/vmlinuz-{version}"));
    ensure!(image.is_file(), "package {package} has no kernel for this chore: it has to be one of Debian's");
    Ok(Kernel { version, image, modules, busybox })
}

/// The package with the files: `linux-image-amd64` names the latest of them.
fn latest(package: &str) -> Result<String> {
    packages::candidate(package)
        .with_context(|| format!("apt has no package {package}: see `apt-cache search ^linux-image`"))?;
    let depends = capture(Command::new("apt-cache").args(["depends", package]))?;
    let mut needed = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(needed.find(|name| name.starts_with("linux-image-")).unwrap_or(package).to_owned())
}

/// Fetches a package and unpacks it, without installing it.
fn unpack(folder: &Path, package: &str) -> Result<PathBuf> {
    let unpacked = folder.join(package);
    if unpacked.is_dir() {
        return Ok(unpacked);
    }
    // Under another name until it is whole.
    let partial = folder.join(format!("{package}.partial"));
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir(&partial)?;
    let mut apt = Command::new("apt-get");
    // The user that apt downloads as may not be able to write here.
    apt.args(["download", "--quiet=2", "-o", "APT::Sandbox::User=root", package]).current_dir(&partial);
    quietly(&mut apt)?;
    let file = fs::read_dir(&partial)?.next().context("apt-get download left no file")??.path();
    quietly(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&partial))?;
    fs::remove_file(&file)?;
    fs::rename(&partial, &unpacked)?;
    Ok(unpacked)
}

/// The modules with those that they depend on, which come first; by `modules.dep`.
fn in_order<'a>(list: &'a str, wanted: &[&str]) -> Result<Vec<&'a str>> {
    let needs: BTreeMap<&str, Vec<&str>> = list
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for name in wanted {
        let is_it = |path: &&&str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            file.split('.').next() == Some(*name)
        };
        let path = needs.keys().find(is_it).with_context(|| format!("the kernel has no module {name}"))?;
        add(path, &needs, &mut order);
    }
    Ok(order)
}

fn add<'a>(path: &'a str, needs: &BTreeMap<&'a str, Vec<&'a str>>, order: &mut Vec<&'a str>) {
    if order.contains(&path) {
        return;
    }
    for needed in needs.get(path).into_iter().flatten() {
        add(needed, needs, order);
    }
    order.push(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_all_that_it_needs() {
        let list = "k/b.ko: k/c.ko k/a.ko\nk/c.ko: k/a.ko\nk/a.ko:\nk/other.ko: k/c.ko\n";
        assert_eq!(in_order(list, &["b", "a"]).unwrap(), ["k/a.ko", "k/c.ko", "k/b.ko"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = in_order("k/bb.ko.xz:\n", &["bb", "b"]).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module b");
    }
}
