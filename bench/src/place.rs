//! Where it is measured: subjects in labs of their own, each with generator and sink; or a server behind real interfaces.

mod rig;
mod scale;
mod stream_rig;

use std::env;

use anyhow::{Context, Result, bail, ensure};
use turnpike_bench::allocations::{CLIENTS, Carriage, Plan, To, User};
use turnpike_bench::lab::{self, Lab};
use turnpike_bench::runs::measure::Case;
use turnpike_bench::runs::setup::{Family, Kind, Setup, Transport};
use turnpike_bench::runs::subject::{Absent, Bench, Figure, Lineup, Role};
use turnpike_bench::subjects::{
    AfXdp, Coturn, DataPath, Floor, Forwarding, OptionSet, Server, Subject, Turnpike,
};
use turnpike_bench::traffic::{STAMP_LEN, pktgen_excuse, why_no_pktgen};

use crate::cli::{By, Place, RealInterfaces};
use rig::LabRig;

/// The lab in namespaces, or the real interfaces.
pub(crate) fn open(place: &Place, real: Option<RealInterfaces>) -> Result<Box<dyn Bench>> {
    let Place { coturn: coturns, subject: only, generator: by, .. } = place;
    if *by == By::Pktgen
        && let Some(why) = why_no_pktgen()
    {
        bail!(why);
    }
    if let Some(real) = real {
        return Ok(Box::new(Elsewhere(real, *by)));
    }
    let turnpike = Turnpike::built()?;
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    match Coturn::of_debian() {
        Ok(coturn) => found.push(coturn),
        Err(error) => absent.push(Absent { subject: "coturn".into(), why: format!("{error:#}") }),
    }
    // One that was asked for has to be there.
    for path in coturns {
        found.push(Coturn::at(path.clone())?);
    }
    let coturns = found.into_iter().flat_map(|coturn| {
        let sets = coturn.option_sets();
        sets.into_iter().map(move |set| (coturn.clone(), set))
    });
    Ok(Box::new(Labs { turnpike, coturns: coturns.collect(), absent, only: only.clone(), by: *by }))
}

/// The BUG is in `pskb_expand_head`, called by `netif_receive_generic_xdp`.
const GENERIC_AND_PKTGEN: &str = "pktgen keeps a hand on the packets that a veth delivers, and a kernel that gives such a packet to \
    an XDP program in generic mode ends in a panic (seen with 6.1)";

/// A lab for each subject.
struct Labs {
    turnpike: Turnpike,
    coturns: Vec<(Coturn, OptionSet)>,
    absent: Vec<Absent>,
    /// Parts of the names of those that are measured; all, if there are none.
    only: Vec<String>,
    by: By,
}

impl Labs {
    fn is_asked_for(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

/// What `--subject` has to be a part of.
fn coturn_name(coturn: &Coturn, options: &OptionSet) -> String {
    format!("coturn {}, {}", coturn.version(), options.name)
}

impl Bench for Labs {
    fn lineup(&mut self, setup: &Setup) -> Result<Lineup> {
        if setup.transport != Transport::Udp {
            return self.stream_lineup(setup);
        }
        let plan = plan(setup)?;
        let lab = || if setup.nics == 1 { Lab::one_nic() } else { Lab::two_nics() };
        // What every subject needs: better one error than one for each.
        drop(lab()?);
        let mut lineup = Lineup { rigs: Vec::new(), absent: self.absent.clone() };
        let mut add = |name: &str, role, start: &dyn Fn(Lab) -> Result<Box<dyn Subject>>| {
            if !self.is_asked_for(name) {
                return;
            }
            if self.by == By::Pktgen && role == Role::Generic {
                lineup.absent.push(Absent { subject: name.into(), why: GENERIC_AND_PKTGEN.into() });
                return;
            }
            match lab().and_then(start).and_then(|subject| LabRig::new(subject, role, self.by)) {
                Ok(rig) => lineup.rigs.push(Box::new(rig)),
                Err(error) => {
                    lineup.absent.push(Absent { subject: name.into(), why: format!("{error:#}") });
                }
            }
        };
        add("floor", Role::Floor, &|lab| Ok(Box::new(Floor::start(lab, &plan)?)));
        add("AF_XDP reflector", Role::AfXdp, &|lab| {
            let bench = env::current_exe().context("the binary of the bench")?;
            Ok(Box::new(AfXdp::start(lab, &plan, &bench)?))
        });
        add("kernel forwarding", Role::Forwarding, &|lab| Ok(Box::new(Forwarding::start(lab, &plan)?)));
        for path in DataPath::ALL {
            let role = match path {
                DataPath::Xdp => Role::Driver,
                DataPath::XdpGeneric => Role::Generic,
                DataPath::Userspace => Role::Userspace,
            };
            let name = format!("turnpike {}", path.flag());
            add(&name, role, &|lab| Ok(Box::new(self.turnpike.start(lab, path, &[], &plan)?)));
        }
        for (coturn, options) in &self.coturns {
            add(&coturn_name(coturn, options), Role::Coturn, &|lab| {
                Ok(Box::new(coturn.start(lab, options, &plan)?))
            });
        }
        Ok(lineup)
    }

    fn excuse(&self, case: &Case) -> Option<String> {
        if self.by == By::Pktgen { pktgen_excuse(case, true) } else { None }
    }

    fn least_data(&self) -> u16 {
        STAMP_LEN
    }

    fn drivers(&self) -> Vec<String> {
        vec!["veth, polled by threads of the kernel".into()]
    }

    fn scale(&mut self, rounds: u32, quick: bool) -> Result<(Vec<Figure>, Vec<Absent>)> {
        scale::scale(rounds, quick)
    }
}

/// A server that somebody else runs, behind interfaces of this machine.
struct Elsewhere(RealInterfaces, By);

impl Bench for Elsewhere {
    fn lineup(&mut self, setup: &Setup) -> Result<Lineup> {
        let Self(real, by) = self;
        if setup.transport != Transport::Udp {
            let why = "clients over streams need a server that the bench starts: run it without --client-if and --peer-if";
            let absent = Absent { subject: "server behind real interfaces".into(), why: why.into() };
            return Ok(Lineup { rigs: Vec::new(), absent: vec![absent] });
        }
        let nics = if real.client_interface == real.peer_interface { 1 } else { 2 };
        let lab = Lab::real(lab::RealInterfaces {
            client_interface: real.client_interface.clone(),
            peer_interface: real.peer_interface.clone(),
            clients: real.clients.clone(),
            peers: real.peers.clone(),
            listeners: real.listeners.clone(),
            relayed: real.relayed.clone(),
        })?;
        let user = User { name: real.user.clone(), password: real.password.clone() };
        let name = format!("server at {}, {nics} interfaces", real.listeners[0]);
        let server = Server::elsewhere(lab, &name, &user, &plan(setup)?)?;
        Ok(Lineup {
            rigs: vec![Box::new(LabRig::new(Box::new(server), Role::External, *by)?)],
            absent: Vec::new(),
        })
    }

    fn excuse(&self, case: &Case) -> Option<String> {
        if self.1 == By::Pktgen { pktgen_excuse(case, false) } else { None }
    }

    fn least_data(&self) -> u16 {
        STAMP_LEN
    }

    fn drivers(&self) -> Vec<String> {
        let driver = |interface: &String| {
            let link = std::fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
            Some(format!("{interface}: {}", link.file_name()?.to_string_lossy()))
        };
        let interfaces = [&self.0.client_interface, &self.0.peer_interface];
        let mut drivers: Vec<String> = interfaces.into_iter().filter_map(driver).collect();
        drivers.dedup();
        drivers
    }

    fn scale(&mut self, _: u32, _: bool) -> Result<(Vec<Figure>, Vec<Absent>)> {
        let why =
            "it is measured with servers that the bench starts: run it without --client-if and --peer-if";
        Ok((Vec::new(), vec![Absent { subject: "server behind real interfaces".into(), why: why.into() }]))
    }
}

/// The allocations of a setup: a client for each flow, up to as many as every server has room for.
fn plan(setup: &Setup) -> Result<Plan> {
    let allocations = setup.flows.min(CLIENTS);
    ensure!(setup.flows.is_multiple_of(allocations), "{} flows cannot be shared out", setup.flows);
    let family = |family| match family {
        Family::V4 => lab::Family::V4,
        Family::V6 => lab::Family::V6,
    };
    Ok(Plan {
        allocations,
        bindings: setup.flows / allocations,
        carriage: if setup.kind == Kind::Indication { Carriage::Indications } else { Carriage::Channels },
        clients: family(setup.client),
        peers: family(setup.peer),
        to: if setup.kind == Kind::RelayToRelay { To::EachOther } else { To::Hosts },
    })
}
