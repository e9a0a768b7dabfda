//! Sending clients to another server: 300 Try Alternate (RFC 8489 section 10), always or while this server is drained.
//!
//! Only an authenticated Allocate request is redirected: RFC 8489 section 14.8 forbids a 300 to any other request and
//! wants it signed, because who can forge one leads clients where he likes. So a redirect costs the client one
//! challenge more, and this server one MAC; it stays stateless all the same.

use std::net::SocketAddr;

use rand::RngExt;

use super::core::Core;
use super::types::{ClientAddr, FiveTuple};
use crate::stun::{Builder, ErrorCode};

/// The servers that clients are sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alternate {
    /// Where they listen; clients are spread over those of their address family.
    pub servers: Vec<SocketAddr>,
    /// ALTERNATE-DOMAIN: the name in the servers' certificates (RFC 8489 section 14.16).
    pub domain: Option<String>,
    /// Whom it concerns.
    pub when: RedirectWhen,
}

/// When clients are sent away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RedirectWhen {
    /// Every client that wants to allocate.
    Always,
    /// Only while this server is drained.
    #[default]
    Draining,
}

impl Alternate {
    fn of_family(&self, is_v6: bool) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().copied().filter(move |server| server.is_ipv6() == is_v6)
    }
}

impl Core {
    /// Why a client gets no new allocation here: 300 when there is a server to name, which must be of the client's
    /// address family (RFC 8489 section 10). A client of a draining server that cannot be named one gets 508, upon
    /// which RFC 8656 section 7.4 has it leave this server alone for a minute.
    ///
    /// A client over TLS is never named one: it knows this server by the name in a certificate, and browsers that are
    /// sent elsewhere connect nowhere.
    pub(super) fn turned_away(&self, five_tuple: &FiveTuple) -> Option<ErrorCode> {
        let FiveTuple { client: ClientAddr(client), transport, .. } = *five_tuple;
        let draining = self.config.draining;
        let alternate = self.config.alternate.as_ref();
        let redirects = |a: &&Alternate| {
            !transport.is_encrypted()
                && (draining || a.when == RedirectWhen::Always)
                && a.of_family(client.is_ipv6()).next().is_some()
        };
        match alternate.filter(redirects) {
            Some(_) => Some(ErrorCode::TRY_ALTERNATE),
            None if draining => Some(ErrorCode::INSUFFICIENT_CAPACITY),
            None => None,
        }
    }

    /// Writes what a 300 must say: a server of the client's family, after it one of the other where there is one.
    pub(super) fn name_alternate(&mut self, ClientAddr(client): ClientAddr, answer: &mut Builder<'_>) {
        let Some(alternate) = &self.config.alternate else { return };
        for is_v6 in [client.is_ipv6(), client.is_ipv4()] {
            let count = alternate.of_family(is_v6).count();
            if count > 0 {
                let server = alternate.of_family(is_v6).nth(self.rng.random_range(0..count));
                answer.alternate_server(server.expect("one of so many"));
            }
        }
        if let Some(domain) = &alternate.domain {
            answer.alternate_domain(domain);
        }
    }
}
