//! One local client and its connection to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::Shared;
use super::backoff::Backoff;
use super::journal::Carried;
use super::queue::Queue;
use crate::client::{Connection, Done, Incoming, Lost, Receiver, Sender};
use crate::stun::{Class, Message, MessageType, Method};

/// How long a connection that is closed in order may take for it.
const CLOSING: Duration = Duration::from_secs(1);

/// Where a client's messages go.
pub(super) enum Deliver {
    /// Over the socket that it sends to.
    Udp(Arc<UdpSocket>, SocketAddr),
    /// To whoever writes its connection.
    Tcp(Arc<Queue>),
}

/// One local client.
pub(super) struct Session {
    shared: Arc<Shared>,
    /// As logs name it.
    client: String,
    /// What it sent.
    queue: Arc<Queue>,
    deliver: Deliver,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// Why a client is not carried any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Idle,
    /// It closed its connection.
    Closed,
    /// The tunnel stops.
    Stopped,
    /// Its connection to the server broke, and it is to know that.
    Broken,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, client: String, queue: Arc<Queue>, deliver: Deliver) -> Self {
        let (to_server, to_client) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { shared, client, queue, deliver, to_server, to_client }
    }

    /// Carries its messages until it is gone.
    pub(super) async fn run(&self) {
        let end = self.carry().await;
        let cause = match end {
            End::Idle => "idle",
            End::Closed => "closed",
            End::Stopped => "stopped",
            End::Broken => "lost",
        };
        let dropped_down = match &self.deliver {
            Deliver::Udp(..) => 0,
            Deliver::Tcp(queue) => queue.dropped(),
        };
        let carried = Carried {
            to_server: self.to_server.load(Ordering::Relaxed),
            to_client: self.to_client.load(Ordering::Relaxed),
            dropped: self.queue.dropped() + dropped_down,
        };
        self.shared.journal.closed(&self.client, cause, carried);
    }

    async fn carry(&self) -> End {
        let Shared { limits, pace, connector, journal, .. } = &*self.shared;
        let mut stop = self.shared.stop.clone();
        let mut backoff = Backoff::default();
        let over_tcp = matches!(self.deliver, Deliver::Tcp(_));
        let mut patience = if over_tcp { pace.first_message.min(limits.idle) } else { limits.idle };
        loop {
            // A connection is made when there is something to carry.
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::Stopped,
                ready = timeout(patience, self.queue.ready()) => match ready {
                    Ok(true) => {}
                    Ok(false) => return End::Closed,
                    Err(_) => return End::Idle,
                },
            }
            patience = limits.idle;
            let start = Instant::now();
            let mut unseen = |_: Done<'_>| {};
            let connected = tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::Stopped,
                connected = connector.connect(&mut unseen) => connected,
            };
            let wait = match connected {
                Ok(connection) => {
                    journal.opened(&self.client, start.elapsed());
                    let opened = Instant::now();
                    match self.exchange(connection, &mut stop).await {
                        Ok(end) => return end,
                        Err(lost) => journal.lost(&self.client, &lost),
                    }
                    if opened.elapsed() >= pace.lasting {
                        backoff.reset();
                        None
                    } else {
                        Some(backoff.next(pace))
                    }
                }
                Err(failed) => {
                    let wait = backoff.next(pace);
                    journal.failed(&self.client, &failed, (!over_tcp).then_some(wait));
                    Some(wait)
                }
            };
            // A TCP client is told by the end of its connection, and comes again if it wants. To one over UDP nothing can be
            // told: its next message makes a new connection, and the server answers it with 437.
            if over_tcp {
                return End::Broken;
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::Stopped,
                () = sleep(wait.unwrap_or_default()) => {}
            }
        }
    }

    /// Carries messages over an open connection, both ways at once.
    async fn exchange(&self, connection: Connection, stop: &mut watch::Receiver<bool>) -> Result<End, Lost> {
        let Connection { mut sender, mut receiver, .. } = connection;
        let activity = Activity::new();
        let outcome = tokio::select! {
            biased;
            () = stopped(stop) => Ok(End::Stopped),
            outcome = self.send(&mut sender, &activity) => outcome,
            lost = self.receive(&mut receiver, &activity) => Err(lost),
            outcome = self.watch(&activity) => outcome,
        };
        if outcome.is_ok() {
            let _ = timeout(CLOSING, sender.close()).await;
        }
        outcome
    }

    async fn send(&self, sender: &mut Sender, activity: &Activity) -> Result<End, Lost> {
        let ping = self.shared.pace.ping;
        let mut pings = interval_at(Instant::now() + ping, ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.queue.pop() => {
                    let Some(message) = message else { return Ok(End::Closed) };
                    let mut next = Some(message);
                    while let Some(message) = next {
                        sender.feed(&message).await?;
                        self.to_server.fetch_add(1, Ordering::Relaxed);
                        next = self.queue.try_pop();
                    }
                    sender.flush().await?;
                    activity.carried();
                    activity.ended.store(false, Ordering::Relaxed);
                }
                _ = pings.tick() => sender.ping().await?,
            }
        }
    }

    async fn receive(&self, receiver: &mut Receiver, activity: &Activity) -> Lost {
        loop {
            let message = match receiver.receive().await {
                Ok(Incoming::Message(message)) => message,
                Ok(Incoming::Alive) => {
                    activity.heard();
                    continue;
                }
                Err(lost) => return lost,
            };
            activity.heard();
            activity.carried();
            if ends_allocation(&message) {
                activity.ended.store(true, Ordering::Relaxed);
            }
            self.to_client.fetch_add(1, Ordering::Relaxed);
            match &self.deliver {
                // A client that is gone is found out by its silence.
                Deliver::Udp(socket, client) => drop(socket.send_to(&message, client).await),
                Deliver::Tcp(queue) => queue.push(message),
            }
        }
    }

    /// Returns when nothing is carried any more, or the server gives no sign of life.
    async fn watch(&self, activity: &Activity) -> Result<End, Lost> {
        let Shared { limits, pace, connector, .. } = &*self.shared;
        loop {
            let idle = if activity.ended.load(Ordering::Relaxed) {
                pace.linger.min(limits.idle)
            } else {
                limits.idle
            };
            let left = idle.saturating_sub(activity.since(&activity.last_carried));
            if left.is_zero() {
                return Ok(End::Idle);
            }
            let silent = activity.since(&activity.last_heard);
            // Other carriers have no pings; TCP itself gives up on what nobody acknowledges.
            if connector.url().carrier.is_web_socket() && silent >= pace.dead {
                let why = format!("no sign of life for {} s", silent.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why).into());
            }
            sleep(left.min(pace.dead / 8).min(pace.linger / 8)).await;
        }
    }
}

/// When something happened on a connection, in milliseconds after its start.
struct Activity {
    start: Instant,
    last_carried: AtomicU64,
    last_heard: AtomicU64,
    /// The client gave up its allocation.
    ended: AtomicBool,
}

impl Activity {
    fn new() -> Self {
        let never = || AtomicU64::new(0);
        Self {
            start: Instant::now(),
            last_carried: never(),
            last_heard: never(),
            ended: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn carried(&self) {
        self.last_carried.store(self.now(), Ordering::Relaxed);
    }

    fn heard(&self) {
        self.last_heard.store(self.now(), Ordering::Relaxed);
    }

    fn since(&self, event: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(event.load(Ordering::Relaxed)))
    }
}

/// Whether it is the answer to a Refresh with a lifetime of zero (RFC 8656 section 8): SIP systems have a port, and so a
/// connection, for each call.
fn ends_allocation(message: &[u8]) -> bool {
    const REFRESHED: MessageType = MessageType::new(Method::REFRESH, Class::Success);
    message.first_chunk().is_some_and(|first| u16::from_be_bytes(*first) == REFRESHED.to_bits())
        && Message::parse(message).is_ok_and(|m| m.lifetime() == Ok(Some(Duration::ZERO)))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The other end is gone only when the tunnel is.
    let _ = stop.wait_for(|stop| *stop).await;
}
