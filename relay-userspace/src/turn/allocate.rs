//! Allocate (RFC 8656 section 7): from the request, over the opening of a relayed transport address, to the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::accounts::{Account, Quotas};
use super::allocations::Allocation;
use super::core::Core;
use super::io::{Event, Output, Outputs, RelayRefused};
use super::metering::Metered;
use super::ports::Want;
use super::refresh::granted_lifetime;
use super::request::{Caller, Refusal, Request};
use super::reservations::{self, Reservation, Token};
use super::sorted_map::SortedMap;
use super::timers::Timer;
use super::types::{AllocationId, FiveTuple, RelayAddr};
use crate::policy::Bucket;
use crate::stun::{AddressFamily, ErrorCode, Key, Message};

/// UDP in REQUESTED-TRANSPORT (RFC 8656 section 18.8).
const UDP: u8 = 17;

/// How many ports are tried before the client is told 508. One that another program holds is rare; many in a row
/// mean that the range is not ours, and each try may cost a system call.
const TRIES: u32 = 8;

/// How long a port that another program held is left alone.
const FOREIGN_PORT_REST: Duration = Duration::from_secs(60);

/// An Allocate request that waits for its relayed transport address. It holds its ports and places in the quota.
#[derive(Debug)]
pub(super) struct Opening {
    five_tuple: FiveTuple,
    /// The request's bytes, and what [`Caller`] says about them.
    request: Box<[u8]>,
    digest: u64,
    key: Option<Key>,
    username: Box<str>,
    account: Arc<Account>,
    lifetime: Duration,
    relayed: RelayAddr,
    port: Port,
    tries: u32,
}

/// Where the relayed port comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Port {
    Pool(Want),
    Reservation,
}

impl Opening {
    /// Whom to answer.
    fn caller(&self) -> Caller<'_> {
        Caller {
            five_tuple: self.five_tuple,
            message: Message::parse(&self.request).expect("it was read before"),
            digest: self.digest,
            key: self.key.clone(),
        }
    }

    /// Places held in the quota: a port reserved along counts like an allocation, or reservations would be a way
    /// around the quota.
    fn places(&self) -> u32 {
        self.port.places()
    }
}

impl Port {
    fn places(self) -> u32 {
        if self == Port::Pool(Want::Pair) { 2 } else { 1 }
    }
}

/// What the client asks for.
struct Wish {
    ipv6: bool,
    want: Want,
    token: Option<Token>,
    lifetime: Option<Duration>,
}

impl Core {
    /// Checks the request in the order of RFC 8656 section 7.2 and asks for a relayed transport address.
    pub(super) fn allocate(&mut self, request: &Request<'_>, out: &mut Outputs) -> Result<(), Refusal> {
        if self.allocations.of_client(&request.caller.five_tuple).is_some() {
            return Err(ErrorCode::ALLOCATION_MISMATCH.into());
        }
        let wish = read_wish(&request.caller.message)?;
        let served = self.config.relay_addresses.iter().any(|a| a.local.is_ipv6() == wish.ipv6);
        if wish.token.is_none() && !served {
            return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED.into());
        }

        let (relayed, account, port) = match wish.token {
            Some(token) => {
                let Reservation { relayed, account } = self.claim_reserved(&token, request.account)?;
                (relayed, account, Port::Reservation)
            }
            None => {
                let (relayed, account) = self.claim_free(&wish, request.account)?;
                (relayed, account, Port::Pool(wish.want))
            }
        };
        let opening = Opening {
            five_tuple: request.caller.five_tuple,
            request: request.caller.message.as_bytes().into(),
            digest: request.caller.digest,
            key: request.caller.key.clone(),
            username: request.username.into(),
            account,
            lifetime: granted_lifetime(wish.lifetime, self.config.max_lifetime),
            relayed,
            port,
            tries: 1,
        };
        let id = AllocationId(self.next_allocation);
        self.next_allocation += 1;
        self.ask_to_open(id, opening, out);
        Ok(())
    }

    /// The driver's word on the address asked for.
    pub(super) fn relay_opened(
        &mut self,
        id: AllocationId,
        outcome: Result<(), RelayRefused>,
        out: &mut Outputs,
    ) {
        let Some(mut opening) = self.opening.remove(&id) else { return };
        let refused = match outcome {
            Ok(()) => return self.allocated(id, opening, out),
            Err(refused) => refused,
        };

        if let (Some(next), Port::Pool(Want::Pair)) = (successor(opening.relayed), opening.port) {
            self.shared.ports.release(next);
        }
        match refused {
            RelayRefused::InUse => {
                self.timers.start(self.now + FOREIGN_PORT_REST, Timer::ForeignPort(opening.relayed));
            }
            RelayRefused::NoResources => self.shared.ports.release(opening.relayed),
        }
        if let (RelayRefused::InUse, Port::Pool(want)) = (refused, opening.port)
            && opening.tries < TRIES
            && let Some(other) = self.shared.ports.claim(opening.relayed.0.is_ipv6(), want, &mut self.rng)
        {
            opening.relayed = other;
            opening.tries += 1;
            return self.ask_to_open(id, opening, out);
        }
        self.shared.accounts.give_back(&opening.account, opening.places(), self.now);
        self.refuse(&opening.caller(), ErrorCode::INSUFFICIENT_CAPACITY, out);
    }

    fn ask_to_open(&mut self, allocation: AllocationId, opening: Opening, out: &mut Outputs) {
        out.items.push(Output::OpenRelay { allocation, relayed: opening.relayed });
        self.opening.insert(allocation, opening);
    }

    fn claim_reserved(&self, token: &Token, user: &str) -> Result<Reservation, Refusal> {
        let reservation = self.shared.reservations.claim(token, user);
        Ok(reservation.ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?)
    }

    fn claim_free(&mut self, wish: &Wish, user: &str) -> Result<(RelayAddr, Arc<Account>), Refusal> {
        let places = Port::Pool(wish.want).places();
        let quotas = Quotas { user: self.config.user_quota, total: self.config.total_quota };
        let accounts = &self.shared.accounts;
        let account = accounts.take(user, places, self.now, quotas);
        let account = account.map_err(|_| ErrorCode::ALLOCATION_QUOTA_REACHED)?;
        match self.shared.ports.claim(wish.ipv6, wish.want, &mut self.rng) {
            Some(relayed) => Ok((relayed, account)),
            None => {
                accounts.give_back(&account, places, self.now);
                Err(ErrorCode::INSUFFICIENT_CAPACITY.into())
            }
        }
    }

    /// The address is open: the allocation exists from here on.
    fn allocated(&mut self, id: AllocationId, opening: Opening, out: &mut Outputs) {
        let five_tuple = opening.five_tuple;
        debug_assert!(self.allocations.of_client(&five_tuple).is_none(), "the caller's part of RelayOpened");
        let token = successor(opening.relayed)
            .filter(|_| opening.port == Port::Pool(Want::Pair))
            .map(|next| self.reserve(next, &opening.account));

        let public = self.public(opening.relayed.0);
        let answer = self.answer(&opening.caller(), out, |answer| {
            answer.xor_relayed_address(public);
            answer.lifetime(opening.lifetime);
            if let Some(token) = token {
                answer.reservation_token(token);
            }
            answer.xor_mapped_address(five_tuple.client.0);
        });

        let expires = self.now + opening.lifetime;
        let username = String::from(&*opening.username);
        let slot = self.allocations.insert(Allocation {
            id,
            five_tuple,
            relayed: opening.relayed,
            username: opening.username,
            rules: self.config.rules_for(opening.account.name()),
            metered: Metered::new(self.config.rates),
            account: opening.account,
            as_a_stranger: Bucket::default(),
            expires,
            request: opening.digest,
            answer: out.bytes[answer].into(),
            permissions: SortedMap::default(),
            channels: SortedMap::default(),
            numbers: SortedMap::default(),
        });
        self.timers.start(expires, Timer::Allocation(slot));
        let relayed = opening.relayed;
        out.items.push(Output::Event(Event::AllocationCreated {
            allocation: id,
            five_tuple,
            relayed,
            username,
        }));
    }

    /// Keeps the second port of a pair for a later Allocate request of the same user.
    fn reserve(&mut self, relayed: RelayAddr, account: &Arc<Account>) -> Token {
        let reservation = Reservation { relayed, account: Arc::clone(account) };
        let token = self.shared.reservations.insert(reservation, || self.rng.random());
        self.timers.start(self.now + reservations::LIFETIME, Timer::Reservation(token));
        token
    }
}

/// The attributes of the request, and whether they go together (RFC 8656 section 7.2, steps 3 to 9).
fn read_wish(message: &Message<'_>) -> Result<Wish, Refusal> {
    match message.requested_transport()? {
        None => return Err(ErrorCode::BAD_REQUEST.into()),
        Some(UDP) => {}
        Some(_) => return Err(ErrorCode::UNSUPPORTED_TRANSPORT.into()),
    }
    let token = message.reservation_token()?;
    let even_port = message.even_port()?;
    let family = message.requested_address_family()?;
    let additional = message.additional_address_family()?;
    // RFC 8656 section 7.2: IPv4 comes first, so it cannot come in addition.
    if additional == Some(AddressFamily::V4) {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let additional = additional.is_some();
    if token.is_some() && (even_port.is_some() || family.is_some() || additional)
        || family.is_some() && additional
        || even_port == Some(true) && additional
    {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let ipv6 = match family {
        None | Some(AddressFamily::V4) => false,
        Some(AddressFamily::V6) => true,
        Some(AddressFamily::Unknown(_)) => return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED.into()),
    };
    let want = match even_port {
        None => Want::Any,
        Some(false) => Want::Even,
        Some(true) => Want::Pair,
    };
    Ok(Wish { ipv6, want, token, lifetime: message.lifetime()? })
}

/// The next-higher port on the same address.
fn successor(RelayAddr(relayed): RelayAddr) -> Option<RelayAddr> {
    Some(RelayAddr(SocketAddr::new(relayed.ip(), relayed.port().checked_add(1)?)))
}
