//! Where connections wait that have not said yet what they are.
//!
//! There is a bound on their number. When it is reached, the one that has waited longest has to leave, so that slow or
//! silent clients, however many, do not keep others out; but nobody has to within the first second, and who comes to a lobby
//! full of such is turned away. A client gets through a flood that is slower than a lobby full in each second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{Receiver, Sender, channel};

/// How long everybody may wait.
const GRACE: Duration = Duration::from_secs(1);

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Lobby(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came. Whoever's sender is dropped has to leave.
    seats: BTreeMap<u64, (Instant, Sender<()>)>,
}

/// A place to wait at, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    lobby: Arc<Lobby>,
    number: u64,
    called: Receiver<()>,
}

impl Lobby {
    /// A seat among `most`, or nothing.
    pub(super) fn sit(self: &Arc<Self>, most: u32, now: Instant) -> Option<Seat> {
        let mut waiting = self.waiting();
        if waiting.seats.len() >= most as usize {
            let oldest = waiting.seats.first_entry()?;
            if now.saturating_duration_since(oldest.get().0) < GRACE {
                return None;
            }
            oldest.remove();
        }
        let (sender, called) = channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.seats.insert(number, (now, sender));
        Some(Seat { lobby: self.clone(), number, called })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns when somebody else is to have it.
    pub(super) async fn is_taken(&mut self) {
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

    #[tokio::test]
    async fn who_has_waited_longest_makes_room_but_not_within_a_second() {
        let lobby = Arc::new(Lobby::default());
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut first = lobby.sit(2, at(0)).unwrap();
        let mut second = lobby.sit(2, at(100)).unwrap();
        assert!(lobby.sit(2, at(999)).is_none());
        let _third = lobby.sit(2, at(1000)).unwrap();
        first.is_taken().await;
        assert!(
            second.called.try_recv().is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Empty)
        );
        // The seat is somebody else's: giving it back frees nothing.
        drop(first);
        assert!(lobby.sit(2, at(1000)).is_none());
        drop(second);
        let fourth = lobby.sit(2, at(1000)).unwrap();
        drop((fourth, _third));
        assert!(lobby.waiting().seats.is_empty());
    }
}
