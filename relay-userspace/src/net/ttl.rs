//! The TTL or hop limit of a relayed transport address's socket.
//!
//! A control message for each datagram costs 3 to 5 % of what relaying it does. A client's datagrams nearly always come with
//! the same TTL, and whatever a relayed transport address sends is that client's: so the socket itself is set to a TTL
//! that stays, and only datagrams with another one say so.

use std::cell::Cell;
use std::net::UdpSocket;

use super::sockets;

/// What a socket is set to, and what it was last asked for.
#[derive(Default)]
pub(super) struct SteadyTtl {
    set: Cell<Option<u8>>,
    last: Cell<Option<u8>>,
}

impl SteadyTtl {
    /// Notes that a call begins with a datagram of this TTL. Returns what the socket is set to; `None` is the host's default.
    /// A TTL that comes twice in a row is set, so that one that keeps changing costs no system call.
    pub(super) fn follow(&self, socket: &UdpSocket, ipv6: bool, ttl: u8) -> Option<u8> {
        let stays = self.last.replace(Some(ttl)) == Some(ttl);
        if stays && self.set.get() != Some(ttl) && sockets::set_ttl(socket, ipv6, ttl).is_ok() {
            self.set.set(Some(ttl));
        }
        self.set.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_set_to_what_comes_twice_in_a_row() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let steady = SteadyTtl::default();
        for (ttl, set) in [(9, None), (8, None), (9, None), (9, Some(9)), (8, Some(9)), (9, Some(9))] {
            assert_eq!(steady.follow(&socket, false, ttl), set);
        }
        assert_eq!(socket.ttl().unwrap(), 9);
        assert_eq!([7, 7].map(|ttl| steady.follow(&socket, false, ttl)), [Some(9), Some(7)]);
        assert_eq!(socket.ttl().unwrap(), 7);
    }
}
