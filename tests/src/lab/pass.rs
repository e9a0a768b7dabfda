//! An XDP program that lets everything pass, for the switch's end of a wire.
//!
//! The kernel's veth driver tells the receiving end of what XDP sent (`XDP_TX`) only when that end runs a program
//! itself (`veth_xdp_flush`); GRO alone is not enough.

use std::fs;
use std::io;
use std::mem::offset_of;
use std::os::fd::{FromRawFd, OwnedFd};

use super::namespace::Namespace;

/// The program on one interface, until dropped.
#[derive(Debug)]
pub struct PassProgram {
    _link: OwnedFd,
}

impl PassProgram {
    /// Attaches it in driver mode.
    ///
    /// # Panics
    /// When the interface has a program already, or its driver takes none.
    pub fn attach(namespace: &Namespace, interface: &str) -> Self {
        let link = namespace.enter(|| {
            let index = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
            let index = index.trim().parse().map_err(io::Error::other)?;
            link(&load()?, index)
        });
        Self { _link: link.expect("the kernel takes an XDP program of two instructions") }
    }
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`
const INSTRUCTIONS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The head of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

const _: () = assert!(offset_of!(ProgLoad, license) == 16 && offset_of!(LinkCreate, flags) == 12);

fn load() -> io::Result<OwnedFd> {
    bpf(
        BPF_PROG_LOAD,
        &ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: INSTRUCTIONS.len() as u32,
            insns: INSTRUCTIONS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
        },
    )
}

fn link(program: &OwnedFd, index: u32) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let attributes = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: index,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    bpf(BPF_LINK_CREATE, &attributes)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes and what they point to, all of which outlives the call, and
    // takes what is missing at the end of the union for zeros.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *const T, size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor that nobody else owns; the kernel sets close-on-exec on it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
