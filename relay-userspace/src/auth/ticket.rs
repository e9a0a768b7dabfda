//! Mobility tickets that the server need not remember (RFC 8016): whoever holds the key can tell its own, and what they
//! say.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::base64;

/// Bytes of what a ticket says: shard, allocation, generation.
const PLAIN: usize = 12;

/// Bytes of the keyed hash. Guessing one takes 2^95 requests, and what it wins is a request that still needs the
/// password of the allocation's user.
const TAG: usize = 12;

/// Allocations are named by 48 bits: a million allocations a second reach the end of them in nine years.
const ALLOCATION_BYTES: usize = 6;

/// What a ticket says: nothing of the client, and nobody but its server can read it (RFC 8016 section 3.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The shard that holds the allocation.
    pub shard: u16,
    /// The allocation's name in that shard, below 2^48.
    pub allocation: u64,
    /// The place of this ticket among those of the allocation, from zero.
    pub generation: u32,
}

/// Makes and reads tickets: base64 of a keyed hash over what the ticket says, and of that hidden under a second keyed
/// hash, over the first. (Encryption with a synthetic initialisation vector, as RFC 5297 has it, made of the HMAC that is
/// here already: the tags of two tickets differ, so no two are hidden alike.)
///
/// Text of 32 characters, because `turnutils_uclient` keeps a ticket as a string of at most that length. All shards of a
/// server share the keys; a server that starts again has others and accepts no ticket of the old one, whose allocations
/// are gone.
#[derive(Clone)]
pub struct Tickets {
    tag: Hmac<Sha256>,
    hide: Hmac<Sha256>,
}

impl Tickets {
    /// From a random key; whoever knows it can make tickets.
    pub fn new(key: [u8; 32]) -> Self {
        let keyed =
            |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
        let derived = |label: &[u8]| {
            let mut mac = keyed(&key);
            mac.update(label);
            keyed(&mac.finalize().into_bytes())
        };
        Self { tag: derived(b"mobility ticket: tag"), hide: derived(b"mobility ticket: hide") }
    }

    /// The ticket as it goes to the client.
    pub fn seal(&self, ticket: Ticket) -> String {
        debug_assert!(ticket.allocation >> (8 * ALLOCATION_BYTES) == 0, "{ticket:?}");
        let mut plain = [0; PLAIN];
        plain[..2].copy_from_slice(&ticket.shard.to_be_bytes());
        plain[2..8].copy_from_slice(&ticket.allocation.to_be_bytes()[8 - ALLOCATION_BYTES..]);
        plain[8..].copy_from_slice(&ticket.generation.to_be_bytes());

        let mut bytes = [0; TAG + PLAIN];
        let tag = self.tag_of(&plain);
        bytes[..TAG].copy_from_slice(&tag);
        bytes[TAG..].copy_from_slice(&self.covered(&tag, plain));
        base64::encode(&bytes)
    }

    /// What a ticket says, if it is one of ours.
    pub fn open(&self, ticket: &[u8]) -> Option<Ticket> {
        let bytes: [u8; TAG + PLAIN] = base64::decode(ticket)?;
        let (tag, hidden) = bytes.split_first_chunk::<TAG>()?;
        let plain = self.covered(tag, hidden.try_into().ok()?);
        if !bool::from(self.tag_of(&plain).ct_eq(tag)) {
            return None;
        }
        let [s0, s1, a0, a1, a2, a3, a4, a5, g0, g1, g2, g3] = plain;
        Some(Ticket {
            shard: u16::from_be_bytes([s0, s1]),
            allocation: u64::from_be_bytes([0, 0, a0, a1, a2, a3, a4, a5]),
            generation: u32::from_be_bytes([g0, g1, g2, g3]),
        })
    }

    fn tag_of(&self, plain: &[u8; PLAIN]) -> [u8; TAG] {
        first(self.tag.clone(), plain)
    }

    /// Hides, and uncovers what is hidden.
    fn covered(&self, tag: &[u8; TAG], mut bytes: [u8; PLAIN]) -> [u8; PLAIN] {
        let mask: [u8; PLAIN] = first(self.hide.clone(), tag);
        bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        bytes
    }
}

/// The first bytes of a keyed hash.
fn first<const N: usize>(mut mac: Hmac<Sha256>, of: &[u8]) -> [u8; N] {
    mac.update(of);
    let hash = mac.finalize().into_bytes();
    std::array::from_fn(|i| hash[i])
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { shard: 3, allocation: 0x0102_0304_0506, generation: 7 };

    #[test]
    fn a_ticket_says_what_was_put_into_it() {
        let tickets = Tickets::new([7; 32]);
        let widest = Ticket { shard: u16::MAX, allocation: (1 << 48) - 1, generation: u32::MAX };
        for ticket in [TICKET, widest, Ticket { shard: 0, allocation: 0, generation: 0 }] {
            let text = tickets.seal(ticket);
            assert_eq!(tickets.open(text.as_bytes()), Some(ticket));
            assert_eq!(text.len(), 32);
            assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
        }
    }

    #[test]
    fn a_ticket_that_was_changed_anywhere_or_cut_is_not_ours() {
        let tickets = Tickets::new([7; 32]);
        let ticket = tickets.seal(TICKET).into_bytes();
        for i in 0..ticket.len() {
            for other in (0..=u8::MAX).filter(|&other| other != ticket[i]) {
                let mut forged = ticket.clone();
                forged[i] = other;
                assert_eq!(tickets.open(&forged), None, "byte {i} is {other}");
            }
            assert_eq!(tickets.open(&ticket[..i]), None);
        }
        assert_eq!(tickets.open(&[&ticket[..], b"AAAA"].concat()), None);
        assert_eq!(tickets.open(&[b'A'; 32]), None);
        assert_eq!(Tickets::new([8; 32]).open(&ticket), None, "another server's");
    }

    /// Neighbours differ in one bit of what they say, and in about half of the bits that are sent.
    #[test]
    fn a_ticket_shows_nothing_of_what_it_says() {
        let tickets = Tickets::new([7; 32]);
        let bits = |ticket| {
            let bytes: [u8; TAG + PLAIN] = base64::decode(tickets.seal(ticket).as_bytes()).unwrap();
            bytes
        };
        let differing = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        for generation in 0..100 {
            let [one, other] =
                [generation, generation ^ 1].map(|generation| bits(Ticket { generation, ..TICKET }));
            assert!((20..76).contains(&differing(&one[..TAG], &other[..TAG])));
            assert!((20..76).contains(&differing(&one[TAG..], &other[TAG..])));
        }
    }
}
