//! The rows of the table METERS, handed out to allocations and users.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use relay_common::meter::{ROW_WORDS, Row};

use crate::numbers::Numbers;
use crate::shared_words::SharedWords;
use crate::time::Timestamp;

/// Rows unless told otherwise.
const DEFAULT_ROWS: u32 = 1 << 15;

/// All meters of a server: in the table that XDP counts in, where there is one. Locked when allocations and users come and
/// go, never for a packet.
#[derive(Debug)]
pub struct MeterBank {
    /// The table, or none: then each meter has memory of its own.
    table: Option<SharedWords>,
    free: Mutex<Free>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Free {
    numbers: Numbers,
    /// Given back since a number was last taken, which is when they begin to rest.
    returned: Vec<u32>,
    held: usize,
}

/// How full the bank is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BankOccupancy {
    /// Meters of living allocations and of users, who are remembered until nothing is owed.
    pub held: usize,
    /// Meters made since the start for which there was no row: XDP cannot count by them.
    pub refused: u64,
}

impl MeterBank {
    /// The rows for a table of so many bindings: 4 MiB for the 131,072 of the default. An allocation that has none of them
    /// has at least one binding, and most have several.
    pub fn rows_for(bindings: u32) -> u32 {
        (bindings / 4).clamp(1 << 10, 1 << 24)
    }

    /// The bank of a table, all zeros.
    pub fn of_table(table: SharedWords) -> Self {
        let rows = (table.len() / ROW_WORDS) as u32;
        Self::new(Some(table), rows)
    }

    /// A bank of so many meters that no XDP program counts by.
    pub fn private(rows: u32) -> Self {
        Self::new(None, rows)
    }

    fn new(table: Option<SharedWords>, rows: u32) -> Self {
        // Row 0 limits nothing.
        let free = Free { numbers: Numbers::new(1..rows), returned: Vec::new(), held: 0 };
        Self { table, free: Mutex::new(free), refused: AtomicU64::new(0) }
    }

    /// How full it is.
    pub fn occupancy(&self) -> BankOccupancy {
        BankOccupancy { held: self.free().held, refused: self.refused.load(Ordering::Relaxed) }
    }

    /// A meter that limits nothing yet. It has no number when all rows are held or resting.
    pub(crate) fn take(self: &Arc<Self>, now: Timestamp) -> Meter {
        let number = {
            let mut free = self.free();
            for number in std::mem::take(&mut free.returned) {
                free.numbers.give_back(number, now);
            }
            let number = free.numbers.take(now);
            free.held += usize::from(number.is_some());
            number
        };
        let Some(number) = number else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Meter { number: 0, own: Some(Box::default()), bank: Arc::clone(self) };
        };
        let own = self.table.is_none().then(Box::default);
        let meter = Meter { number, own, bank: Arc::clone(self) };
        meter.row().clear();
        meter
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MeterBank {
    fn default() -> Self {
        Self::private(DEFAULT_ROWS)
    }
}

/// A meter of one holder. On drop its row goes back, and rests before another gets it.
#[derive(Debug)]
pub(crate) struct Meter {
    number: u32,
    /// Where the bank has no table, or no room.
    own: Option<Box<Row>>,
    bank: Arc<MeterBank>,
}

impl Meter {
    /// By which XDP knows it; 0 for not at all.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn row(&self) -> &Row {
        match (&self.own, &self.bank.table) {
            (Some(own), _) => own,
            (None, Some(table)) => {
                let words = &table[self.number as usize * ROW_WORDS..][..ROW_WORDS];
                Row::of_words(words.try_into().expect("as long as a row"))
            }
            (None, None) => unreachable!("a meter is in memory of its own or in the table"),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.number != 0 {
            let mut free = self.bank.free();
            free.returned.push(self.number);
            free.held -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::numbers::REST;
    use crate::policy::Rate;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    #[test]
    fn a_row_is_one_holders_and_rests_before_the_next_gets_it_empty() {
        let table = SharedWords::private(3 * size_of::<Row>()).unwrap();
        let bank = Arc::new(MeterBank::of_table(table));
        let (first, second) = (bank.take(START), bank.take(START));
        assert_eq!((first.number(), second.number()), (1, 2));
        let line = &first.row().to_peer;
        line.packets.set(Rate::new(1, Duration::from_secs(1), 1).limit());
        first.row().set_parent(2);
        assert!(line.take(START.0, 10) && !line.take(START.0, 10));
        assert!(second.row().to_peer.take(START.0, 10), "a row of its own");

        let third = bank.take(START);
        assert_eq!((third.number(), bank.occupancy()), (0, BankOccupancy { held: 2, refused: 1 }));
        third.row().to_peer.packets.set(Rate::new(1, Duration::from_secs(1), 1).limit());
        assert!(third.row().to_peer.take(START.0, 10), "what has no row works all the same");
        assert!(!third.row().to_peer.take(START.0, 10));

        drop(first);
        let later = START + Duration::from_secs(60);
        assert_eq!(bank.take(later).number(), 0, "it begins to rest when the bank is next looked at");
        let again = bank.take(later + REST);
        assert_eq!((again.number(), again.row().to_peer.parent()), (1, 0));
        assert!((0..5).all(|_| again.row().to_peer.take(START.0, 10)), "nothing is left of the last holder");
        drop((second, third, again));
        assert_eq!(bank.occupancy().held, 0);
    }

    #[test]
    fn there_is_a_meter_for_each_allocation_of_a_large_server() {
        assert_eq!(MeterBank::rows_for(crate::datapath::DEFAULT_BINDINGS), DEFAULT_ROWS);
        assert!(MeterBank::rows_for(1_000_000) > 200_000);
        assert_eq!(MeterBank::rows_for(1), 1_024);
    }
}
