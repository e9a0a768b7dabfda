//! Answers kept for retransmissions (RFC 8489 section 6.3.1), for the requests that are not the same when they are
//! carried out twice: a refused Allocate and what ends an allocation. The answer to a granted Allocate lies with its
//! allocation; the other requests, carried out again, give the same answer again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::types::FiveTuple;
use crate::time::Timestamp;

/// How long a client may go on retransmitting: RFC 8489 section 6.3.1 recommends 40 seconds.
const KEEP: Duration = Duration::from_secs(40);

/// Most answers kept, about 1 MiB of usual ones and 3 MiB at worst; the oldest go first. Only authenticated requests get here.
const MOST: usize = 4096;

/// Longest answer kept, in bytes. Longer is only a 420 to thousands of unknown attributes, which comes out the same when
/// it is asked for again; 4096 of these would take 128 MiB.
const LONGEST: usize = 512;

/// A request: where it came from, and a keyed digest of all its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct RequestKey {
    pub(super) five_tuple: FiveTuple,
    pub(super) digest: u64,
}

/// The last answers of a core.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_request: HashMap<RequestKey, Box<[u8]>>,
    /// Oldest first, with the time each is forgotten.
    order: VecDeque<(Timestamp, RequestKey)>,
}

impl Answers {
    pub(super) fn get(&self, request: &RequestKey) -> Option<&[u8]> {
        self.by_request.get(request).map(|answer| &**answer)
    }

    pub(super) fn insert(&mut self, now: Timestamp, request: RequestKey, answer: Box<[u8]>) {
        if answer.len() > LONGEST {
            return;
        }
        if self.order.len() == MOST {
            self.forget_oldest();
        }
        if self.by_request.insert(request, answer).is_none() {
            self.order.push_back((now + KEEP, request));
        }
    }

    /// Forgets what has been kept long enough.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            self.forget_oldest();
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.order.front().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn forget_oldest(&mut self) {
        if let Some((_, request)) = self.order.pop_front() {
            self.by_request.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::types::{ClientAddr, Transport};
    use super::*;

    #[test]
    fn the_oldest_answers_go_first_and_never_more_than_the_bound_are_kept() {
        let mut answers = Answers::default();
        let any = SocketAddr::from(([192, 0, 2, 1], 1));
        let key = |digest| RequestKey {
            five_tuple: FiveTuple { client: ClientAddr(any), listener: any, transport: Transport::Udp },
            digest,
        };
        for digest in 0..MOST as u64 + 10 {
            answers.insert(Timestamp(digest), key(digest), [1].into());
        }
        assert_eq!((answers.len(), answers.by_request.len()), (MOST, MOST));
        assert_eq!(answers.get(&key(9)), None);
        assert_eq!(answers.get(&key(10)), Some(&[1][..]));
        answers.expire(Timestamp(10) + KEEP);
        assert_eq!(answers.get(&key(10)), None);
        assert_eq!(answers.next_expiry(), Some(Timestamp(11) + KEEP));
    }
}
