//! Relays whose capacity is known, to test the runs and the report with.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, ensure};

use super::measure::Case;
use super::setup::Setup;
use super::subject::{Absent, Bench, Figure, Lineup, Rig, Role, Subject};
use crate::figures::{Direction, Latency, Load, Outcome};

/// A generator before a relay.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    /// Packets a second that it carries.
    pub(crate) capacity: f64,
    /// What it carries of its capacity when it is offered more than twice that.
    pub(crate) flooded: f64,
    /// One of so many slices loses this share, at any rate.
    pub(crate) away: Option<(u32, f64)>,
    /// In one of so many slices the generator makes half of what it should.
    pub(crate) starved: Option<u32>,
    /// Packets a second that the generator makes at most.
    pub(crate) made: f64,
    /// Those that it makes at most when it is told a rate.
    pub(crate) paced: f64,
    /// Nanoseconds of CPU time a packet.
    pub(crate) cost: f64,
    /// What a packet costs of that in trains.
    pub(crate) merged: f64,
    /// Packets of a burst that it has room for.
    pub(crate) room: u32,
    pub(crate) offered: u32,
    /// Its flows cannot be kept alive.
    pub(crate) expiring: bool,
}

impl Default for Relay {
    fn default() -> Self {
        let unlimited = f64::INFINITY;
        Self {
            capacity: 1e6,
            flooded: 0.9,
            away: None,
            starved: None,
            made: 5e6,
            paced: unlimited,
            cost: 500.0,
            merged: 1.0,
            room: u32::MAX,
            offered: 0,
            expiring: false,
        }
    }
}

impl Relay {
    /// What comes of so many packets a second in so many seconds.
    pub(crate) fn offer(&mut self, rate: Option<f64>, seconds: f64) -> Outcome {
        self.offered += 1;
        let mut rate = rate.map_or(self.made, |rate| rate.min(self.made).min(self.paced));
        if self.starved.is_some_and(|every| self.offered.is_multiple_of(every)) {
            rate /= 2.0;
        }
        let flooded = if rate > 2.0 * self.capacity { self.flooded } else { 1.0 };
        let mut carried = rate.min(self.capacity * flooded);
        if let Some((every, lost)) = self.away
            && self.offered.is_multiple_of(every)
        {
            carried *= 1.0 - lost;
        }
        let arrived = (carried * seconds) as u64;
        // Half of what it takes at capacity when idle, and rising towards it.
        let p99 = 10_000.0 / (1.05 - (rate / self.capacity.max(1.0)).min(1.0));
        Outcome {
            sent: (rate * seconds) as u64,
            arrived,
            seconds,
            cpu_seconds: arrived as f64 * self.cost / 1e9,
            latency: Some(Latency { p50: p99 as u64 / 2, p99: p99 as u64, p999: 2 * p99 as u64 }),
            ..Outcome::default()
        }
    }
}

/// A relay as a subject, which fails after so many loads.
pub(crate) struct FakeRig {
    subject: Subject,
    pub(crate) relay: Relay,
    fails_after: u32,
    awake: bool,
    /// How many of its line-up are awake.
    all_awake: Rc<Cell<u32>>,
}

impl Rig for FakeRig {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn offer(&mut self, load: &Load) -> Result<Outcome> {
        ensure!(self.relay.offered < self.fails_after, "{} is gone", self.subject.name);
        assert!(self.awake && self.all_awake.get() == 1, "all but {} must rest", self.subject.name);
        let mut outcome = self.relay.offer(load.rate, load.duration.as_secs_f64());
        if load.burst > 1 {
            outcome.cpu_seconds *= self.relay.merged;
        }
        if load.burst > self.relay.room {
            outcome.arrived = outcome.sent * u64::from(self.relay.room) / u64::from(load.burst);
        }
        Ok(outcome)
    }

    fn keep_alive(&mut self) -> Result<()> {
        ensure!(!self.relay.expiring, "the flows of {} expired", self.subject.name);
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        self.all_awake.update(|awake| awake - u32::from(std::mem::take(&mut self.awake)));
        Ok(())
    }

    fn wake(&mut self) -> Result<()> {
        self.all_awake.update(|awake| awake + u32::from(!std::mem::replace(&mut self.awake, true)));
        Ok(())
    }
}

/// A bench of such subjects, the same for every setup but for what more flows cost.
#[derive(Default)]
pub(crate) struct FakeBench {
    pub(crate) relays: Vec<(Subject, Relay, u32)>,
    pub(crate) absent: Vec<Absent>,
    pub(crate) setups: Vec<Setup>,
    /// Only peers can send.
    pub(crate) one_way: bool,
}

impl FakeBench {
    /// Adds a subject.
    pub(crate) fn with(mut self, name: &str, role: Role, relay: Relay) -> Self {
        let subject = Subject { name: name.into(), role, version: "1".into() };
        self.relays.push((subject, relay, u32::MAX));
        self
    }

    /// One of each role, as fast as they might be.
    pub(crate) fn of_all_roles() -> Self {
        let relay = |capacity: f64, cost: f64| Relay { capacity, cost, ..Relay::default() };
        Self::default()
            .with("floor", Role::Floor, relay(2.9e6, 340.0))
            .with("AF_XDP reflector", Role::AfXdp, relay(3e5, 2_000.0))
            .with("forwarding", Role::Forwarding, relay(8e5, 1_200.0))
            .with("turnpike xdp", Role::Driver, relay(1.9e6, 510.0))
            .with("turnpike generic", Role::Generic, relay(9e5, 1_050.0))
            .with("turnpike userspace", Role::Userspace, relay(2.2e5, 4_300.0))
            .with("coturn 4.6.1", Role::Coturn, relay(7e4, 13_500.0))
            .with("coturn 4.17.1", Role::Coturn, relay(9e4, 10_500.0))
    }

    /// Has the subject of this name fail after so many loads of a setup.
    pub(crate) fn failing(mut self, name: &str, after: u32) -> Self {
        self.named(name).2 = after;
        self
    }

    /// Has the flows of the subject of this name expire.
    pub(crate) fn expiring(mut self, name: &str) -> Self {
        self.named(name).1.expiring = true;
        self
    }

    fn named(&mut self, name: &str) -> &mut (Subject, Relay, u32) {
        self.relays.iter_mut().find(|(subject, ..)| subject.name == name).expect("it is there")
    }
}

impl Bench for FakeBench {
    fn lineup(&mut self, setup: &Setup) -> Result<Lineup> {
        self.setups.push(*setup);
        let all_awake = Rc::default();
        let slower = 1.0 + f64::from(setup.flows).log2() / 30.0;
        let rigs = self.relays.iter().cloned().map(|(subject, mut relay, fails_after)| {
            relay.capacity /= slower;
            relay.cost *= slower;
            let all_awake = Rc::clone(&all_awake);
            Box::new(FakeRig { subject, relay, fails_after, awake: false, all_awake }) as Box<dyn Rig>
        });
        Ok(Lineup { rigs: rigs.collect(), absent: self.absent.clone() })
    }

    fn excuse(&self, case: &Case) -> Option<String> {
        (self.one_way && case.direction != Direction::ToClient).then(|| "only peers can send".into())
    }

    fn least_data(&self) -> u16 {
        20
    }

    fn drivers(&self) -> Vec<String> {
        vec!["veth".into()]
    }

    fn scale(&mut self, rounds: u32, _: bool) -> Result<(Vec<Figure>, Vec<Absent>)> {
        let userspace = self.relays.iter().filter(|(subject, ..)| subject.role == Role::Userspace);
        let figures = userspace.map(|(subject, ..)| Figure {
            id: Figure::ALLOCATIONS_A_SECOND,
            what: "Allocate and ChannelBind".into(),
            unit: "a second a core",
            subject: subject.clone(),
            values: (0..rounds).map(|round| 21_000.0 + f64::from(round)).collect(),
        });
        Ok((figures.collect(), Vec::new()))
    }
}
