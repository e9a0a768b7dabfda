//! A subject in its lab, with generator and sink before it.

use anyhow::{Context, Result};
use nix::unistd::Pid;
use turnpike_bench::figures::{Load, Outcome};
use turnpike_bench::lab::{GENERATOR_CPU, Place, pin};
use turnpike_bench::runs::subject::{Rig, Role, Subject as Who};
use turnpike_bench::subjects::Subject;
use turnpike_bench::traffic::{FirstInLine, Generator, Pktgen, Traffic};

use crate::cli::By;

/// What is measured, and what measures it. Fields are dropped in this order: the lab, which the subject has, goes last.
pub(super) struct LabRig {
    traffic: Traffic,
    _sink: Vec<FirstInLine>,
    subject: Box<dyn Subject>,
    who: Who,
}

impl LabRig {
    /// Attaches generator and sink to the subject's lab. It rests: those that are started after it take their time.
    pub(super) fn new(mut subject: Box<dyn Subject>, role: Role, by: By) -> Result<Self> {
        let lab = subject.lab();
        let (clients, peers) = (lab.clients(), lab.peers());
        let (flows, wire) = (subject.flows(), subject.wire());
        if by == By::Pktgen {
            lab.finish_checksums();
        }
        let new = || {
            let mut traffic =
                Traffic::new(&clients.interface, clients.own_mac, clients.relay_mac, flows, wire)?;
            if !lab.has_one_nic() {
                traffic.peers_at(&peers.interface, peers.own_mac, peers.relay_mac)?;
            }
            if by == By::Pktgen {
                traffic.generate_by(Generator::Pktgen(Pktgen::on(GENERATOR_CPU)?));
            }
            anyhow::Ok(traffic)
        };
        let traffic = lab.generator().enter(new).context("generator and sink")?;
        let sink =
            lab.generator_pollers().iter().map(|&poller| FirstInLine::put(poller)).collect::<Result<_>>()?;
        let who = Who { name: subject.name().into(), role, version: subject.version().into() };
        subject.rest()?;
        Ok(Self { traffic, _sink: sink, subject, who })
    }
}

impl Rig for LabRig {
    fn subject(&self) -> &Who {
        &self.who
    }

    fn offer(&mut self, load: &Load) -> Result<Outcome> {
        let Self { traffic, subject, .. } = self;
        let place = subject.lab().generator().clone();
        // A thread of its own, even where there is no namespace: this one's CPUs stay as they are.
        let offer = move || {
            if let Place::Namespace(_) = subject.lab().generator() {
                pin(Pid::from_raw(0), GENERATOR_CPU)?;
            }
            traffic.offer(load, &|| subject.cpu_seconds())
        };
        place.enter(offer)
    }

    fn keep_alive(&mut self) -> Result<()> {
        self.subject.keep_alive()
    }

    fn rest(&mut self) -> Result<()> {
        self.subject.rest()
    }

    fn wake(&mut self) -> Result<()> {
        self.subject.wake()
    }
}
