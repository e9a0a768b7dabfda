//! Where connections wait that have not said yet what they are.
//!
//! There is a bound on their number. When it is reached, the one that has waited longest has to leave, so that slow or
//! silent clients, however many, do not keep others out; but nobody has to within its grace, and who comes to a lobby
//! full of such has to come again later. A client gets through a flood that is slower than a lobby full in that time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{Receiver, Sender, channel};
use tokio::time::sleep_until;

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// How long everybody may.
    grace: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came. Whoever's sender is dropped has to leave.
    seats: BTreeMap<u64, (Instant, Sender<()>)>,
}

/// A place to wait at, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    lobby: Arc<Lobby>,
    number: u64,
    called: Receiver<()>,
}

impl Lobby {
    /// Where everybody may wait for this long.
    pub(crate) fn new(grace: Duration) -> Arc<Self> {
        Arc::new(Self { grace, waiting: Mutex::default() })
    }

    /// A seat among `most`, or when to ask for one again.
    pub(crate) fn sit(self: &Arc<Self>, most: usize, now: Instant) -> Result<Seat, Instant> {
        let mut waiting = self.waiting();
        // More than one where there may be fewer than before.
        while waiting.seats.len() >= most
            && let Some(oldest) = waiting.seats.first_entry()
        {
            let end = oldest.get().0 + self.grace;
            if now < end {
                return Err(end);
            }
            oldest.remove();
        }
        let (sender, called) = channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.seats.insert(number, (now, sender));
        Ok(Seat { lobby: self.clone(), number, called })
    }

    /// A seat among `most`, as soon as there is one.
    pub(crate) async fn seat(self: &Arc<Self>, most: usize) -> Seat {
        loop {
            match self.sit(most, Instant::now()) {
                Ok(seat) => return seat,
                Err(again) => sleep_until(again.into()).await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns when somebody else is to have it.
    pub(crate) async fn is_taken(&mut self) {
        // Nobody sends: the channel ends.
        let _ = (&mut self.called).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lobby.waiting().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn who_has_waited_longest_makes_room_but_not_within_its_grace() {
        let lobby = Lobby::new(GRACE);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut first = lobby.sit(2, at(0)).unwrap();
        let mut second = lobby.sit(2, at(100)).unwrap();
        assert_eq!(lobby.sit(2, at(999)).unwrap_err(), at(1000));
        let _third = lobby.sit(2, at(1000)).unwrap();
        first.is_taken().await;
        assert!(
            second.called.try_recv().is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Empty)
        );
        // The seat is somebody else's: giving it back frees nothing.
        drop(first);
        assert_eq!(lobby.sit(2, at(1000)).unwrap_err(), at(1100));
        drop(second);
        let fourth = lobby.sit(2, at(1000)).unwrap();
        drop((fourth, _third));
        assert!(lobby.waiting().seats.is_empty());
    }

    #[test]
    fn where_fewer_may_wait_than_do_the_oldest_leave() {
        let lobby = Lobby::new(GRACE);
        let start = Instant::now();
        let _seats = [0; 4].map(|_| lobby.sit(4, start).unwrap());
        assert_eq!(lobby.sit(2, start).unwrap_err(), start + GRACE);
        let _next = lobby.sit(2, start + GRACE).unwrap();
        assert_eq!(lobby.waiting().seats.len(), 2);
    }

    #[tokio::test]
    async fn who_can_wait_gets_the_next_seat() {
        let lobby = Lobby::new(Duration::from_millis(50));
        let start = Instant::now();
        let mut first = lobby.seat(1).await;
        let _second = lobby.seat(1).await;
        assert!(start.elapsed() >= Duration::from_millis(50));
        first.is_taken().await;
    }
}
