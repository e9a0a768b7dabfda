//! Allocate (RFC 8656 section 7): from the request, over the opening of a relayed transport address, to the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::accounts::{Account, Quotas};
use super::allocations::{Allocation, Opened};
use super::authenticate::Signer;
use super::core::Core;
use super::family::{Family, PerFamily, Relayed};
use super::io::{Event, Output, Outputs, RelayRefused};
use super::metering::Metered;
use super::ports::Want;
use super::refresh::granted_lifetime;
use super::request::{Caller, Refusal, Request};
use super::reservations::{self, Reservation, Token};
use super::sorted_map::SortedMap;
use super::timers::Timer;
use super::types::{AllocationId, FiveTuple, RelayAddr};
use super::usage::Usage;
use crate::policy::Bucket;
use crate::stun::{AddressFamily, AttributeType, ErrorCode, Message};

/// UDP in REQUESTED-TRANSPORT (RFC 8656 section 18.8).
const UDP: u8 = 17;

/// TCP in REQUESTED-TRANSPORT (RFC 6062 section 4.1).
const TCP: u8 = 6;

/// How many ports are tried before the client is told 508. One that another program holds is rare; many in a row
/// mean that the range is not ours, and each try may cost a system call.
const TRIES: u32 = 8;

/// How long a port that another program held is left alone.
const FOREIGN_PORT_REST: Duration = Duration::from_secs(60);

/// An Allocate request that waits for a relayed transport address. It holds its ports and places in the quota.
#[derive(Debug)]
pub(super) struct Opening {
    waiting: Waiting,
    /// The address asked for; those of the two families are opened one after the other.
    relayed: RelayAddr,
    /// How many ports of this family have been asked for.
    tries: u32,
}

/// What an allocation is made from.
#[derive(Debug)]
struct Waiting {
    id: AllocationId,
    five_tuple: FiveTuple,
    /// The request's bytes, and what [`Caller`] says about them.
    request: Box<[u8]>,
    digest: u64,
    signer: Option<Signer>,
    username: Box<str>,
    realm: Arc<str>,
    account: Arc<Account>,
    lifetime: Duration,
    /// The client asks for a ticket.
    mobile: bool,
    /// Peers are to be reached over TCP.
    tcp: bool,
    port: Port,
    /// The families whose turn has not come.
    wanted: &'static [Family],
    opened: Relayed,
    /// Why there is no address of a family that was asked for.
    failed: PerFamily<ErrorCode>,
}

/// Where the relayed port comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Port {
    Pool(Want),
    Reservation,
}

impl Waiting {
    /// Whom to answer.
    fn caller(&self) -> Caller<'_> {
        Caller {
            five_tuple: self.five_tuple,
            message: Message::parse(&self.request).expect("it was read before"),
            digest: self.digest,
            signer: self.signer.clone(),
        }
    }
}

impl Port {
    /// Places held in the quota. A port reserved along counts like an allocation, or reservations would be a way
    /// around the quota. An allocation with a relayed address of each family is one: what an operator bounds is how
    /// many calls a user has, and a browser asks for both families without being told to.
    fn places(self) -> u32 {
        if self == Self::Pool(Want::Pair) { 2 } else { 1 }
    }
}

/// What the client asks for.
struct Wish {
    /// Peers are to be reached over TCP.
    tcp: bool,
    /// In the order in which they are opened.
    families: &'static [Family],
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
        let wish = self.read_wish(&request.caller)?;
        // RFC 8656 section 7.2: "at any point". A reserved port belongs to a call that is here.
        if wish.token.is_none()
            && let Some(code) = self.turned_away(&request.caller.five_tuple)
        {
            return Err(code.into());
        }
        let mobile = self.wants_ticket(&request.caller)?;
        // RFC 8016 has the client's data tell that it moved; here none comes by the connection that moves.
        if mobile && wish.tcp {
            return Err(ErrorCode::MOBILITY_FORBIDDEN.into());
        }
        // Also when none was asked for and the server relays IPv6 only: RFC 8656 section 7.2 has it so, and coturn does
        // the same unless told otherwise. A client that knows nothing of families would take an IPv6 address for
        // nonsense.
        if wish.token.is_none() && !wish.families.iter().any(|&family| self.relays_from(family)) {
            return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED.into());
        }

        let (reserved, account, port) = match wish.token {
            Some(token) => {
                let Reservation { relayed, account } = self.claim_reserved(&token, request.account())?;
                (Some(relayed), account, Port::Reservation)
            }
            None => {
                let port = Port::Pool(wish.want);
                (None, self.take_places(request.account(), port.places())?, port)
            }
        };
        let waiting = Waiting {
            id: AllocationId(self.next_allocation),
            five_tuple: request.caller.five_tuple,
            request: request.caller.message.as_bytes().into(),
            digest: request.caller.digest,
            signer: request.caller.signer.clone(),
            username: request.username().into(),
            realm: request.realm().clone(),
            account,
            lifetime: granted_lifetime(wish.lifetime, self.config.max_lifetime),
            mobile,
            tcp: wish.tcp,
            port,
            wanted: if reserved.is_some() { &[] } else { wish.families },
            opened: Relayed::default(),
            failed: PerFamily::default(),
        };
        self.next_allocation += 1;
        match reserved {
            Some(relayed) => self.ask_to_open(Opening { waiting, relayed, tries: 1 }, out),
            None => self.open_next(waiting, out),
        }
        Ok(())
    }

    /// The driver's word on the address asked for.
    pub(super) fn relay_opened(
        &mut self,
        id: AllocationId,
        outcome: Result<(), RelayRefused>,
        out: &mut Outputs,
    ) {
        let Some(Opening { mut waiting, relayed, tries }) = self.opening.remove(&id) else { return };
        let family = relayed.family();
        let refused = match outcome {
            Ok(()) => {
                waiting.opened.insert(family, relayed);
                return self.open_next(waiting, out);
            }
            Err(refused) => refused,
        };

        if let (Some(next), Port::Pool(Want::Pair)) = (successor(relayed), waiting.port) {
            self.shared.ports.release(next);
        }
        match refused {
            RelayRefused::InUse => {
                self.timers.start(self.now + FOREIGN_PORT_REST, Timer::ForeignPort(relayed.into()));
            }
            RelayRefused::NoResources => self.shared.ports.release(relayed),
        }
        if let (RelayRefused::InUse, Port::Pool(want)) = (refused, waiting.port)
            && tries < TRIES
            && let Some(relayed) = self.shared.ports.claim(family, want, &mut self.rng)
        {
            return self.ask_to_open(Opening { waiting, relayed, tries: tries + 1 }, out);
        }
        waiting.failed.insert(family, ErrorCode::INSUFFICIENT_CAPACITY);
        self.open_next(waiting, out);
    }

    /// Asks for a relayed address of the next family wanted. When all had their turn, the request is answered: with
    /// success if there is any address (RFC 8656 section 7.2, of ADDITIONAL-ADDRESS-FAMILY).
    fn open_next(&mut self, mut waiting: Waiting, out: &mut Outputs) {
        while let (Some((&family, rest)), Port::Pool(want)) = (waiting.wanted.split_first(), waiting.port) {
            waiting.wanted = rest;
            if let Some(relayed) = self.shared.ports.claim(family, want, &mut self.rng) {
                return self.ask_to_open(Opening { waiting, relayed, tries: 1 }, out);
            }
            let code = if self.relays_from(family) {
                ErrorCode::INSUFFICIENT_CAPACITY
            } else {
                ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED
            };
            waiting.failed.insert(family, code);
        }
        if waiting.opened.values().next().is_some() {
            return self.allocated(waiting, out);
        }
        self.shared.accounts.give_back(&waiting.account, waiting.port.places(), self.now);
        // A family that is relayed from was among those wanted: it failed for want of ports or sockets.
        self.refuse(&waiting.caller(), ErrorCode::INSUFFICIENT_CAPACITY, out);
    }

    fn ask_to_open(&mut self, opening: Opening, out: &mut Outputs) {
        let (allocation, relayed) = (opening.waiting.id, opening.relayed);
        out.items.push(if opening.waiting.tcp {
            Output::OpenTcpRelay { allocation, relayed }
        } else {
            Output::OpenRelay { allocation, relayed }
        });
        self.opening.insert(allocation, opening);
    }

    /// What the client asks for (RFC 8656 section 7.2, step 3; RFC 6062 section 5.1, steps 1 to 3).
    fn read_wish(&self, caller: &Caller<'_>) -> Result<Wish, Refusal> {
        let message = &caller.message;
        let tcp = match message.requested_transport()? {
            None => return Err(ErrorCode::BAD_REQUEST.into()),
            Some(UDP) => false,
            Some(TCP) if self.config.tcp_relay.is_some() => true,
            Some(_) => return Err(ErrorCode::UNSUPPORTED_TRANSPORT.into()),
        };
        let of_udp_alone = || {
            message.dont_fragment()
                || message.has(AttributeType::EVEN_PORT)
                || message.has(AttributeType::RESERVATION_TOKEN)
        };
        if tcp && (!caller.five_tuple.transport.is_stream() || of_udp_alone()) {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        read_wish(message, tcp)
    }

    fn claim_reserved(&self, token: &Token, user: &str) -> Result<Reservation, Refusal> {
        let reservation = self.shared.reservations.claim(token, user);
        Ok(reservation.ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?)
    }

    fn take_places(&self, user: &str, places: u32) -> Result<Arc<Account>, Refusal> {
        let quotas = Quotas { user: self.config.quota_of(user), total: self.config.total_quota };
        let account = self.shared.accounts.take(user, places, self.now, quotas);
        Ok(account.map_err(|_| ErrorCode::ALLOCATION_QUOTA_REACHED)?)
    }

    fn relays_from(&self, family: Family) -> bool {
        self.config.relay_addresses.iter().any(|a| Family::of(a.local) == family)
    }

    /// The addresses are open: the allocation exists from here on.
    fn allocated(&mut self, waiting: Waiting, out: &mut Outputs) {
        let (five_tuple, relayed) = (waiting.five_tuple, waiting.opened);
        debug_assert!(self.allocations.of_client(&five_tuple).is_none(), "the caller's part of RelayOpened");
        let token = relayed
            .values()
            .filter(|_| waiting.port == Port::Pool(Want::Pair))
            .find_map(|&first| successor(first))
            .map(|next| self.reserve(next, &waiting.account));

        let ticket = waiting.mobile.then(|| self.first_ticket(waiting.id));
        let answer = self.answer(&waiting.caller(), out, |answer| {
            for address in relayed.values() {
                answer.xor_relayed_address(self.public(address.0));
            }
            for (family, &code) in waiting.failed.iter() {
                answer.address_error_code(family.into(), code);
            }
            answer.lifetime(waiting.lifetime);
            if let Some(token) = token {
                answer.reservation_token(token);
            }
            if let Some(ticket) = &ticket {
                answer.mobility_ticket(ticket.as_bytes());
            }
            answer.xor_mapped_address(five_tuple.client.0);
        });

        let (slot, expires) = (self.allocations.next_slot(), self.now + waiting.lifetime);
        let mut leases = PerFamily::default();
        for (family, _) in relayed.iter() {
            leases.insert(family, self.timers.start(expires, Timer::Lease(slot, family)));
        }
        let username = String::from(&*waiting.username);
        self.allocations.insert(Allocation {
            id: waiting.id,
            five_tuple,
            mobility: waiting.mobile.then(Box::default),
            opened: Opened { at: self.now, relayed },
            usage: Usage::default(),
            leases,
            username: waiting.username,
            rules: self.config.rules_for(&waiting.realm, &waiting.account),
            realm: waiting.realm,
            icmp_told: Default::default(),
            metered: Metered::new(&self.config.rates, &waiting.account, &self.shared.meters, self.now),
            account: waiting.account,
            as_a_stranger: Bucket::default(),
            request: waiting.digest,
            answer: out.bytes[answer].into(),
            tcp: waiting.tcp.then(Box::default),
            permissions: SortedMap::default(),
            channels: SortedMap::default(),
            numbers: SortedMap::default(),
        });
        let allocation = waiting.id;
        out.items.push(Output::Event(Event::AllocationCreated { allocation, five_tuple, relayed, username }));
    }

    /// Keeps the second port of a pair for a later Allocate request of the same user.
    fn reserve(&mut self, relayed: RelayAddr, account: &Arc<Account>) -> Token {
        let reservation = Reservation { relayed, account: Arc::clone(account) };
        let token = self.shared.reservations.insert(reservation, || self.rng.random());
        self.timers.start(self.now + reservations::LIFETIME, Timer::Reservation(token));
        token
    }
}

/// The attributes of the request, and whether they go together (RFC 8656 section 7.2, steps 4 to 9).
fn read_wish(message: &Message<'_>, tcp: bool) -> Result<Wish, Refusal> {
    let token = message.reservation_token()?;
    let even_port = message.even_port()?;
    let family = message.requested_address_family()?;
    let additional = message.additional_address_family()?;
    // RFC 8656 section 18.11: IPv6 is the only valid value.
    if additional.is_some_and(|family| family != AddressFamily::V6) {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let additional = additional.is_some();
    if token.is_some() && (even_port.is_some() || family.is_some() || additional)
        || family.is_some() && additional
        || even_port == Some(true) && additional
    {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let families: &[_] = match family {
        None if additional => &Family::BOTH,
        None | Some(AddressFamily::V4) => &[Family::V4],
        Some(AddressFamily::V6) => &[Family::V6],
        Some(AddressFamily::Unknown(_)) => return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED.into()),
    };
    let want = match even_port {
        None => Want::Any,
        Some(false) => Want::Even,
        Some(true) => Want::Pair,
    };
    Ok(Wish { tcp, families, want, token, lifetime: message.lifetime()? })
}

/// The next-higher port on the same address.
fn successor(RelayAddr(relayed): RelayAddr) -> Option<RelayAddr> {
    Some(RelayAddr(SocketAddr::new(relayed.ip(), relayed.port().checked_add(1)?)))
}
