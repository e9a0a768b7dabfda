//! Nonces that the server need not remember: whoever holds the key can tell its own, and how old they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::base64;
use super::offer::Offer;
use crate::time::Timestamp;

/// The longest life of a nonce; the shortest is half of it.
///
/// A nonce is good for one client address and port only, and a request replayed from there does nothing that its
/// client did not ask for itself, so there is little to win by a short life; each expiry costs every client a
/// 438 and another round trip. An hour keeps that away from most calls.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A nonce is good during the period it was made in and the next.
const PERIOD: Duration = Duration::from_secs(NONCE_LIFETIME.as_secs() / 2);

/// Bytes of the keyed hash that are sent: twelve characters, or eleven after the thirteen of the cookie and the feature
/// bits, so that no padding follows either. Guessing one takes 2^65 requests, and what it wins is a request that still
/// needs the password.
const TAG_LEN: usize = 9;

/// Makes and checks nonces: the cookie and feature bits of the realm's offer, if it has any, and base64 of a keyed hash
/// over the half hour, the client's address and port, and the whole offer. So no bit of what was offered can be changed
/// in a nonce, and one that was made for another offer is stale, also after the configuration changed.
///
/// They are short because every 401 carries one and goes to whoever was named as the sender. All shards of a
/// server share the key. Twelve characters are too few to look like the cookie with its bits.
#[derive(Clone)]
pub struct Nonces {
    keyed: Hmac<Sha256>,
}

impl Nonces {
    /// From a random key; whoever knows it can make nonces.
    pub fn new(key: [u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of every length") }
    }

    /// A nonce for this client and offer: 12 or 24 characters of printable ASCII.
    pub fn issue(&self, now: Timestamp, client: &SocketAddr, offer: &Offer) -> String {
        self.of_period(period(now), client, offer)
    }

    /// Whether the nonce is ours, made for this client and offer, and young enough. If not, the answer is 438: a forged one
    /// gets no other answer than a stale one (RFC 8489 section 9.2.4).
    pub fn is_valid(&self, nonce: &[u8], now: Timestamp, client: &SocketAddr, offer: &Offer) -> bool {
        let now = period(now);
        [Some(now), now.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| self.of_period(period, client, offer).as_bytes().ct_eq(nonce).into())
    }

    fn of_period(&self, period: u64, client: &SocketAddr, offer: &Offer) -> String {
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut mac = self.keyed.clone();
        mac.update(&period.to_be_bytes());
        mac.update(&ip.octets());
        mac.update(&client.port().to_be_bytes());
        let prefix = offer.nonce_prefix();
        mac.update(prefix.as_bytes());
        mac.update(offer.password_algorithms().unwrap_or_default());
        let mut nonce = format!("{prefix}{}", base64::encode(&mac.finalize().into_bytes()[..TAG_LEN]));
        nonce.truncate(nonce.len() / 4 * 4);
        nonce
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
    use crate::stun::PasswordAlgorithm::{Md5, Sha256};

    const CLIENT: &str = "198.51.100.7:40000";

    fn at(seconds: u64) -> Timestamp {
        Timestamp(0) + Duration::from_secs(seconds)
    }

    fn offer() -> Offer {
        Offer::new(vec![Sha256, Md5], true)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_half_an_hour_at_least_and_an_hour_at_most() {
        let nonces = Nonces::new([7; 32]);
        for issued in [0, 1, 1799, 1800, 100_000] {
            let nonce = nonces.issue(at(issued), &addr(CLIENT), &offer());
            let valid = |age| nonces.is_valid(nonce.as_bytes(), at(issued + age), &addr(CLIENT), &offer());
            assert!(valid(0) && valid(1800), "issued at {issued}");
            assert!(!valid(3600) && !valid(1_000_000), "issued at {issued}");
        }
    }

    #[test]
    fn a_nonce_is_good_for_its_client_only() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(at(5000), &addr(CLIENT), &offer());
        let valid = |client: &str| nonces.is_valid(nonce.as_bytes(), at(5000), &addr(client), &offer());
        assert!(valid(CLIENT));
        assert!(valid("[::ffff:198.51.100.7]:40000"), "the same client through a dual-stack socket");
        assert!(!valid("198.51.100.8:40000") && !valid("198.51.100.7:40001"));
    }

    #[test]
    fn a_nonce_cannot_be_predicted_without_the_key() {
        let client = addr(CLIENT);
        let nonce = Nonces::new([7; 32]).issue(at(0), &client, &offer());
        assert_ne!(nonce, Nonces::new([8; 32]).issue(at(0), &client, &offer()));
        assert_ne!(nonce, Nonces::new([7; 32]).issue(at(1800), &client, &offer()));
        assert!(!Nonces::new([8; 32]).is_valid(nonce.as_bytes(), at(0), &client, &offer()));
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_not_valid() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.issue(at(0), &addr(CLIENT), &offer());
        for i in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[i] ^= 1;
            assert!(!nonces.is_valid(&forged, at(0), &addr(CLIENT), &offer()));
            assert!(!nonces.is_valid(&nonce.as_bytes()[..i], at(0), &addr(CLIENT), &offer()));
        }
        assert!(!nonces.is_valid(&[0xff; 700], at(0), &addr(CLIENT), &offer()));
    }

    #[test]
    fn a_nonce_is_good_for_its_offer_only() {
        let (nonces, client) = (Nonces::new([7; 32]), addr(CLIENT));
        let offers = [
            Offer::new(vec![Md5], false),
            Offer::new(vec![Md5], true),
            Offer::new(vec![Sha256], true),
            Offer::new(vec![Sha256, Md5], true),
            Offer::new(vec![Md5, Sha256], true),
            Offer::new(vec![Sha256, Md5], false),
        ];
        for made in &offers {
            let nonce = nonces.issue(at(0), &client, made);
            for asked in &offers {
                assert_eq!(nonces.is_valid(nonce.as_bytes(), at(0), &client, asked), made == asked);
            }
        }
    }

    /// RFC 8489 sections 9.2 and 18.1: the cookie, then 24 bits of which the highest comes first.
    #[test]
    fn a_nonce_begins_with_the_cookie_and_the_bits_of_its_offer_and_has_no_padding() {
        let nonce = |algorithms: &[_], anonymity| {
            let offer = Offer::new(algorithms.to_vec(), anonymity);
            Nonces::new([1; 32]).issue(at(0), &addr("[2001:db8::1]:1"), &offer)
        };
        for (nonce, start) in [
            (nonce(&[Sha256, Md5], true), "obMatJos2wAAA"),
            (nonce(&[Sha256, Md5], false), "obMatJos2gAAA"),
            (nonce(&[Sha256], false), "obMatJos2gAAA"),
            (nonce(&[Md5], true), "obMatJos2QAAA"),
        ] {
            assert!(nonce.starts_with(start), "{nonce}");
            assert_eq!(nonce.len(), 24);
            assert!(nonce.bytes().all(|b| b.is_ascii_graphic()));
        }
        let plain = nonce(&[Md5], false);
        assert_eq!(plain.len(), 12);
        assert!(plain.bytes().all(|b| b.is_ascii_graphic()));
    }
}
