//! A client over DTLS that is told each step.

use std::net::{SocketAddr, UdpSocket};

use turnpike::dtls::{Call, ToDo};

use super::bridge::any_socket;
use super::client::PATIENCE;

/// A call, and the socket that it goes by.
pub(crate) struct Caller {
    pub(crate) call: Call,
    pub(crate) socket: UdpSocket,
}

impl Caller {
    /// One that has said nothing yet.
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self::by(any_socket(server), server)
    }

    /// The same by a socket that is there.
    pub(crate) fn by(socket: UdpSocket, server: SocketAddr) -> Self {
        socket.connect(server).unwrap();
        Self { call: Call::new(PATIENCE).unwrap(), socket }
    }

    /// Goes on until the handshake is over.
    pub(crate) fn connect(&mut self) {
        while !self.call.is_connected() {
            match self.next() {
                ToDo::Send(datagram) => _ = self.socket.send(&datagram).unwrap(),
                ToDo::Connected => return,
                _ => self.receive(),
            }
        }
    }

    /// What there is to do next. Certificates are believed.
    pub(crate) fn next(&mut self) -> ToDo {
        loop {
            match self.call.poll() {
                ToDo::Certificate(_) => {}
                to_do => return to_do,
            }
        }
    }

    /// A message, encrypted.
    pub(crate) fn sealed(&mut self, message: &[u8]) -> Vec<u8> {
        self.call.say(message).unwrap();
        let ToDo::Send(datagram) = self.next() else { panic!("there is something to send") };
        datagram
    }

    /// What the server says next: a message, or that it ends the association.
    pub(crate) fn hear(&mut self) -> ToDo {
        loop {
            match self.next() {
                ToDo::Wait(_) => self.receive(),
                // The server may be gone.
                ToDo::Send(datagram) => drop(self.socket.send(&datagram)),
                to_do => return to_do,
            }
        }
    }

    /// Takes the next datagram of the server.
    pub(crate) fn receive(&mut self) {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).expect("a datagram of the server");
        self.call.receive(&buffer[..length]).unwrap();
    }
}
