//! Opening the listeners: for each address, one socket per shard.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};

use super::sockets;
use crate::turn::Transport;

/// One shard's socket for a listener.
#[derive(Debug)]
pub(super) struct Listener {
    /// Where clients send to.
    pub(super) address: SocketAddr,
    /// UDP, or DTLS over it.
    pub(super) transport: Transport,
    pub(super) socket: UdpSocket,
    /// The last reading of the socket's count of dropped datagrams.
    pub(super) socket_drops: u32,
}

/// Opens every listener for every shard. A port of 0 is replaced by a free one.
pub(super) fn open(
    addresses: &[SocketAddr],
    transport: Transport,
    shards: usize,
) -> Result<Vec<Vec<Listener>>> {
    let mut by_shard: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    for &address in addresses {
        let address = claim(address)?;
        for listeners in &mut by_shard {
            let socket = sockets::open_listener(address).with_context(|| cannot_listen(address))?;
            // What is in a datagram of DTLS takes its place, which must not have a neighbour then.
            if transport == Transport::Udp {
                sockets::have_merged(&socket);
            }
            listeners.push(Listener { address, transport, socket, socket_drops: 0 });
        }
    }
    if let Some(listener) = by_shard[0].first() {
        warn_of_small_buffer(&listener.socket);
    }
    // While sockets join the group, the kernel's hash leads a client to one and then to another: what came so far
    // might be answered by a shard that never hears of that client again. Clients repeat their requests.
    for listener in by_shard.iter().flatten() {
        while listener.socket.recv_from(&mut [0]).is_ok() {}
    }
    Ok(by_shard)
}

/// Checks that an address can be listened on and that nobody else does: sockets that share a port would let a second
/// server of the same user take half of the clients unnoticed.
fn claim(address: SocketAddr) -> Result<SocketAddr> {
    ensure!(
        !address.ip().is_unspecified(),
        "cannot listen on {address}: answers must leave from the address that the client asked; \
         give each address of this host that clients use"
    );
    let probe = UdpSocket::bind(address).with_context(|| cannot_listen(address))?;
    probe.local_addr().with_context(|| cannot_listen(address))
}

fn cannot_listen(address: SocketAddr) -> String {
    let port = address.port();
    format!(
        "cannot listen on udp://{address} (is the address one of this host, and the port free? `ss -ulpn sport = :{port}`)"
    )
}

/// Receive buffers that are too small lose packets near 100,000 a second, whatever the machine.
fn warn_of_small_buffer(listener: &UdpSocket) {
    let check = || -> io::Result<()> {
        let (bytes, wanted) = sockets::listener_buffer(listener)?;
        if bytes < wanted {
            tracing::warn!(
                bytes,
                wanted,
                "receive buffers are small, bursts may be lost: sysctl -w net.core.rmem_max={wanted} \
                 net.core.wmem_max={wanted}, or give CAP_NET_ADMIN"
            );
        }
        Ok(())
    };
    if let Err(error) = check() {
        tracing::warn!(%error, "the size of receive buffers is unknown");
    }
}
