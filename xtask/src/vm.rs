//! The tests on another kernel: a virtual machine of QEMU's with Debian's kernel, whose root filesystem is this
//! machine's, to read only. It has two network cards with the driver virtio_net, a cable between them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{is_root, root, run as run_command, step};
use crate::{chores, packages};

mod initramfs;
mod kernel;

/// What the chore itself uses.
const PACKAGES: &[&str] = &["qemu-system-x86", "iproute2"];

/// What runs when nothing is named: the program on this kernel, and what the kernel of this machine may lack.
const CHOSEN: &[(&str, &[&str])] = &[
    ("verifier_figures_do_not_grow", &[]),
    ("xdp_packet_fixtures", &[]),
    ("xdp_and_userspace_give_the_same_bytes", &["well_formed", "truncated"]),
    (
        "end_to_end",
        &["by_xdp_with_one", "by_xdp_between", "by_generic_xdp_with_one", "vlans_and_bonds", "a_virtio_card"],
    ),
    ("subjects", &["pktgen"]),
];

/// QEMU's network: a namespace of its own, in which a switch joins the machine's two cards. A tap with its header for
/// offloads is what clouds have too.
const NETWORK: &str = "
set -e
ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip link set br0 up
for tap in tap0 tap1; do
    ip tuntap add dev $tap mode tap multi_queue vnet_hdr
    ip link set $tap master br0 up
done
exec \"$@\"";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The kernel, by a package of apt's; tried with Debian 12's 6.1 only
    #[arg(long, value_name = "PACKAGE", default_value = "linux-image-amd64")]
    kernel: String,
    /// After how long the machine is ended, in seconds
    #[arg(long, value_name = "N", default_value_t = 900)]
    limit: u64,
    /// Arguments for all test programs: a part of a test's name, --nocapture, ... [default: a choice of the tests]
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Builds everything, boots the machine and runs the tests in it.
pub(crate) fn vm(options: &Options) -> Result<()> {
    ensure!(
        is_root(),
        "the machine's network is a namespace with taps, which needs root: run this with sudo"
    );
    chores::install_test_packages()?;
    packages::ensure(PACKAGES)?;
    let server = chores::build()?;
    let programs = step("build the tests", chores::test_programs)?;
    let folder = root().join("target/vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kernel = step("fetch a kernel", || kernel::fetch(&folder, &options.kernel))?;
    let initrd = folder.join("initrd");
    fs::write(&initrd, initramfs::build(&kernel)?).context("cannot write the first filesystem")?;
    let jobs = folder.join("jobs.sh");
    fs::write(&jobs, job_script(&server, &programs, &options.args)?)
        .context("cannot write what is to be run")?;

    step(&format!("tests on Linux {} in QEMU", kernel.version), || {
        let status = folder.join("status");
        // Of an earlier run.
        let _ = fs::remove_file(&status);
        let machine = Machine::start(&kernel, &initrd, &status)?;
        machine.wait(Duration::from_secs(options.limit))?;
        match fs::read_to_string(&status).unwrap_or_default().trim() {
            "0" => Ok(()),
            "" => bail!("the machine ended without saying how the tests went"),
            failed => bail!("test programs failed: {failed}"),
        }
    })
}

/// The shell script that the machine runs: each test program in turn. Its status is the number of those that failed.
fn job_script(server: &Path, programs: &[PathBuf], args: &[OsString]) -> Result<String> {
    let mut script = format!(
        "cd {}\nexport TURNPIKE_BIN={} TURNPIKE_TEST_DEVICES=vlan,bond TURNPIKE_TEST_VIRTIO=eth0,eth1\nexport TURNPIKE_TEST_SLOWNESS=6\nfailed=0\n",
        quoted(root())?,
        quoted(server)?
    );
    for program in programs {
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let chosen = CHOSEN
            .iter()
            .find(|(chosen, _)| name.strip_prefix(chosen).is_some_and(|rest| rest.starts_with('-')));
        let filters: Vec<String> = match chosen {
            None => continue,
            Some((_, filters)) if args.is_empty() => filters.iter().map(ToString::to_string).collect(),
            Some(_) => args.iter().map(quoted).collect::<Result<_>>()?,
        };
        let (program, filters) = (quoted(program)?, filters.join(" "));
        script +=
            &format!("{program} --include-ignored --test-threads 1 {filters} || failed=$((failed + 1))\n");
    }
    script += "exit $failed\n";
    Ok(script)
}

/// A word of a shell script.
fn quoted(word: &(impl AsRef<std::ffi::OsStr> + ?Sized)) -> Result<String> {
    let word = word.as_ref().to_str().context("a path or argument that is no UTF-8")?;
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// A running QEMU, ended when dropped.
struct Machine(Child);

impl Machine {
    /// Boots it. Without help of the processor, which virtual machines seldom have: slower, but the same everywhere.
    fn start(kernel: &kernel::Kernel, initrd: &Path, status: &Path) -> Result<Machine> {
        // Each becomes the next, so QEMU has the number of the child; it dies with this program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", NETWORK, "sh"]);
        command.args(["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
        command.args(["-smp", "2", "-m", "2G", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initrd);
        let append = format!("console=ttyS0 quiet panic=-1 turnpike={}", root().join("target/vm").display());
        command.args(["-append", &append, "-serial", "stdio", "-serial"]);
        command.arg(format!("file:{}", status.display()));
        command
            .args(["-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]);
        for (card, mac) in [(0, "52:54:00:00:00:01"), (1, "52:54:00:00:00:02")] {
            // Twice as many queues as CPUs: the driver sends what XDP sends on its own ones.
            let tap = format!("tap,id=net{card},ifname=tap{card},script=no,downscript=no,queues=4");
            let device = format!("virtio-net-pci,netdev=net{card},mac={mac},mq=on,vectors=10");
            command.args(["-netdev", &tap, "-device", &device]);
        }
        let child = command.stdin(Stdio::null()).spawn().context("cannot start QEMU")?;
        Ok(Machine(child))
    }

    /// Waits until it has switched itself off.
    fn wait(mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "QEMU failed: {status}");
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        bail!("the tests did not end within {} s (--limit)", limit.as_secs());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already, or has to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program whose output is of no interest unless it fails.
fn quietly(command: &mut Command) -> Result<()> {
    run_command(command.stdout(Stdio::null()))
}
