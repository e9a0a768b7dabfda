//! DTLS for a client that speaks plain UDP: a thread in between that encrypts what passes.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use turnpike::dtls::{Call, CallFailed, Identity, ToDo};
use turnpike::net::{DtlsConfig, DtlsDoor, Place, Server};

use super::client::PATIENCE;

/// Lets everybody in, or nobody, with one certificate.
pub(crate) struct Door {
    identity: Arc<Identity>,
    pub(crate) is_open: AtomicBool,
}

impl Door {
    pub(crate) fn new() -> Arc<Self> {
        let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).unwrap();
        let (certificate, key) = (own.cert.der().to_vec(), own.signing_key.serialize_der());
        Arc::new(Self { identity: Arc::new(Identity { certificate, key }), is_open: true.into() })
    }
}

impl DtlsDoor for Door {
    fn admit(&self, _: std::net::IpAddr) -> Option<Place> {
        self.is_open.load(Ordering::Relaxed).then(Place::default)
    }

    fn identity(&self, _: Option<&str>) -> Option<Arc<Identity>> {
        Some(self.identity.clone())
    }
}

/// Has a server listen for DTLS where it listens for UDP, at other ports.
pub(crate) fn serve(server: &Server, door: &Arc<Door>) -> Vec<SocketAddr> {
    let listeners = server.listeners().iter().map(|listener| SocketAddr::new(listener.ip(), 0)).collect();
    server.serve_dtls(&DtlsConfig { listeners, door: door.clone() }).unwrap()
}

/// What becomes of datagrams between the bridge and the server, counted from zero; `false`: it is lost.
pub(crate) type Fate = fn(usize) -> bool;

/// A bridge. Dropped, it ends the association in order.
pub(crate) struct Bridge {
    /// Where the client is to send to.
    pub(crate) address: SocketAddr,
    connected: Receiver<Result<(), CallFailed>>,
    stop: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self::with(any_socket(server), server, |_| true, |_| true)
    }

    /// By this socket, losing some of what goes out and comes in.
    pub(crate) fn with(out: UdpSocket, server: SocketAddr, goes: Fate, comes: Fate) -> Self {
        let inside = any_socket(server);
        let (address, stop) = (inside.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        out.connect(server).unwrap();
        for socket in [&inside, &out] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        }
        let (tell, connected) = channel();
        let silent = Arc::new(AtomicBool::new(false));
        let until = (stop.clone(), silent.clone());
        let thread = thread::spawn(move || carry(&inside, &out, (goes, comes), &until, &tell));
        Self { address, connected, stop, silent, thread: Some(thread) }
    }

    /// Forgets everything without a word to the server.
    pub(crate) fn abandon(self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Waits for the handshake.
    pub(crate) fn connected(&self) -> Result<(), CallFailed> {
        self.connected.recv_timeout(2 * PATIENCE).expect("a handshake ends")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().expect("joined once").join();
    }
}

/// A socket of the server's family on the loopback.
pub(crate) fn any_socket(server: SocketAddr) -> UdpSocket {
    super::client::socket_at(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" })
}

fn carry(
    inside: &UdpSocket,
    out: &UdpSocket,
    (goes, comes): (Fate, Fate),
    (stop, silent): &(Arc<AtomicBool>, Arc<AtomicBool>),
    tell: &Sender<Result<(), CallFailed>>,
) {
    let mut call = Call::new(PATIENCE).unwrap();
    let (mut client, mut sent, mut came) = (None, 0, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let wait = loop {
            match call.poll() {
                ToDo::Send(datagram) => {
                    if goes(sent) {
                        // Nobody may listen there.
                        let _ = out.send(&datagram);
                    }
                    sent += 1;
                }
                ToDo::Heard(message) => _ = inside.send_to(&message, client.expect("a client asked")),
                ToDo::Connected => _ = tell.send(Ok(())),
                ToDo::Closed => stop.store(true, Ordering::Relaxed),
                ToDo::Certificate(_) => {}
                ToDo::Wait(at) => break at,
            }
        };
        if stop.load(Ordering::Relaxed) {
            if silent.load(Ordering::Relaxed) {
                return;
            }
            call.close();
            while let ToDo::Send(datagram) = call.poll() {
                let _ = out.send(&datagram);
            }
            return;
        }
        let mut outcome = Ok(());
        match out.recv(&mut buffer) {
            Ok(length) => {
                if comes(came) {
                    outcome = call.receive(&buffer[..length]);
                }
                came += 1;
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::ConnectionRefused].contains(&error.kind()) => {}
            Err(error) => panic!("{error}"),
        }
        if let Ok((length, from)) = inside.recv_from(&mut buffer) {
            client = Some(from);
            call.say(&buffer[..length]).unwrap();
        }
        if Instant::now() >= wait {
            outcome = outcome.and_then(|()| call.pass_time());
        }
        if let Err(failed) = outcome {
            let _ = tell.send(Err(failed));
            return;
        }
    }
}
