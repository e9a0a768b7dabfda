//! Media under way while something happens.

use std::thread;
use std::time::{Duration, Instant};

use turnpike_tests::lab::receive;

use crate::common::{CHANNEL, Call};

/// Packets of each direction in a second.
pub(crate) const RATE: u32 = 200;

/// How many packets were sent each way, and how many of them did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) sent: u32,
    pub(crate) lost_to_peer: u32,
    pub(crate) lost_to_client: u32,
}

/// Sends [`RATE`] packets a second each way for four seconds; after the second one `change` comes.
pub(crate) fn stream(call: &mut Call, change: impl FnOnce() + Send) -> Stream {
    const LENGTH: Duration = Duration::from_secs(4);
    const AFTERWARDS: Duration = Duration::from_millis(500);
    let without_waiting = |call: &Call, yes| {
        let set = call.client.socket().set_nonblocking(yes).and_then(|()| call.peer.set_nonblocking(yes));
        set.expect("a setting of the sockets");
    };
    without_waiting(call, true);
    let (mut sent, mut at_peer, mut at_client) = (0, 0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(LENGTH / 2);
            change();
        });
        let start = Instant::now();
        while start.elapsed() < LENGTH + AFTERWARDS {
            let due = (start.elapsed().min(LENGTH).as_secs_f64() * f64::from(RATE)) as u32;
            while sent < due {
                call.client.send(CHANNEL, &sent.to_be_bytes());
                // The peer's own gateway may be the one that fails.
                let _ = call.peer.send_to(&sent.to_be_bytes(), call.relayed);
                sent += 1;
            }
            while receive(&call.peer, AFTERWARDS).is_some() {
                at_peer += 1;
            }
            while call.client.receive(AFTERWARDS).is_some() {
                at_client += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    without_waiting(call, false);
    Stream { sent, lost_to_peer: sent - at_peer, lost_to_client: sent - at_client }
}
