//! TCP allocations (RFC 6062): listening, connecting and copying, on a tokio runtime away from the shards.
//!
//! The shard's protocol core decides everything and hears of what happened by letters ([`Happening`]); each connection with
//! a peer is a task here that waits until the core says what it is joined to, and then copies. A task ends with its place in
//! the shard's list, and with it both its connections are closed. The data of one client delays no shard, and no other client
//! but by the CPU that it takes.

mod carry;
mod on_shard;
mod peers;
mod runtime;
mod tls;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::AbortHandle;

pub(super) use carry::Client;
pub(super) use runtime::Carriers;

use super::mailbox::{Letter, Mailbox};
use crate::turn::{Carried, ConnectionId, Pace, PeerAddr, RelayAddr};

/// What a client's connection is to be joined to.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) connection: ConnectionId,
    pub(super) pace: Pace,
    pub(super) idle: Duration,
    pub(super) carried: Carried,
}

/// What the tasks of a shard have to say to it.
#[derive(Debug)]
pub(super) enum Happening {
    /// A connection asked for is there.
    Connected(ConnectionId),
    /// It is not.
    Failed(ConnectionId),
    /// A peer connected.
    Incoming(Incoming),
    /// A connection carried more.
    Carried(ConnectionId),
    /// A connection is closed, at both ends.
    Gone(ConnectionId),
}

/// A peer's connection that nobody has decided on.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) relayed: RelayAddr,
    pub(super) peer: PeerAddr,
    /// Which opening of the relayed transport address it came to.
    opening: u64,
    socket: TcpStream,
    /// One of the places for those that wait for the shard.
    _place: OwnedSemaphorePermit,
}

/// Where the tasks of a shard leave their letters.
#[derive(Clone, Debug)]
struct Shard {
    number: usize,
    mailboxes: Arc<[Mailbox]>,
}

impl Shard {
    fn tell(&self, happening: Happening) {
        self.mailboxes[self.number].post(Letter::TcpRelay(happening));
    }
}

/// The TCP allocations of one shard.
pub(super) struct TcpRelays {
    shard: Shard,
    /// `None` where TCP allocations are off.
    runtime: Option<Handle>,
    openings: u64,
    listening: HashMap<RelayAddr, Listening>,
    connections: HashMap<ConnectionId, Held>,
    /// The connection that the core is being asked about.
    incoming: Option<TcpStream>,
}

/// A relayed transport address that is listened on.
struct Listening {
    opening: u64,
    listener: Arc<TcpListener>,
    _task: Task,
}

impl Drop for Listening {
    /// The task closes it a moment later; the port may be wanted at once.
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

/// A connection with a peer.
struct Held {
    /// Until it is joined.
    client: Option<oneshot::Sender<Client>>,
    _task: Task,
}

/// A task that ends when this does.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TcpRelays {
    pub(super) fn new(number: u16, mailboxes: Arc<[Mailbox]>, runtime: Option<Handle>) -> Self {
        Self {
            shard: Shard { number: number.into(), mailboxes },
            runtime,
            openings: 0,
            listening: HashMap::new(),
            connections: HashMap::new(),
            incoming: None,
        }
    }

    /// Starts to listen on a relayed transport address.
    pub(super) fn open(&mut self, relayed: RelayAddr) -> io::Result<()> {
        let runtime = self.runtime.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let socket = peers::open(relayed.0)?;
        let listener = {
            let _inside = runtime.enter();
            Arc::new(TcpListener::from_std(socket)?)
        };
        self.openings += 1;
        let opening = self.openings;
        let task = runtime.spawn(peers::accept(Arc::clone(&listener), relayed, opening, self.shard.clone()));
        self.listening.insert(relayed, Listening { opening, listener, _task: Task(task.abort_handle()) });
        Ok(())
    }

    /// Listens no longer.
    pub(super) fn close(&mut self, relayed: RelayAddr) {
        self.listening.remove(&relayed);
    }

    /// Connects from a relayed transport address to a peer, and holds what comes of it.
    pub(super) fn connect(&mut self, connection: ConnectionId, relayed: RelayAddr, peer: PeerAddr) {
        let shard = self.shard.clone();
        self.hold(connection, async move { peers::connect(connection, relayed.0, peer.0, &shard).await });
    }

    /// Keeps the connection that the core was asked about.
    pub(super) fn accept(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.incoming.take() {
            self.hold(connection, async move { Some(socket) });
        }
    }

    /// Closes the connection that the core was asked about.
    pub(super) fn refuse(&mut self) {
        self.incoming = None;
    }

    /// Keeps a peer's connection at hand while the core is asked about it. `false`: the allocation that it was for has
    /// ended, and the port may be another's.
    pub(super) fn ask_about(&mut self, incoming: Incoming) -> bool {
        let current = self.listening.get(&incoming.relayed).is_some_and(|l| l.opening == incoming.opening);
        if current {
            self.incoming = Some(incoming.socket);
        }
        current
    }

    /// Joins a client's connection to a peer's. `false`: there is none that waits.
    pub(super) fn join(&mut self, connection: ConnectionId, client: Client) -> bool {
        let waiting = self.connections.get_mut(&connection).and_then(|held| held.client.take());
        waiting.is_some_and(|waiting| waiting.send(client).is_ok())
    }

    /// Closes a connection with what it is joined to; or forgets one that is closed.
    pub(super) fn end(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// A task for a connection with a peer: it gets there, waits for the client's, copies.
    fn hold(
        &mut self,
        connection: ConnectionId,
        peer: impl Future<Output = Option<TcpStream>> + Send + 'static,
    ) {
        let Some(runtime) = &self.runtime else { return };
        let (sender, client) = oneshot::channel();
        let shard = self.shard.clone();
        let task = runtime.spawn(async move {
            let Some(peer) = peer.await else { return };
            // Unread until then: what the peer sends stays in the kernel's buffer, and its window closes.
            if let Ok(client) = client.await {
                carry::carry(connection, peer, client, &shard).await;
                shard.tell(Happening::Gone(connection));
            }
        });
        let held = Held { client: Some(sender), _task: Task(task.abort_handle()) };
        self.connections.insert(connection, held);
    }
}

/// How often the shard is told what was carried.
const REPORT: Duration = Duration::from_secs(1);
