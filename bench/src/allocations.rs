//! Many allocations with their channels or permissions at any TURN server, quickly: a socket for each client, and many requests
//! on their way at once.

mod exchange;
mod refusal;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use turnpike::stun::{Builder, Message, Method};

use crate::figures::Flow;
use crate::lab::{Family, Lab};
use exchange::{Exchange, Job};

/// As many clients as every server and every machine has files for.
pub const CLIENTS: u32 = 4_096;

/// UDP as REQUESTED-TRANSPORT names it.
pub(crate) const UDP: u8 = 17;

/// The first channel number (RFC 8656 section 12).
const FIRST_CHANNEL: u16 = 0x4000;

/// How many channel numbers there are (RFC 8656 section 12).
const CHANNELS: u32 = 0x1000;

/// Peers in one CreatePermission request: what fits a datagram of any path, credentials included.
const PEERS_A_REQUEST: u32 = 16;

/// The longest lifetime that servers grant by default.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// Permissions last 300 s (RFC 8656 section 9) and have to be refreshed before.
pub(crate) const REFRESH_AFTER: Duration = Duration::from_secs(200);

/// What is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// How many allocations, each of a client of its own.
    pub allocations: u32,
    /// How many peers each of them has. All flows are of different peers.
    pub bindings: u32,
    /// How data travels between client and server.
    pub carriage: Carriage,
    /// The family of clients and of the listener.
    pub clients: Family,
    /// The family of relayed transport addresses and of peers.
    pub peers: Family,
    /// Who the peers are.
    pub to: To,
}

/// How data travels between client and server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Carriage {
    /// As ChannelData.
    Channels,
    /// In Send and Data indications: permissions are all that is made.
    Indications,
}

/// Who the peers are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum To {
    /// Hosts outside.
    Hosts,
    /// Other clients of the same server. For each flow there is one that goes back: from its peer's client, to its relayed
    /// transport address, with the same channel number.
    EachOther,
}

impl Plan {
    /// Channels to hosts outside, over one family.
    pub fn channels(allocations: u32, bindings: u32, family: Family) -> Self {
        let (clients, peers) = (family, family);
        Self { allocations, bindings, carriage: Carriage::Channels, clients, peers, to: To::Hosts }
    }

    /// The same for so many flows: of a client each, or, where there are more than [`CLIENTS`], of so many with several.
    pub fn of_flows(flows: u32, family: Family) -> Result<Self> {
        let allocations = flows.clamp(1, CLIENTS);
        ensure!(
            flows.is_multiple_of(allocations),
            "{flows} flows can't be shared out among {CLIENTS} clients"
        );
        Ok(Self::channels(allocations, flows / allocations, family))
    }

    /// How many flows that makes.
    pub fn flows(&self) -> u32 {
        self.allocations * self.bindings
    }

    fn check(&self, lab: &Lab) -> Result<()> {
        ensure!(self.allocations > 0 && self.bindings > 0, "at least one allocation with one binding");
        ensure!(
            self.bindings <= CHANNELS,
            "an allocation has {CHANNELS} channels at the most (RFC 8656 section 12)"
        );
        let group = (self.bindings + 1).next_power_of_two();
        ensure!(
            self.to == To::Hosts || self.allocations.is_multiple_of(group),
            "for {} peers each among themselves, allocations must be a multiple of {group}",
            self.bindings
        );
        // Whether there are addresses for the last of them, before memory is asked for.
        lab.addresses().client(self.clients, self.allocations - 1)?;
        if self.to == To::Hosts {
            let flows =
                self.allocations.checked_mul(self.bindings).context("more flows than can be counted")?;
            lab.addresses().peer(self.peers, flows - 1)?;
        }
        Ok(())
    }

    fn channel(&self, binding: u32) -> u16 {
        match self.carriage {
            Carriage::Channels => FIRST_CHANNEL + binding as u16,
            Carriage::Indications => 0,
        }
    }

    /// The flows of a subject that has no allocations: the same addresses, as a TURN server would have given them out.
    pub fn without_a_server(&self, lab: &Lab) -> Result<Vec<Flow>> {
        self.check(lab)?;
        let addresses = lab.addresses();
        let relayed = |client: u32| -> Result<SocketAddr> {
            let port = 16_384 + (client % 49_152) as u16;
            Ok(SocketAddr::new(addresses.relayed_of(self.peers)?, port))
        };
        let all: Result<Vec<_>> = (0..self.allocations).map(relayed).collect();
        self.flows_of(lab, &all?)
    }

    /// The flows of clients with these relayed transport addresses.
    fn flows_of(&self, lab: &Lab, relayed: &[SocketAddr]) -> Result<Vec<Flow>> {
        let addresses = lab.addresses();
        let listener = addresses.listener(self.clients)?;
        let mut flows = Vec::with_capacity(self.flows() as usize);
        for client in 0..self.allocations {
            for binding in 0..self.bindings {
                let peer = match self.to {
                    To::Hosts => addresses.peer(self.peers, client * self.bindings + binding)?,
                    // Whoever is my peer by a number has me as its peer by the same.
                    To::EachOther => relayed[(client ^ (binding + 1)) as usize],
                };
                flows.push(Flow {
                    client: addresses.client(self.clients, client)?,
                    listener,
                    relayed: relayed[client as usize],
                    peer,
                    channel: self.channel(binding),
                });
            }
        }
        Ok(flows)
    }
}

/// A user of a TURN server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// USERNAME.
    pub name: String,
    /// The password; the server says in which realm.
    pub password: String,
}

/// Allocations that were made, and the sockets of their clients.
#[derive(Debug)]
pub struct Allocations {
    exchange: Exchange,
    plan: Plan,
    flows: Vec<Flow>,
    refreshed: Instant,
    took: Duration,
}

impl Allocations {
    /// Makes them at the lab's server.
    pub fn make(lab: &Lab, user: &User, plan: Plan) -> Result<Self> {
        plan.check(lab)?;
        allow_files()?;
        let start = Instant::now();
        let listener = lab.addresses().listener(plan.clients)?;
        let addresses: Result<Vec<_>> =
            (0..plan.allocations).map(|client| lab.addresses().client(plan.clients, client)).collect();
        let mut exchange = Exchange::new(lab.generator().clone(), addresses?, listener, user)?;
        let relayed = allocate(&mut exchange, &plan)?;
        let flows = plan.flows_of(lab, &relayed)?;
        let mut made = Self { exchange, plan, flows, refreshed: start, took: Duration::ZERO };
        made.bind()?;
        made.took = start.elapsed();
        Ok(made)
    }

    /// The flows; those of a client follow one another.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// How long they took to make.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The socket of a client, for whoever sends or receives as it; `None` where there are too many clients to keep theirs.
    pub fn socket(&self, client: u32) -> Option<&UdpSocket> {
        self.exchange.socket(client)
    }

    /// Whether it is time to refresh allocations and bindings. To be asked every minute.
    pub fn are_due(&self) -> bool {
        self.refreshed.elapsed() >= REFRESH_AFTER
    }

    /// Refreshes all allocations and bindings.
    pub fn refresh(&mut self) -> Result<()> {
        let now = Instant::now();
        self.every_allocation(LIFETIME)?;
        self.bind()?;
        self.refreshed = now;
        Ok(())
    }

    /// Ends all allocations.
    pub fn end(mut self) -> Result<()> {
        self.every_allocation(Duration::ZERO)
    }

    /// Channels or permissions for all flows: made, or made once more, which refreshes them.
    fn bind(&mut self) -> Result<()> {
        let plan = self.plan;
        let (method, each) = match plan.carriage {
            Carriage::Channels => (Method::CHANNEL_BIND, 1),
            Carriage::Indications => (Method::CREATE_PERMISSION, PEERS_A_REQUEST),
        };
        let steps = plan.bindings.div_ceil(each);
        let jobs = (0..plan.allocations)
            .flat_map(|client| (0..steps).map(move |step| Job { client, method, first: step * each }));
        let flows = &self.flows;
        let fill = |job: &Job, request: &mut Builder<'_>| {
            let of_client = &flows[(job.client * plan.bindings) as usize..][..plan.bindings as usize];
            for flow in of_client.iter().skip(job.first as usize).take(each as usize) {
                if plan.carriage == Carriage::Channels {
                    request.channel_number(flow.channel);
                }
                request.xor_peer_address(flow.peer);
            }
        };
        self.exchange.run(jobs, fill, |_, _| Ok(()))
    }

    fn every_allocation(&mut self, lifetime: Duration) -> Result<()> {
        let jobs = (0..self.plan.allocations).map(|client| Job { client, method: Method::REFRESH, first: 0 });
        self.exchange.run(jobs, |_, request| _ = request.lifetime(lifetime), |_, _| Ok(()))
    }
}

/// An allocation for each client: their relayed transport addresses.
fn allocate(exchange: &mut Exchange, plan: &Plan) -> Result<Vec<SocketAddr>> {
    let mut relayed = vec![None; plan.allocations as usize];
    let jobs = (0..plan.allocations).map(|client| Job { client, method: Method::ALLOCATE, first: 0 });
    let fill = |_: &Job, request: &mut Builder<'_>| {
        request.requested_transport(UDP).lifetime(LIFETIME).requested_address_family(plan.peers.into());
    };
    let done = |job: &Job, answer: &Message<'_>| {
        match answer.xor_relayed_address() {
            Ok(Some(address)) => relayed[job.client as usize] = Some(address),
            _ => bail!("the server's answer to an Allocate request has no readable XOR-RELAYED-ADDRESS"),
        }
        Ok(())
    };
    exchange.run(jobs, fill, done)?;
    relayed.into_iter().collect::<Option<_>>().context("an allocation without an answer")
}

/// Lets this process, and the servers that it starts, have as many files open as it may: a client has a socket while it asks,
/// one over a stream has its own and its peer's as long as it lives, and an allocation of many a server has one as well.
pub(crate) fn allow_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("the limit of open files")
}
