//! The process: a program that hands over what arrives, and a loop that sends it back.

use std::fs;
use std::io::{Write, stdout};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::XskMap;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;

use super::READY;
use super::socket::Socket;

/// The only queue of the lab's interfaces.
const QUEUE: u32 = 0;

/// Frames that the socket has: those of 4 ms at half a million a second, for which the scheduler may let another thread run.
const FRAMES: u32 = 2_048;

/// Frames of a batch: as many as the kernel polls of an interface at a time.
const BATCH: u32 = 64;

/// Sends back every UDP datagram that arrives at an interface of this namespace, until the process is killed.
///
/// # Errors
/// Where the kernel refuses the program or the socket, and when the interface goes while frames are being sent.
pub fn reflect(interface: &str) -> Result<()> {
    let mut program = load()?;
    let index =
        if_nametoindex(interface).with_context(|| format!("there is no interface {interface} here"))?;
    let mut socket = Socket::open(index, QUEUE, FRAMES)?;
    let sockets = program.map_mut("SOCKETS").context("no SOCKETS in the object")?;
    XskMap::try_from(sockets)?.set(QUEUE, socket.as_raw_fd(), 0).context("the socket in its map")?;
    let to_socket: &mut Xdp =
        program.program_mut("to_socket").context("no to_socket in the object")?.try_into()?;
    to_socket.load().context("to_socket, which needs CAP_BPF and CAP_NET_ADMIN")?;
    to_socket.attach(interface, XdpMode::Driver).with_context(|| format!("to_socket on {interface}"))?;
    println!("{READY}");
    stdout().flush().context("the standard output")?;
    let lost = || format!("the AF_XDP socket on {interface}");
    loop {
        let done = socket.reflect(BATCH, swap_macs).with_context(lost)?;
        if done == 0 && !socket.is_sending() {
            socket.wait().with_context(lost)?;
        }
    }
}

/// As the floor does.
fn swap_macs(frame: &mut [u8]) {
    if let Some(macs) = frame.first_chunk_mut::<12>() {
        macs.rotate_left(6);
    }
}

fn load() -> Result<Ebpf> {
    let object = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-af-xdp.o"));
    let hint = || format!("{}: make it with `cargo xtask build-ebpf`", object.display());
    let object = fs::read(&object).with_context(hint)?;
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("SOCKETS", QUEUE + 1);
    loader.load(&object).context("a map of AF_XDP sockets, which needs CAP_BPF and CONFIG_XDP_SOCKETS")
}
