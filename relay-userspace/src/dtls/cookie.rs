//! Cookies: proof that a client receives what is sent to its address, kept by the client and not by us (RFC 6347 section
//! 4.2.1).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::hello::Hello;
use crate::time::Timestamp;

/// Bytes of a cookie.
pub(super) const LENGTH: usize = 32;

/// A cookie.
pub(crate) type Cookie = [u8; LENGTH];

/// How long a key is used. A cookie is good for once to twice as long: a client answers at once.
const ROTATION: Duration = Duration::from_secs(30);

/// What the keys of cookies are made of. All shards of a server have the same.
#[derive(Clone)]
pub(crate) struct CookieKeys([u8; 32]);

impl CookieKeys {
    /// `seed` is from the system's random numbers.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The cookie for a hello from this client to this listener.
    pub(crate) fn give(
        &self,
        now: Timestamp,
        client: SocketAddr,
        at: SocketAddr,
        hello: &Hello<'_>,
    ) -> Cookie {
        self.of(rotation(now), client, at, hello)
    }

    /// The cookie that a hello brings, if it is one that was given to this client for such a hello not long ago.
    pub(crate) fn check(
        &self,
        now: Timestamp,
        client: SocketAddr,
        at: SocketAddr,
        hello: &Hello<'_>,
    ) -> Option<Cookie> {
        let brought = Cookie::try_from(hello.cookie).ok()?;
        let rotation = rotation(now);
        let good = |rotation| bool::from(self.of(rotation, client, at, hello).ct_eq(&brought));
        (good(rotation) || good(rotation.wrapping_sub(1))).then_some(brought)
    }

    fn of(&self, rotation: u64, client: SocketAddr, at: SocketAddr, hello: &Hello<'_>) -> Cookie {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.update(&rotation.to_be_bytes());
        for address in [client, at] {
            match address.ip() {
                IpAddr::V4(v4) => mac.update(&v4.to_ipv6_mapped().octets()),
                IpAddr::V6(v6) => mac.update(&v6.octets()),
            }
            mac.update(&address.port().to_be_bytes());
        }
        // A client says the same of these again: version, random, session and suites.
        let [before, after] = hello.said_again();
        mac.update(&(before.len() as u32).to_be_bytes());
        mac.update(before);
        mac.update(after);
        mac.finalize().into_bytes().into()
    }
}

fn rotation(now: Timestamp) -> u64 {
    now.0 / ROTATION.as_nanos() as u64
}
