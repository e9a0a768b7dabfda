//! A TURN server whose clients come by streams.

use anyhow::Result;
use nix::unistd::Pid;
use turnpike_bench::figures::{Load, Outcome};
use turnpike_bench::lab::{GENERATOR_CPU, Lab, pin};
use turnpike_bench::runs::setup::{Setup, Transport};
use turnpike_bench::runs::subject::{Absent, Lineup, Rig, Role, Subject as Who};
use turnpike_bench::streams::{Identity, StreamClients};
use turnpike_bench::subjects::{Server, Subject, user};

use super::{Labs, coturn_name};

/// The server and its clients.
struct StreamRig {
    clients: StreamClients,
    server: Server,
    setup: Setup,
    who: Who,
}

impl Labs {
    /// The servers that can do it, with clients over this transport.
    pub(super) fn stream_lineup(&self, setup: &Setup) -> Result<Lineup> {
        let identity = Identity::new()?;
        let mut lineup = Lineup { rigs: Vec::new(), absent: self.absent.clone() };
        let mut add = |name: &str, role, start: &dyn Fn(Lab) -> Result<Server>| {
            if !self.is_asked_for(name) {
                return;
            }
            let rig = Lab::one_nic()
                .and_then(start)
                .and_then(|server| StreamRig::new(server, role, setup, &identity));
            match rig {
                Ok(rig) => lineup.rigs.push(Box::new(rig)),
                Err(error) => {
                    lineup.absent.push(Absent { subject: name.into(), why: format!("{error:#}") });
                }
            }
        };
        let turnpike = |lab| self.turnpike.start_for_streams(lab, &identity);
        add("turnpike userspace", Role::Userspace, &turnpike);
        let by_web_socket = setup.transport == Transport::WebSocket;
        for (coturn, options) in self.coturns.iter().filter(|_| !by_web_socket) {
            let start = |lab| coturn.start_for_streams(lab, options, &identity);
            add(&coturn_name(coturn, options), Role::Coturn, &start);
        }
        let mut absent = |subject: &str, why: &str| {
            lineup.absent.push(Absent { subject: subject.into(), why: why.into() });
        };
        if by_web_socket {
            absent("coturn", "it has no WebSockets");
        }
        absent("floor, AF_XDP reflector, kernel forwarding", "they have no connections");
        absent("turnpike in XDP modes", "its process relays for clients over streams, whatever the mode");
        Ok(lineup)
    }
}

impl StreamRig {
    /// Has clients come to a server, which rests after that.
    fn new(mut server: Server, role: Role, setup: &Setup, identity: &Identity) -> Result<Self> {
        let make = || StreamClients::make(server.lab(), &user(), setup.transport, setup.flows, identity);
        let clients = server.lab().generator().enter(make)?;
        server.rest()?;
        let who = Who { name: server.name().into(), role, version: server.version().into() };
        Ok(Self { clients, server, setup: *setup, who })
    }
}

impl Rig for StreamRig {
    fn subject(&self) -> &Who {
        &self.who
    }

    fn offer(&mut self, load: &Load) -> Result<Outcome> {
        let Self { clients, server, setup, .. } = self;
        let data = load.frame - setup.headers(load.direction);
        let place = server.lab().generator().clone();
        // A thread of its own, which has the generator's CPU.
        place.enter(move || {
            pin(Pid::from_raw(0), GENERATOR_CPU)?;
            clients.offer(load.direction, data, load.duration, &|| server.cpu_seconds())
        })
    }

    fn keep_alive(&mut self) -> Result<()> {
        let Self { clients, server, .. } = self;
        if clients.are_due() { server.awake(|_| clients.refresh()) } else { Ok(()) }
    }

    fn rest(&mut self) -> Result<()> {
        self.server.rest()
    }

    fn wake(&mut self) -> Result<()> {
        self.server.wake()
    }
}
