//! Local clients: UDP addresses and TCP connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Shared;
use super::queue::Queue;
use super::session::{Deliver, Session};
use crate::client::Splitter;
use crate::framing::{messages, padding};
use crate::stun::MAGIC_COOKIE;

/// The largest datagram.
const DATAGRAM: usize = 1 << 16;

/// How long to pause when the kernel has no descriptor or memory for one more connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How long a TCP client may take to read the last messages.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// The queues of those clients of one socket that are there.
type Clients = Arc<Mutex<HashMap<SocketAddr, Arc<Queue>>>>;

/// Serves the clients of a UDP socket.
pub(super) async fn udp(socket: UdpSocket, shared: Arc<Shared>) {
    let (socket, clients) = (Arc::new(socket), Clients::default());
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a datagram was not received");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        // One message a datagram (RFC 8656 section 3.1); ChannelData may be padded, which a frame need not have.
        let Some(message) = messages(&buffer[..len]).next() else { continue };
        let known = clients.lock().expect("nobody panics with it").get(&from).cloned();
        match known {
            Some(queue) => queue.push(message.to_vec()),
            None => {
                // Data without an allocation has nowhere to go: clients begin with a request.
                if message.get(4..8) == Some(&MAGIC_COOKIE) && message[0] & 0xc0 == 0 {
                    admit(&socket, from, message.to_vec(), &clients, &shared);
                }
            }
        }
    }
}

fn admit(
    socket: &Arc<UdpSocket>,
    from: SocketAddr,
    message: Vec<u8>,
    clients: &Clients,
    shared: &Arc<Shared>,
) {
    let client = format!("udp {from}");
    let Ok(place) = shared.places.clone().try_acquire_owned() else {
        return shared.journal.refused(&client, shared.limits.clients);
    };
    let queue = Arc::new(Queue::new(Some(shared.pace.stale)));
    queue.push(message);
    clients.lock().expect("nobody panics with it").insert(from, queue.clone());
    let session = Session::new(shared.clone(), client, queue, Deliver::Udp(socket.clone(), from));
    let clients = clients.clone();
    tokio::spawn(async move {
        let session = session;
        session.run().await;
        clients.lock().expect("nobody panics with it").remove(&from);
        drop(place);
    });
}

/// Serves the clients of a TCP socket.
pub(super) async fn tcp(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let client = format!("tcp {from}");
        let Ok(place) = shared.places.clone().try_acquire_owned() else {
            shared.journal.refused(&client, shared.limits.clients);
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            tcp_client(stream, client, shared).await;
            drop(place);
        });
    }
}

async fn tcp_client(stream: TcpStream, client: String, shared: Arc<Shared>) {
    // Media is not to wait for more of it; without this it is only slower.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let (up, down) = (Arc::new(Queue::new(None)), Arc::new(Queue::new(None)));
    let session = Session::new(shared, client, up.clone(), Deliver::Tcp(down.clone()));
    let mut writer = tokio::spawn(write_messages(write, down.clone()));
    let reading = async {
        tokio::select! {
            () = read_messages(read, &up) => {}
            _ = &mut writer => {}
        }
        up.close();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = session.run() => {}
        () = reading => {}
    }
    // A client over TCP learns by the end of its connection that its allocation is gone.
    down.close();
    if !writer.is_finished() && timeout(LAST_MESSAGES, &mut writer).await.is_err() {
        writer.abort();
    }
}

/// Until the client ends the connection, or sends what is not TURN (RFC 8656 section 12.5).
async fn read_messages(mut stream: OwnedReadHalf, queue: &Queue) {
    let mut splitter = Splitter::default();
    loop {
        loop {
            match splitter.take() {
                Ok(Some(message)) => queue.push(message),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if !stream.read_buf(splitter.buffer()).await.is_ok_and(|len| len > 0) {
            return;
        }
    }
}

async fn write_messages(mut stream: OwnedWriteHalf, queue: Arc<Queue>) {
    while let Some(mut message) = queue.pop().await {
        message.resize(message.len() + padding(message.len()), 0);
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}
