//! The two servers side by side: the same datagrams, the same sockets, the same clock.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use turn_server_proto::api::SocketAllocateError;
use turn_server_proto::types::AddressFamily;
use turnpike::stun::{Builder, Class, Icmp, Key, Method};
use turnpike::time::Timestamp;
use turnpike::turn::{Input, Output, PeerAddr, RelayAddr};

use crate::common::{PASSWORD, REALM, Seen, Sim, USER, dual_stack};
use crate::effect::{Done, Effect};
use crate::explained::EXPLAINED;
use crate::facts::{Facts, Situation};
use crate::oracle::Oracle;
use crate::party::{About, BOB, Defect, Party};

/// Nonces of the core are renewed before they can be stale.
const NONCE_SECONDS: u64 = 1200;

/// What came of one datagram, the differences explained.
pub(crate) struct Step {
    pub ours: Done,
    pub explained: Vec<&'static str>,
}

pub(crate) struct Both {
    pub sim: Sim,
    oracle: Oracle,
    facts: HashMap<SocketAddr, Facts>,
    /// The explanations used so far.
    pub used: BTreeSet<&'static str>,
    /// Requests and datagrams compared so far.
    pub compared: usize,
}

impl Step {
    /// The code of the core's answer, 0 for success.
    #[track_caller]
    pub(crate) fn is(self, code: u16) -> Self {
        assert_eq!(self.ours.code(), Some(code), "{:?}", self.ours);
        self
    }

    /// Nothing went out.
    #[track_caller]
    pub(crate) fn drops(self) -> Self {
        assert_eq!(self.ours.effect, None);
        self
    }

    #[track_caller]
    pub(crate) fn relays(self) -> Self {
        assert!(self.ours.effect.is_some() && self.ours.answer().is_none(), "{:?}", self.ours);
        self
    }

    /// One of the differences is this.
    #[track_caller]
    pub(crate) fn but(self, explained: &str) -> Self {
        assert!(self.explained.contains(&explained), "{:?} does not have {explained:?}", self.explained);
        self
    }

    #[track_caller]
    pub(crate) fn relayed(&self) -> Vec<SocketAddr> {
        assert_eq!(self.ours.code(), Some(0), "{:?}", self.ours);
        self.ours.answer().map(|answer| answer.relayed.iter().copied().collect()).unwrap_or_default()
    }
}

impl Both {
    pub(crate) fn new() -> Self {
        Self::with(Sim::new(dual_stack(), [7; 32]))
    }

    pub(crate) fn with(sim: Sim) -> Self {
        let listener = Party::new(1).five_tuple().listener;
        let oracle = Oracle::new(listener, REALM, &[(USER, PASSWORD), BOB]);
        Self { sim, oracle, facts: HashMap::new(), used: BTreeSet::new(), compared: 0 }
    }

    /// An authenticated request.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        party: &mut Party,
        method: Method,
        fill: impl Fn(&mut Builder<'_>),
    ) -> Step {
        self.faulty(party, method, Defect::None, fill)
    }

    /// A request whose credentials have a defect.
    #[track_caller]
    pub(crate) fn faulty(
        &mut self,
        party: &mut Party,
        method: Method,
        defect: Defect,
        fill: impl Fn(&mut Builder<'_>),
    ) -> Step {
        self.learn(party);
        let (datagrams, about) = party.request(method, defect, false, &fill);
        self.sends(party, datagrams, about)
    }

    /// An authenticated request with a FINGERPRINT.
    #[track_caller]
    pub(crate) fn fingerprinted(
        &mut self,
        party: &mut Party,
        method: Method,
        fill: impl Fn(&mut Builder<'_>),
    ) -> Step {
        self.learn(party);
        let (datagrams, about) = party.request(method, Defect::None, true, &fill);
        self.sends(party, datagrams, about)
    }

    /// The same request again.
    #[track_caller]
    pub(crate) fn again(&mut self, party: &mut Party) -> Step {
        let (datagrams, about, _) = party.last.clone().expect("it sent something before");
        self.sends(party, datagrams, about)
    }

    /// The same datagram to both servers.
    #[track_caller]
    pub(crate) fn datagram(&mut self, party: &mut Party, bytes: &[u8]) -> Step {
        self.sends(party, [bytes.to_vec(), bytes.to_vec()], About::default())
    }

    #[track_caller]
    pub(crate) fn sends(&mut self, party: &mut Party, datagrams: [Vec<u8>; 2], about: About) -> Step {
        party.last = Some((datagrams.clone(), about.clone(), self.sim.now));
        let five_tuple = party.five_tuple();
        let before = self.sim.datapath.open.clone();
        let seen = self.sim.client_sends(five_tuple, &datagrams[0]);
        let ours = ours(&seen, about.key.as_ref());
        let theirs = self.theirs(&before, five_tuple.client.0, five_tuple.listener, &datagrams[1], &about);

        let facts = self.facts.entry(five_tuple.client.0).or_default();
        facts.expire(self.sim.now);
        let facts = facts.clone();
        let peer = None;
        let now = self.sim.now;
        let situation = Situation::new(now, &datagrams[0], &about, &facts, peer, &ours, &theirs);
        let (explained, start_over) = self.explain(&situation);
        self.facts.get_mut(&five_tuple.client.0).expect("made above").learn(&situation);
        let step = Step { ours, explained };
        if start_over {
            self.start_over(party);
        }
        self.settle();
        step
    }

    /// A datagram of a peer to a relayed transport address.
    #[track_caller]
    pub(crate) fn peer_sends(&mut self, relayed: SocketAddr, peer: SocketAddr, bytes: &[u8]) -> Step {
        let before = self.sim.datapath.open.clone();
        let seen = self.sim.peer_sends(relayed, PeerAddr(peer), bytes);
        let ours = ours(&seen, None);
        let about = About::default();
        let theirs = self.theirs(&before, peer, relayed, bytes, &about);
        let facts = self.facts.values_mut().find(|facts| facts.relayed.contains(&relayed)).cloned();
        let mut facts = facts.unwrap_or_default();
        facts.expire(self.sim.now);
        let now = self.sim.now;
        let situation = Situation::new(now, bytes, &about, &facts, Some(peer), &ours, &theirs);
        let (explained, _) = self.explain(&situation);
        let step = Step { ours, explained };
        self.settle();
        step
    }

    /// An ICMP error about a datagram to a peer.
    #[track_caller]
    pub(crate) fn icmp_error(&mut self, relayed: SocketAddr, peer: SocketAddr, icmp: Icmp) -> Step {
        let ours = ours(&self.sim.icmp_error(relayed, PeerAddr(peer), icmp), None);
        let sent = self.oracle.icmp_error(self.sim.now, relayed, peer, icmp);
        let effect = sent.map(|sent| Effect::to_client(sent.to, sent.bytes, None));
        let theirs = Done { effect, opened: 0 };
        let (about, facts) = (About::default(), Facts::default());
        let situation = Situation::new(self.sim.now, &[], &about, &facts, Some(peer), &ours, &theirs);
        let (explained, _) = self.explain(&situation);
        Step { ours, explained }
    }

    /// Lets time pass on both clocks.
    #[track_caller]
    pub(crate) fn wait(&mut self, milliseconds: u64) {
        self.sim.wait(milliseconds as f64 / 1000.0);
        self.settle();
    }

    /// Lets time pass until then.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, at: Timestamp) {
        self.sim.wait(at.since(self.sim.now).as_secs_f64());
        self.settle();
    }

    /// When something of some client ends, in order.
    pub(crate) fn deadlines(&self) -> BTreeSet<Timestamp> {
        let deadlines = self.facts.values().flat_map(Facts::deadlines);
        deadlines.filter(|at| *at > self.sim.now).collect()
    }

    /// What the other server does with a datagram. The sockets it asks for get the addresses that the core has just
    /// opened, so that both relay from the same ones.
    fn theirs(
        &mut self,
        before: &std::collections::HashSet<RelayAddr>,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        about: &About,
    ) -> Done {
        let mut fresh: Vec<_> = self.sim.datapath.open.difference(before).map(|r| r.0).collect();
        let mut opened = 0;
        let (relays, out_of_sockets) = (self.sim.config.relay_addresses.clone(), self.sim.out_of_sockets);
        let mut socket = |family: AddressFamily| {
            let v4 = family == AddressFamily::IPV4;
            let relay = relays.iter().find(|relay| relay.local.is_ipv4() == v4);
            let relay = relay.ok_or(SocketAllocateError::AddressFamilyNotSupported)?;
            opened += 1;
            if out_of_sockets {
                return Err(SocketAllocateError::InsufficientCapacity);
            }
            let place = fresh.iter().position(|fresh| fresh.is_ipv4() == v4);
            Ok(place.map_or(SocketAddr::new(relay.local, 60_000), |i| fresh.swap_remove(i)))
        };
        let sent = self.oracle.receives(self.sim.now, from, to, bytes, &mut socket);
        assert!(sent.len() <= 1, "one datagram has at most one effect");
        let listener = self.oracle.listener();
        let effect = sent.into_iter().next().map(|sent| {
            if sent.from == listener {
                Effect::to_client(sent.to, sent.bytes, about.key.as_ref())
            } else {
                Effect::ToPeer { from: sent.from, to: sent.to, bytes: sent.bytes }
            }
        });
        Done { effect, opened }
    }

    /// Each difference has an explanation, and each situation that has one shows the difference.
    #[track_caller]
    fn explain(&mut self, situation: &Situation<'_>) -> (Vec<&'static str>, bool) {
        self.compared += 1;
        let mut differences = situation.ours.differences(situation.theirs);
        let (mut explained, mut start_over) = (Vec::new(), false);
        for row in EXPLAINED.iter().filter(|row| (row.when)(situation)) {
            let before = differences.len();
            differences.retain(|difference| !(row.what)(difference));
            assert!(
                differences.len() < before,
                "the servers should differ here, by {:?}: {situation:?}",
                row.name
            );
            explained.push(row.name);
            start_over |= row.starts_over;
        }
        assert!(differences.is_empty(), "unexplained: {differences:?}, {explained:?} in {situation:?}");
        self.used.extend(&explained);
        (explained, start_over)
    }

    /// Both have the same relayed transport addresses open.
    #[track_caller]
    fn settle(&mut self) {
        self.sim.input(Input::Wakeup);
        self.oracle.wake(self.sim.now, &mut |_| unreachable!("no request is pending"));
        let ours: BTreeSet<_> = self.sim.datapath.open.iter().map(|r| r.0).collect();
        let theirs: BTreeSet<_> = self.oracle.open.iter().copied().collect();
        assert_eq!(ours, theirs, "relayed transport addresses that are open");
    }

    /// Ends what either server has for a client, after a difference that makes their states differ.
    fn start_over(&mut self, party: &mut Party) {
        let (user, password) = (party.ours.username.clone(), party.ours.password.clone());
        let five_tuple = party.five_tuple();
        for user in [(USER, PASSWORD), BOB, (&*user, &*password)] {
            party.become_user(user);
            let (datagrams, about) = party.request(Method::REFRESH, Defect::None, false, &|b| {
                b.lifetime(std::time::Duration::ZERO);
            });
            self.sim.client_sends(five_tuple, &datagrams[0]);
            let before = self.sim.datapath.open.clone();
            self.theirs(&before, five_tuple.client.0, five_tuple.listener, &datagrams[1], &about);
        }
        party.last = None;
        // The last of them was answered 437 or 441, and authenticated.
        self.facts.insert(five_tuple.client.0, Facts { known: true, ..Facts::default() });
    }

    /// Gets nonces as every client does, from the core again before they go stale.
    #[track_caller]
    fn learn(&mut self, party: &mut Party) {
        let now = self.sim.now;
        if party.learned.is_some_and(|at| now.since(at).as_secs() < NONCE_SECONDS) {
            return;
        }
        let first = party.learned.is_none();
        party.learned = Some(now);
        if !first {
            let nonceless = party.ours.clone();
            party.ours.learn_nonce(&mut self.sim);
            // The transaction ids of the two stay the same.
            party.ours.transactions = nonceless.transactions;
            return;
        }
        let request = party.ours.plain(Method::ALLOCATE, Class::Request, |b| {
            b.requested_transport(17);
        });
        party.theirs.transactions = party.ours.transactions;
        let five_tuple = party.five_tuple();
        let before = self.sim.datapath.open.clone();
        let seen = self.sim.client_sends(five_tuple, &request);
        let about = About { defect: Defect::NoIntegrity, ..About::default() };
        let ours = ours(&seen, None);
        let theirs = self.theirs(&before, five_tuple.client.0, five_tuple.listener, &request, &about);
        for (client, done) in [(&mut party.ours, &ours), (&mut party.theirs, &theirs)] {
            let answer = done.answer().expect("a 401");
            client.learn_from(&crate::common::Reply(answer.bytes.clone()));
        }
        let facts = self.facts.entry(five_tuple.client.0).or_default().clone();
        let situation = Situation::new(now, &request, &about, &facts, None, &ours, &theirs);
        self.explain(&situation);
    }
}

/// What the core did.
fn ours(seen: &[Seen], key: Option<&Key>) -> Done {
    let mut done = Done::default();
    for seen in seen {
        let effect = match seen {
            Seen::ToClient(five_tuple, bytes) => Effect::to_client(five_tuple.client.0, bytes.clone(), key),
            Seen::ToPeer(from, to, bytes) => Effect::ToPeer { from: from.0, to: to.0, bytes: bytes.clone() },
            Seen::Other(Output::OpenRelay { .. }) => {
                done.opened += 1;
                continue;
            }
            _ => continue,
        };
        assert!(done.effect.replace(effect).is_none(), "one datagram has at most one effect");
    }
    done
}
