//! A load by a bounded window: when a packet has arrived, another one leaves.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{EpollEvent, EpollTimeout};

use super::{CHANNEL, PEER, STAMP, StreamClients, room};
use crate::figures::{Direction, Outcome};

/// Packets on their way at once: with an acknowledgement for each, what a veth has room for (256) before its poller comes.
const WINDOW: u64 = 96;

/// How long nothing arrives before what is on its way counts as lost.
const QUIET: Duration = Duration::from_millis(150);

/// How long one look for arrivals waits.
const LOOK: u8 = 5;

/// ChannelData header.
const HEADER: usize = 4;

/// What arrived.
struct Tally {
    run: u32,
    data: usize,
    /// The number that comes next, of each connection.
    next: Vec<u32>,
    arrived: u64,
    reordered: u64,
    corrupt: u64,
}

/// Offers packets for so long, as many as there is room for.
pub(super) fn offer(
    clients: &mut StreamClients,
    direction: Direction,
    data: usize,
    duration: Duration,
    cpu: &dyn Fn() -> f64,
) -> Result<Outcome> {
    room(data)?;
    let connections = clients.connections.len();
    let mut tally =
        Tally { run: clients.run, data, next: vec![0; connections], arrived: 0, reordered: 0, corrupt: 0 };
    let mut message = vec![0; HEADER + data];
    message[..2].copy_from_slice(&CHANNEL.to_be_bytes());
    message[2..HEADER].copy_from_slice(&(data as u16).to_be_bytes());
    let (mut sent, mut lost, mut numbers) = (0_u64, 0, vec![0_u32; connections]);
    let (start, before) = (Instant::now(), cpu());
    let mut last = start;
    loop {
        let over = start.elapsed() >= duration;
        while !over && sent.saturating_sub(lost + tally.seen()) < WINDOW {
            let n = sent as usize % connections;
            stamp(&mut message[HEADER..], clients.run, n as u32, numbers[n]);
            numbers[n] += 1;
            sent += 1;
            match direction {
                Direction::ToClient => to_client(&clients.peers[n], &message[HEADER..])?,
                Direction::ToPeer | Direction::RelayToRelay => clients.connections[n].send(&message)?,
            }
        }
        let seen = tally.seen();
        gather(clients, &mut tally)?;
        if tally.seen() > seen {
            last = Instant::now();
        } else if last.elapsed() > QUIET {
            // Also what waits since a socket was full.
            clients.connections.iter_mut().try_for_each(|connection| connection.flush())?;
            lost = sent - tally.seen();
            last = Instant::now();
        }
        if over && sent <= lost + tally.seen() {
            break;
        }
    }
    Ok(Outcome {
        sent,
        arrived: tally.arrived,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        seconds: (last - start).as_secs_f64(),
        cpu_seconds: cpu() - before,
        latency: None,
    })
}

/// Has a peer send to its client. What the socket does not take is a lost packet.
fn to_client(peer: &UdpSocket, data: &[u8]) -> Result<()> {
    match peer.send(data) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error).context("a peer's sending"),
        _ => Ok(()),
    }
}

/// Takes what has arrived, and waits for it if there is nothing.
fn gather(clients: &mut StreamClients, tally: &mut Tally) -> Result<()> {
    let mut events = [EpollEvent::empty(); 256];
    let ready = match clients.epoll.wait(&mut events, EpollTimeout::from(LOOK)) {
        Err(nix::errno::Errno::EINTR) => 0,
        ready => ready.context("epoll")?,
    };
    let mut buffer = [0; 2048];
    for event in &events[..ready] {
        let n = (event.data() & !PEER) as usize;
        if event.data() & PEER != 0 {
            match clients.peers[n].recv(&mut buffer) {
                Ok(len) => tally.take(&buffer[..len], n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a peer's receiving"),
            }
            continue;
        }
        let connection = &mut clients.connections[n];
        connection.fill()?;
        while let Some(at) = connection.next_message()? {
            let message = &connection.bytes()[at];
            if message.starts_with(&CHANNEL.to_be_bytes()) {
                tally.take(&message[HEADER..], n);
            }
        }
    }
    Ok(())
}

/// Writes which packet it is.
fn stamp(data: &mut [u8], run: u32, connection: u32, number: u32) {
    for (bytes, word) in data.chunks_exact_mut(4).zip([run, connection, number]) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

impl Tally {
    /// Packets of this load that have come to an end, whole or not.
    fn seen(&self) -> u64 {
        self.arrived + self.corrupt
    }

    /// Takes a packet that arrived at this client, or at its peer.
    fn take(&mut self, data: &[u8], at: usize) {
        let Some((stamp, _)) = data.split_at_checked(STAMP.into()) else { return };
        let word = |n: usize| u32::from_be_bytes(std::array::from_fn(|i| stamp[4 * n + i]));
        let (run, connection, number) = (word(0), word(1) as usize, word(2));
        if run != self.run {
            return;
        }
        if data.len() != self.data || at != connection {
            self.corrupt += 1;
            return;
        }
        let next = &mut self.next[at];
        self.arrived += 1;
        self.reordered += u64::from(number < *next);
        *next = (*next).max(number + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_short_or_at_another_client_is_told_apart() {
        let mut tally = Tally { run: 7, data: 20, next: vec![0; 2], arrived: 0, reordered: 0, corrupt: 0 };
        let packet = |run, connection, number| {
            let mut data = vec![0; 20];
            stamp(&mut data, run, connection, number);
            data
        };
        tally.take(&packet(6, 0, 0), 0);
        assert_eq!(tally.seen(), 0, "of an earlier load");
        tally.take(&packet(7, 0, 1), 0);
        tally.take(&packet(7, 1, 0), 1);
        tally.take(&packet(7, 0, 0), 0);
        assert_eq!((tally.arrived, tally.reordered, tally.corrupt), (3, 1, 0));
        tally.take(&packet(7, 0, 2)[..19], 0);
        tally.take(&packet(7, 0, 2), 1);
        assert_eq!((tally.arrived, tally.corrupt, tally.seen()), (3, 2, 5));
    }
}
