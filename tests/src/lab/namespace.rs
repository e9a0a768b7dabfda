//! A host's own network, `/sys` and BPF filesystem, without a name.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace with the mount namespace that shows it: `/sys/class/net` lists its interfaces, and what is
/// pinned under `/sys/fs/bpf` is gone with the last who holds it. Clones are the same namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    fds: Arc<Fds>,
}

#[derive(Debug)]
struct Fds {
    net: File,
    mount: File,
    private: OnceLock<()>,
}

impl Namespace {
    /// A new one, in which only the loopback is up.
    ///
    /// # Panics
    /// Without CAP_SYS_ADMIN.
    pub fn new() -> Self {
        let fds = thread::spawn(make).join().expect("the thread ends").expect("namespaces can be made");
        let namespace = Self { fds: Arc::new(fds) };
        namespace.enter(|| {
            // Router solicitations and multicast reports would move counters that a test looks at.
            for scope in ["all", "default"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")
                    .expect("a setting of the namespace");
            }
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs a closure in it, on a thread of its own. Sockets that it opens stay in the namespace.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let in_there = || {
            // A mount namespace can be entered only by a thread that shares its root and folder with no other.
            unshare(CloneFlags::CLONE_FS).expect("a thread of its own");
            self.fds.set().expect("the namespaces can be entered");
            f()
        };
        match thread::scope(|scope| scope.spawn(in_there).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A command that will run in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let fds = self.fds.clone();
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only setns is called, which is one system call and allocates nothing.
        unsafe { command.pre_exec(move || fds.set()) };
        command
    }

    /// Runs `ip ARGUMENTS` in it.
    pub fn ip(&self, arguments: &str) -> String {
        self.run("ip", arguments)
    }

    /// Runs a program in it, which must succeed, and gives what it printed.
    pub fn run(&self, program: &str, arguments: &str) -> String {
        let output = self
            .command(program)
            .args(arguments.split_whitespace())
            .output()
            .unwrap_or_else(|e| panic!("{program} does not start: {e}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Changes a setting under `/proc/sys/net`.
    pub fn set(&self, setting: &str, value: &str) {
        let path = format!("/proc/sys/net/{setting}");
        self.enter(|| std::fs::write(&path, value)).unwrap_or_else(|e| panic!("{path} = {value}: {e}"));
    }

    /// A folder in memory that only those in the namespace see, and that is gone with it.
    pub fn private(&self) -> PathBuf {
        const AT: &str = "/mnt";
        self.fds.private.get_or_init(|| {
            self.enter(|| mount(Some("tmpfs"), AT, Some("tmpfs"), MsFlags::empty(), None::<&str>))
                .expect("a filesystem in memory");
        });
        AT.into()
    }

    /// Puts a file into [that folder](Self::private), and gives its path.
    pub fn keep(&self, name: &str, text: &str) -> PathBuf {
        let path = self.private().join(name);
        self.enter(|| std::fs::write(&path, text)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// Shows this text in place of a file of the system, to those in the namespace.
    pub fn show(&self, file: impl AsRef<Path>, text: &str) {
        let file = file.as_ref();
        let name = file.to_string_lossy().trim_start_matches('/').replace('/', "-");
        let kept = self.keep(&name, text);
        self.enter(|| mount(Some(&kept), file, None::<&str>, MsFlags::MS_BIND, None::<&str>))
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// The MAC address of an interface.
    pub fn mac(&self, interface: &str) -> [u8; 6] {
        let text = self.enter(|| {
            std::fs::read_to_string(format!("/sys/class/net/{interface}/address")).expect("an interface")
        });
        let mut bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("two digits"));
        std::array::from_fn(|_| bytes.next().expect("six bytes"))
    }

    /// A path by which `ip link set DEV netns PATH` finds it.
    pub(super) fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.fds.net.as_raw_fd())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Fds {
    fn set(&self) -> io::Result<()> {
        setns(&self.mount, CloneFlags::CLONE_NEWNS)?;
        setns(&self.net, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }
}

fn make() -> io::Result<Fds> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // A mount of /sys shows the network that it was made in.
    umount2("/sys", MntFlags::MNT_DETACH)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none)?;
    Ok(Fds {
        net: File::open("/proc/thread-self/ns/net")?,
        mount: File::open("/proc/thread-self/ns/mnt")?,
        private: OnceLock::new(),
    })
}
