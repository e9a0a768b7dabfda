//! Random sequences, the same for the same seed.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use turnpike::stun::{AddressFamily, AttributeType, Class, Method};
use turnpike::time::Timestamp;

use crate::both::{Both, Step};
use crate::common::{Client, PASSWORD, USER, addr, channel_data};
use crate::effect::Effect;
use crate::facts::STRANGE;
use crate::party::{BOB, Defect, Party};

/// What a run amounted to.
pub(crate) struct Run {
    pub compared: usize,
    pub relayed: usize,
}

struct Runner {
    both: Both,
    rng: StdRng,
    parties: Vec<Party>,
    relayed: usize,
}

pub(crate) fn run(seed: u64, steps: usize) -> Run {
    println!("seed {seed}");
    let parties = vec![
        Party::new(1000),
        Party::of(1001, BOB),
        Party::with(Client::new(1002).modern()),
        Party::with(Client::with(1003, BOB.0, BOB.1).modern().anonymous()),
    ];
    let mut runner = Runner { both: Both::new(), rng: StdRng::seed_from_u64(seed), parties, relayed: 0 };
    for _ in 0..steps {
        runner.step();
        // Nothing happens at the very instant at which something ends.
        runner.both.wait(1);
    }
    runner.both.wait(4_000_000);
    Run { compared: runner.both.compared, relayed: runner.relayed }
}

impl Runner {
    fn step(&mut self) {
        let mut party = self.parties.swap_remove(self.rng.random_range(0..self.parties.len()));
        match self.rng.random_range(0..1000) {
            0..50 => self.allocate(&mut party),
            50..90 => self.refresh(&mut party),
            90..180 => self.permit(&mut party),
            180..330 => self.bind(&mut party),
            330..580 => self.channel_data(&mut party),
            580..700 => self.send(&mut party),
            700..900 => self.peer_sends(),
            900..920 => self.faulty(&mut party),
            920..935 => self.strange(&mut party),
            935..955 => self.again(&mut party),
            955..965 => self.someone_else(&mut party),
            965..978 => self.both.wait(self.rng.random_range(1..60) * 1000),
            978..984 => self.both.wait(self.rng.random_range(100..400) * 1000),
            984..986 => self.both.wait(self.rng.random_range(400..1000) * 1000),
            _ => self.wait_for_an_end(),
        }
        self.parties.push(party);
    }

    /// Waits until something is about to end: the next step is within the millisecond before, the one after it past it.
    fn wait_for_an_end(&mut self) {
        let deadlines: Vec<_> = self.both.deadlines().into_iter().collect();
        let Some(Timestamp(end)) = deadlines.choose(&mut self.rng) else { return };
        self.both.wait_until(Timestamp(end - 1_000_000 - self.rng.random_range(1..1_000_000)));
    }

    fn allocate(&mut self, party: &mut Party) {
        let kind = self.rng.random_range(0..10);
        let lifetime = self.lifetime(1);
        self.both.request(party, Method::ALLOCATE, |b| {
            b.requested_transport(17);
            if let Some(lifetime) = lifetime {
                b.lifetime(lifetime);
            }
            match kind {
                0 => drop(b.requested_address_family(AddressFamily::V4)),
                1 | 2 => drop(b.requested_address_family(AddressFamily::V6)),
                3..6 => drop(b.additional_address_family(AddressFamily::V6)),
                6 => drop(b.even_port(false)),
                7 => drop(b.dont_fragment()),
                _ => {}
            }
        });
        for _ in 0..3 {
            self.both.wait(1);
            self.bind(party);
        }
    }

    fn refresh(&mut self, party: &mut Party) {
        let lifetime = self.lifetime(0);
        let family =
            *[None, None, Some(AddressFamily::V4), Some(AddressFamily::V6)].choose(&mut self.rng).unwrap();
        self.both.request(party, Method::REFRESH, |b| {
            if let Some(lifetime) = lifetime {
                b.lifetime(lifetime);
            }
            if let Some(family) = family {
                b.requested_address_family(family);
            }
        });
    }

    fn permit(&mut self, party: &mut Party) {
        let first = self.peer();
        let mut peers = vec![first];
        // All of one family: what a refused request leaves behind is a script's subject.
        peers.extend(Some(self.peer()).filter(|peer| peer.is_ipv4() == first.is_ipv4()));
        self.both.request(party, Method::CREATE_PERMISSION, |b| {
            for &peer in &peers {
                b.xor_peer_address(peer);
            }
        });
    }

    fn bind(&mut self, party: &mut Party) {
        // Mostly the number that goes with the peer, or nothing would last.
        let (peer, number) = (self.peer(), self.number());
        let own = 0x4000 + (peer.port() + u16::from(peer.is_ipv6())) % 64;
        let number = if self.rng.random_range(0..20) == 0 { number } else { own };
        self.both.request(party, Method::CHANNEL_BIND, |b| {
            b.channel_number(number).xor_peer_address(peer);
        });
    }

    fn channel_data(&mut self, party: &mut Party) {
        let mut datagram = channel_data(self.number(), &self.payload());
        datagram
            .resize(datagram.len() + self.rng.random_range(0..2) * (datagram.len().wrapping_neg() % 4), 0);
        let step = self.both.datagram(party, &datagram);
        self.deliver(step);
    }

    fn send(&mut self, party: &mut Party) {
        let (peer, payload) = (self.peer(), self.payload());
        let indication = party.ours.plain(Method::SEND, Class::Indication, |b| {
            b.xor_peer_address(peer).data(&payload).expect("short");
        });
        party.theirs.transactions = party.ours.transactions;
        let step = self.both.datagram(party, &indication);
        self.deliver(step);
    }

    /// What goes to a relayed transport address of these servers arrives there.
    fn deliver(&mut self, step: Step) {
        let Some(Effect::ToPeer { from, to, bytes }) = step.ours.effect else { return };
        self.relayed += 1;
        if self.relayed_addresses().contains(&to) {
            self.both.peer_sends(to, from, &bytes);
        }
    }

    fn peer_sends(&mut self) {
        let relayed = self.relayed_addresses();
        let Some(&relayed) = relayed.choose(&mut self.rng) else { return };
        let peer = self.peer();
        if peer.is_ipv4() == relayed.is_ipv4() {
            let payload = self.payload();
            let step = self.both.peer_sends(relayed, peer, &payload);
            self.relayed += usize::from(step.ours.effect.is_some());
        }
    }

    fn faulty(&mut self, party: &mut Party) {
        let defects = [
            Defect::NoIntegrity,
            Defect::NoUsername,
            Defect::NoRealm,
            Defect::NoNonce,
            Defect::WrongPassword,
            Defect::UnknownUser,
            Defect::StaleNonce,
        ];
        let (defect, method, peer) = (*defects.choose(&mut self.rng).unwrap(), self.method(), self.peer());
        self.both.faulty(party, method, defect, |b| {
            b.requested_transport(17).channel_number(0x4000).xor_peer_address(peer);
        });
    }

    fn strange(&mut self, party: &mut Party) {
        let method = self.method();
        self.both.request(party, method, |b| {
            b.bytes(STRANGE, b"strange").bytes(AttributeType(0xfabc), b"");
        });
    }

    fn again(&mut self, party: &mut Party) {
        let recent =
            party.last.as_ref().is_some_and(|(_, _, at)| self.both.sim.now.since(*at).as_secs() < 39);
        if recent {
            let step = self.both.again(party);
            self.deliver(step);
        }
    }

    /// Another user's credentials from the same address.
    fn someone_else(&mut self, party: &mut Party) {
        let (name, password) = (party.ours.username.clone(), party.ours.password.clone());
        let other = if name == USER { BOB } else { (USER, PASSWORD) };
        party.become_user(other);
        let (method, peer) = (self.method(), self.peer());
        if method != Method::ALLOCATE {
            self.both.request(party, method, |b| {
                if method != Method::REFRESH {
                    b.xor_peer_address(peer);
                }
            });
        }
        party.become_user((&*name, &*password));
        party.last = None;
    }

    fn lifetime(&mut self, least: u64) -> Option<Duration> {
        let seconds = [None, Some(least), Some(700), Some(2000), Some(9999)].choose(&mut self.rng).copied();
        seconds.flatten().map(Duration::from_secs)
    }

    fn method(&mut self) -> Method {
        let methods = [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
        *methods.choose(&mut self.rng).unwrap()
    }

    fn number(&mut self) -> u16 {
        let peer = self.peer();
        0x4000 + (peer.port() + u16::from(peer.is_ipv6())) % 64
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = self.rng.random_range(0..40);
        (0..length).map(|_| self.rng.random()).collect()
    }

    /// A peer, among them the clients of these servers.
    fn peer(&mut self) -> SocketAddr {
        let mut peers = vec![addr("203.0.113.1:1000"), addr("203.0.113.1:1002"), addr("203.0.113.2:1004")];
        peers.extend(["[2001:db8:ff::1]:1006", "[2001:db8:ff::2]:1008"].map(addr));
        peers.extend(self.relayed_addresses().first());
        *peers.choose(&mut self.rng).unwrap()
    }

    fn relayed_addresses(&self) -> Vec<SocketAddr> {
        let mut relayed: Vec<_> = self.both.sim.datapath.open.iter().map(|r| r.0).collect();
        relayed.sort_unstable();
        relayed
    }
}
