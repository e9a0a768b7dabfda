//! Nonces that the server need not remember: whoever holds the key can tell its own, and how old they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::base64;
use crate::time::Timestamp;

/// The longest life of a nonce; the shortest is half of it.
///
/// A nonce is good for one client address and port only, and a request replayed from there does nothing that its
/// client did not ask for itself, so there is little to win by a short life; each expiry costs every client a
/// 438 and another round trip. An hour keeps that away from most calls.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A nonce is good during the period it was made in and the next.
const PERIOD: Duration = Duration::from_secs(NONCE_LIFETIME.as_secs() / 2);

/// Bytes of the keyed hash that are sent: twelve characters. Guessing one takes 2^71 requests, and what it wins is a
/// request that still needs the password.
const TAG_LEN: usize = 9;

/// Makes and checks nonces: base64 of a keyed hash over the half hour and the client's address and port.
///
/// They are short because every 401 carries one and goes to whoever was named as the sender. All shards of a
/// server share the key. The `obMatJos2` of RFC 8489 section 9.2 with its flags may one day stand before the hash; no
/// nonce of today is long enough to look like it.
#[derive(Clone)]
pub struct Nonces {
    keyed: Hmac<Sha256>,
}

impl Nonces {
    /// From a random key; whoever knows it can make nonces.
    pub fn new(key: [u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of every length") }
    }

    /// A nonce for this client: twelve characters of printable ASCII.
    pub fn issue(&self, now: Timestamp, client: &SocketAddr) -> String {
        self.of_period(period(now), client)
    }

    /// Whether the nonce is ours, made for this client, and young enough. If not, the answer is 438: a forged one
    /// gets no other answer than a stale one (RFC 8489 section 9.2.4).
    pub fn is_valid(&self, nonce: &[u8], now: Timestamp, client: &SocketAddr) -> bool {
        let now = period(now);
        [Some(now), now.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| self.of_period(period, client).as_bytes().ct_eq(nonce).into())
    }

    fn of_period(&self, period: u64, client: &SocketAddr) -> String {
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut mac = self.keyed.clone();
        mac.update(&period.to_be_bytes());
        mac.update(&ip.octets());
        mac.update(&client.port().to_be_bytes());
        base64::encode(&mac.finalize().into_bytes()[..TAG_LEN])
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(..)")
    }
}

fn period(now: Timestamp) -> u64 {
    now.since(Timestamp(0)).as_secs() / PERIOD.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "198.51.100.7:40000";

    fn at(seconds: u64) -> Timestamp {
        Timestamp(0) + Duration::from_secs(seconds)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_half_an_hour_at_least_and_an_hour_at_most() {
        let nonces = Nonces::new([7; 32]);
        for issued in [0, 1, 1799, 1800, 100_000] {
            let nonce = nonces.issue(at(issued), &addr(CLIENT));
            let valid = |age| nonces.is_valid(nonce.as_bytes(), at(issued + age), &addr(CLIENT));
            assert!(valid(0) && valid(1800), "issued at {issued}");
            assert!(!valid(3600) && !valid(1_000_000), "issued at {issued}");
        }
    }

    #[test]
    fn a_nonce_is_good_for_its_client_only() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(at(5000), &addr(CLIENT));
        let valid = |client: &str| nonces.is_valid(nonce.as_bytes(), at(5000), &addr(client));
        assert!(valid(CLIENT));
        assert!(valid("[::ffff:198.51.100.7]:40000"), "the same client through a dual-stack socket");
        assert!(!valid("198.51.100.8:40000") && !valid("198.51.100.7:40001"));
    }

    #[test]
    fn a_nonce_cannot_be_predicted_without_the_key() {
        let client = addr(CLIENT);
        let nonce = Nonces::new([7; 32]).issue(at(0), &client);
        assert_ne!(nonce, Nonces::new([8; 32]).issue(at(0), &client));
        assert_ne!(nonce, Nonces::new([7; 32]).issue(at(1800), &client));
        assert!(!Nonces::new([8; 32]).is_valid(nonce.as_bytes(), at(0), &client));
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_not_valid() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(at(0), &addr(CLIENT));
        for i in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[i] ^= 1;
            assert!(!nonces.is_valid(&forged, at(0), &addr(CLIENT)));
            assert!(!nonces.is_valid(&nonce.as_bytes()[..i], at(0), &addr(CLIENT)));
        }
        assert!(!nonces.is_valid(&[0xff; 700], at(0), &addr(CLIENT)));
    }

    #[test]
    fn a_nonce_is_twelve_characters_of_printable_ascii() {
        let nonce = Nonces::new([1; 32]).issue(at(0), &addr("[2001:db8::1]:1"));
        assert_eq!(nonce.len(), 12);
        assert!(nonce.bytes().all(|b| b.is_ascii_graphic()));
    }
}
