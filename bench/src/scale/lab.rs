//! The release binary in a namespace, and another one in which all clients are: one socket sends from sixteen million
//! addresses, as the kernel takes a whole network for its own there.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{
    ControlMessage, MsgFlags, SockaddrIn, recv, sendmsg, setsockopt, sockopt::RcvBufForce,
    sockopt::SndBufForce,
};
use serde::Serialize;
use turnpike_tests::lab::{Host, OneNic, Server, ServerOptions};

use super::clients::{PORT, SECRET};
use super::process::{Resident, cpu_seconds, resident};

/// Ports of each relay address.
const RELAY_PORTS: &str = "10000-65535";
const PORTS: u32 = 55_536;

/// Clients are in 16.0.0.0/6, their peers in 20.0.0.0/6: both behind the same router.
const CLIENTS: &str = "16.0.0.0/5";

const BUFFER: usize = 64 << 20;

/// How the server relays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// XDP in driver mode.
    Xdp,
    /// Without XDP.
    Userspace,
}

/// A server with its clients' socket.
pub(super) struct Lab {
    socket: UdpSocket,
    address: SocketAddrV4,
    process: String,
    server: Server,
    _net: OneNic,
}

impl Lab {
    /// Starts a server of so many shards that has room for so many allocations, with up to five bindings each.
    pub(super) fn start(mode: Mode, allocations: u32, shards: u16) -> Result<Self> {
        let net = OneNic::new();
        let datapath = match mode {
            Mode::Xdp => "xdp",
            Mode::Userspace => "userspace",
        };
        let mut options = ServerOptions::new(datapath)
            .flag("--shards", shards)
            .flag("--auth-secret", SECRET)
            .flag("--max-bindings", allocations * 7);
        options.relay_ports = RELAY_PORTS;
        for n in 0..=(allocations + allocations / 10) / PORTS {
            let address = net.net.address(100 + n as u8);
            net.server.ip(&format!("addr add {address}/24 dev eth0"));
            options = options.relay_from(address);
        }
        net.client.ip(&format!("route add local {CLIENTS} dev lo"));
        net.server.ip(&format!("route add {CLIENTS} via {}", net.client.address()));
        let mut server = Server::start(&net.server, &options);
        let SocketAddr::V4(address) = server.address() else { anyhow::bail!("the lab is IPv4") };
        let process = server.process().pid().to_string();
        let socket = socket(&net.client)?;
        Ok(Self { socket, address, process, server, _net: net })
    }

    /// Sends a datagram of a client.
    pub(super) fn send(&self, from: SocketAddr, datagram: &[u8]) -> Result<()> {
        let IpAddr::V4(from) = from.ip() else { anyhow::bail!("the lab is IPv4") };
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(self.address);
        let cmsgs = [ControlMessage::Ipv4PacketInfo(&source)];
        let slices = [io::IoSlice::new(datagram)];
        sendmsg(self.socket.as_raw_fd(), &slices, &cmsgs, MsgFlags::empty(), Some(&to)).context("sending")?;
        Ok(())
    }

    /// The next answer, if one is there.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let length = recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).ok()?;
        Some(&buffer[..length])
    }

    /// Waits for an answer, a millisecond at the most.
    pub(super) fn wait(&self) -> Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(1_u8)).context("poll")?;
        Ok(())
    }

    /// Lets what was asked last come to an end.
    pub(super) fn settle(&self) {
        std::thread::sleep(Duration::from_millis(300));
    }

    /// CPU time of the shards so far, in seconds.
    pub(super) fn shard_seconds(&self) -> Result<f64> {
        cpu_seconds(&self.process, "shard-")
    }

    /// Memory of the server.
    pub(super) fn resident(&self) -> Result<Resident> {
        resident(&self.process)
    }

    /// The server's process.
    #[cfg(test)]
    pub(super) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.process.parse().expect("a number"))
    }

    /// Bindings in the tables of the data path.
    pub(super) fn bindings(&self) -> u64 {
        self.server.status()["bindings"]["active"].as_u64().unwrap_or_default()
    }
}

fn socket(host: &Host) -> Result<UdpSocket> {
    let socket = host.enter(|| UdpSocket::bind(("0.0.0.0", PORT)))?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    setsockopt(&socket, SndBufForce, &BUFFER)?;
    Ok(socket)
}
