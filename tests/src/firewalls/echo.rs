//! The machine elsewhere: what arrives there goes back, from any of its ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lab::Host;

/// The UDP port to which clients relay; so is the next one, for those who use ports in pairs.
pub(super) const PEER: u16 = 40_000;

/// Two UDP ports that answer with the address that they were asked from.
pub(super) const MIRRORS: [u16; 2] = [41_001, 41_002];

const UDP: [u16; 5] = [53, 443, 3478, PEER, PEER + 1];
const TCP: [u16; 4] = [53, 80, 443, 3478];

/// After how long a thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);

/// The threads of all these ports, until dropped.
#[derive(Debug)]
pub(super) struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    pub(super) fn start(host: &Host) -> Self {
        let mut echo = Self { stop: Arc::default(), threads: Vec::new() };
        for port in UDP {
            echo.udp(host.udp(port), |data, _| data.to_vec());
        }
        for port in MIRRORS {
            echo.udp(host.udp(port), |_, from| from.to_string().into_bytes());
        }
        for port in TCP {
            let at = host.at(port);
            let listener = host.enter(|| TcpListener::bind(at)).expect("a free port");
            listener.set_nonblocking(true).expect("a setting of the socket");
            echo.tcp(listener);
        }
        echo
    }

    fn udp(
        &mut self,
        socket: UdpSocket,
        answer: impl Fn(&[u8], std::net::SocketAddr) -> Vec<u8> + Send + 'static,
    ) {
        socket.set_read_timeout(Some(TICK)).expect("a time limit");
        let stop = self.stop.clone();
        self.threads.push(thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer(&buffer[..length], from), from);
                }
            }
        }));
    }

    fn tcp(&mut self, listener: TcpListener) {
        let stop = self.stop.clone();
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let stop = stop.clone();
                        thread::spawn(move || echo(stream, &stop));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        }));
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    if stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(TICK))).is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if stream.write_all(&buffer[..length]).is_err() => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
