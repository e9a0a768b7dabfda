//! Listeners of streams: claiming their addresses, and taking what comes.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::socket::{Backlog, listen as queue, setsockopt, sockopt};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::counts::Outcome;
use super::desk::Desk;
use super::reception;
use crate::config::Listen;
use crate::net::leave_reserve;
use crate::throttle::Throttle;
use crate::time::Timestamp;

/// How long nobody is taken in when there is no descriptor or memory left for one more.
const PAUSE: Duration = Duration::from_millis(200);

/// Silence after which the kernel asks whether a client is still there, in seconds; between two more questions; and how many
/// may go unanswered. NATs forget a connection earlier than that where they are strict, and clients come back.
const KEEPALIVE: (u32, u32, u32) = (60, 20, 3);

/// An address that is ours.
pub(super) struct Bound {
    listen: Listen,
    socket: StdListener,
}

impl Bound {
    /// Fails when the address is not one of this host, or the port somebody else's.
    pub(super) fn claim(listen: Listen) -> Result<Self> {
        let claim = || -> io::Result<(SocketAddr, StdListener)> {
            let socket = StdListener::bind(listen.address)?;
            socket.set_nonblocking(true)?;
            // The standard library asks for 128, which a burst exceeds; net.core.somaxconn bounds it.
            queue(&socket, Backlog::MAXCONN)?;
            // Sockets that are accepted inherit these.
            let (idle, interval, count) = KEEPALIVE;
            setsockopt(&socket, sockopt::KeepAlive, &true)?;
            setsockopt(&socket, sockopt::TcpKeepIdle, &idle)?;
            setsockopt(&socket, sockopt::TcpKeepInterval, &interval)?;
            setsockopt(&socket, sockopt::TcpKeepCount, &count)?;
            setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = claim().with_context(|| cannot_listen(listen))?;
        Ok(Self { listen: Listen { address, ..listen }, socket })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listen.address
    }

    /// Takes connections from now on. To be called within the desk's runtime.
    pub(super) fn serve(self, desk: Arc<Desk>) -> Result<()> {
        let listener = TcpListener::from_std(self.socket).with_context(|| cannot_listen(self.listen))?;
        tokio::spawn(async move {
            let mut stopping = desk.stopping.clone();
            tokio::select! {
                () = accept(&desk, self.listen, &listener) => {}
                // An error means that the desk is gone.
                _ = stopping.changed() => {}
            }
        });
        Ok(())
    }
}

async fn accept(desk: &Arc<Desk>, listen: Listen, listener: &TcpListener) {
    let mut exhausted = Throttle::new(1);
    let mut crowded = Throttle::new(1);
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_exhaustion(&error) => {
                if let Some(suppressed) = exhausted.pass(Timestamp::now()) {
                    tracing::warn!(
                        %listen, %error, suppressed,
                        "no connection can be taken now; LimitNOFILE= or `ulimit -n` is the limit on open files"
                    );
                }
                sleep(PAUSE).await;
                continue;
            }
            // That one is gone; the next may be there.
            Err(_) => {
                tokio::task::yield_now().await;
                continue;
            }
        };
        let rules = desk.rules();
        let limits = &rules.streams.limits;
        let has_room = leave_reserve(&socket).map_err(|_| Outcome::TooMany);
        let place = has_room.and_then(|()| desk.doors.enter(limits)).and_then(|ticket| {
            let seat = desk.lobby.sit(limits.handshakes as usize, Instant::now());
            Ok((ticket, seat.map_err(|_| Outcome::TooMany)?))
        });
        match place {
            Ok((ticket, seat)) => {
                let desk = desk.clone();
                tokio::spawn(reception::receive(desk, rules, listen, (socket, peer), ticket, seat));
            }
            Err(outcome) => {
                desk.counts.add(outcome);
                if let Some(suppressed) = crowded.pass(Timestamp::now()) {
                    tracing::warn!(
                        %listen, suppressed,
                        "too many connections: more are closed at once ([streams] connections and handshakes; LimitNOFILE=)"
                    );
                }
            }
        }
    }
}

/// Whether it was for want of something that others may give back.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn cannot_listen(listen: Listen) -> String {
    let port = listen.address.port();
    let privileged =
        if port < 1024 { ", and a port below 1024 allowed: root, or CAP_NET_BIND_SERVICE" } else { "" };
    format!(
        "cannot listen on {listen} (is the address one of this host, the port free{privileged}? \
         `ss -tlpn sport = :{port}`)"
    )
}
