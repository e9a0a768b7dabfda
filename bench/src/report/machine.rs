//! What the figures are of: CPU, kernel, drivers, and the settings that change them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine and its kernel, as far as they say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// Whether it is a virtual machine, whose CPUs the host may take away.
    pub virtual_machine: bool,
    /// Bytes of memory.
    pub memory: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// The distribution's name.
    pub distribution: String,
    /// Drivers of the relay's interfaces.
    pub drivers: Vec<String>,
    /// What the kernel does about the CPU's weaknesses, by weakness; those that it does not have are left out.
    pub mitigations: BTreeMap<String, String>,
    /// How the CPU's clock is governed; empty where it cannot be changed.
    pub governor: String,
    /// Whether BPF programs are compiled.
    pub bpf_jit: bool,
    /// Whether the kernel times each run of a BPF program, which costs two looks at the clock.
    pub bpf_stats: bool,
}

impl Machine {
    /// This one, with interfaces of these drivers.
    pub fn read(drivers: Vec<String>) -> Self {
        Self::read_below(Path::new("/"), drivers)
    }

    fn read_below(root: &Path, drivers: Vec<String>) -> Self {
        let file = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let setting = |path: &str| file(path).trim().to_owned();
        let cpus = file("proc/cpuinfo");
        let of_cpu = |key: &str| field(&cpus, key, ':').unwrap_or_default();
        let weaknesses = fs::read_dir(root.join("sys/devices/system/cpu/vulnerabilities"));
        let mitigations = weaknesses.into_iter().flatten().flatten().filter_map(|entry| {
            let state = fs::read_to_string(entry.path()).ok()?.trim().to_owned();
            (state != "Not affected").then(|| (entry.file_name().to_string_lossy().into_owned(), state))
        });
        let memory = field(&file("proc/meminfo"), "MemTotal", ':').unwrap_or_default();
        Self {
            // Arm says numbers in place of a name.
            cpu: [
                of_cpu("model name"),
                format!("implementer {} part {}", of_cpu("CPU implementer"), of_cpu("CPU part")),
            ]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default(),
            cpus: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            virtual_machine: of_cpu("flags").split(' ').any(|flag| flag == "hypervisor")
                || root.join("sys/hypervisor/type").exists(),
            memory: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024,
            kernel: setting("proc/sys/kernel/osrelease"),
            distribution: field(&file("etc/os-release"), "PRETTY_NAME", '=')
                .unwrap_or_default()
                .replace('"', ""),
            drivers,
            mitigations: mitigations.collect(),
            governor: setting("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            bpf_jit: setting("proc/sys/net/core/bpf_jit_enable") != "0",
            bpf_stats: setting("proc/sys/kernel/bpf_stats_enabled") == "1",
        }
    }

    /// What makes figures of it worse than they need be, or less sure.
    pub fn warnings(&self) -> Vec<&'static str> {
        let all = [
            (
                self.virtual_machine,
                "a virtual machine: the host takes its CPUs away now and then; look at medians",
            ),
            (
                self.bpf_stats,
                "the kernel times every run of a BPF program: sysctl kernel.bpf_stats_enabled=0",
            ),
            (!self.bpf_jit, "BPF programs are interpreted: sysctl net.core.bpf_jit_enable=1"),
            (
                !matches!(&self.governor[..], "" | "performance"),
                "the CPU's clock follows the load: cpupower frequency-set -g performance",
            ),
        ];
        all.into_iter().filter_map(|(holds, text)| holds.then_some(text)).collect()
    }
}

/// The value of the first line with this key.
fn field(text: &str, key: &str, separator: char) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(separator));
    lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    fn tree(name: &str, files: &[(&str, &str)]) -> Machine {
        let root = env::temp_dir().join(format!("turnpike-bench-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        let machine = Machine::read_below(&root, vec!["veth".into()]);
        let _ = fs::remove_dir_all(root);
        machine
    }

    #[test]
    fn a_virtual_machine_is_read() {
        let cpu = "processor\t: 0\nmodel name\t: Xeon(R) 8481C\nflags\t\t: fpu hypervisor lm\n\n";
        let machine = tree(
            "virtual",
            &[
                ("proc/cpuinfo", &cpu.repeat(2)),
                ("proc/meminfo", "MemTotal:        8000 kB\nMemFree: 1 kB\n"),
                ("proc/sys/kernel/osrelease", "6.18.1\n"),
                ("proc/sys/kernel/bpf_stats_enabled", "1\n"),
                ("proc/sys/net/core/bpf_jit_enable", "1\n"),
                ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
                ("sys/devices/system/cpu/vulnerabilities/retbleed", "Mitigation: IBRS\n"),
                ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
            ],
        );
        assert_eq!((&machine.cpu[..], machine.cpus, machine.memory), ("Xeon(R) 8481C", 2, 8_192_000));
        assert_eq!((&machine.kernel[..], &machine.distribution[..]), ("6.18.1", "Debian GNU/Linux 12"));
        assert_eq!(machine.mitigations, BTreeMap::from([("retbleed".into(), "Mitigation: IBRS".into())]));
        assert_eq!(machine.warnings().len(), 2, "{:?}", machine.warnings());
    }

    #[test]
    fn arm_and_a_slow_clock_are_read() {
        let machine = tree(
            "arm",
            &[
                ("proc/cpuinfo", "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n"),
                ("proc/sys/net/core/bpf_jit_enable", "0\n"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n"),
            ],
        );
        assert_eq!((&machine.cpu[..], machine.cpus), ("implementer 0x41 part 0xd0c", 1));
        assert!(!machine.virtual_machine);
        assert_eq!(machine.warnings().len(), 2, "{:?}", machine.warnings());
    }
}
