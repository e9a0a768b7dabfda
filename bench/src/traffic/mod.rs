//! Frames on their way to a relay and back: a generator, a sink, and what they counted.
//!
//! Both are XDP programs of one interface (`relay-ebpf/src/bench`), so that neither the kernel's stack nor a socket stands
//! between them and the relay. Every packet says in its first 16 bytes of data which one of which flow it is, and some say
//! when they were made. The sink compares each with what it must be: addresses, ports, lengths, the header that a client
//! gets, the UDP checksum; one in [16](Traffic::check_every) byte by byte.
//!
//! What has to be true of the interface:
//! - Its driver takes XDP programs and frames to send from them. On a veth, the other end must have an XDP program or
//!   `ethtool -K DEV gro on`, or what is sent there is lost without a trace.
//! - The sink gets as much CPU time as it needs. Where generator and sink share a CPU, a kernel thread polls the
//!   interface, by [`FirstInLine`] before the generator; else its queue runs over and the relay is blamed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::XdpMode;
use aya::{Ebpf, EbpfLoader};
use relay_common::bench::FLOWS;
use relay_common::bench::arrival::FAULTS;
use relay_common::bench::traffic::{Expected, FRACTION, Outgoing, Plan, Progress, Stamp, Tally};

use crate::figures::{Direction, Flow, Load, Outcome};

mod frames;
mod histogram;
mod live;
mod pktgen;
mod priority;
mod tables;

pub use frames::least_frame;
pub use pktgen::{Pktgen, excuse as pktgen_excuse, why_not as why_no_pktgen};
pub use priority::{FirstInLine, last_in_line};

use frames::Frames;
use histogram::Histogram;
use tables::{Counted, Tables, read, write, xdp};

/// How long nothing arrives before what is still missing counts as lost: longer than a hypervisor keeps a CPU to itself,
/// and than the queues of a relay at its limit take.
const QUIET: Duration = Duration::from_millis(150);

/// Bytes of application data that the generator needs in every packet.
pub const STAMP_LEN: u16 = Stamp::LEN as u16;

/// How many packets a second get a time at most, about: for the clock costs as much as half of the rest.
const STAMPS: f64 = 100_000.0;

/// How frames are made for a flow, and what must arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// ChannelData, Send indications, datagrams of peers; the relayed packet must arrive.
    Turn,
    /// The same frames, which come back as they are, MAC addresses swapped: the floor.
    Echo,
    /// Datagrams from client to peer (or back) with no relay between them: the kernel forwards, and the TTL is less by one.
    Forward,
}

/// Who makes the frames.
#[derive(Debug)]
pub enum Generator {
    /// An XDP program by live frames (kernel 5.18).
    LiveFrames,
    /// The kernel's pktgen, which makes datagrams of peers only. The sink counts its packets and judges nothing else: they
    /// do not say their flow. Written by the kernel's documentation and never run: no machine at hand has it.
    Pktgen(Pktgen),
}

/// Generator and sink on an interface, and the flows.
pub struct Traffic {
    ebpf: Ebpf,
    /// What clients are on, and what peers are; the same where there is but one.
    ends: [End; 2],
    flows: Vec<Flow>,
    wire: Wire,
    generator: Generator,
    /// What the tables hold frames for.
    made: Option<(Direction, u16, Frames)>,
    tables: Tables,
    plan: Plan,
    faults: [u64; FAULTS],
}

/// An interface that frames are sent by and arrive at.
#[derive(Clone, Debug)]
struct End {
    interface: String,
    ifindex: u32,
    macs: Macs,
}

/// Where frames are sent, and from where.
#[derive(Clone, Copy, Debug)]
struct Macs {
    own: [u8; 6],
    relay: [u8; 6],
}

impl End {
    /// Attaches the sink there.
    fn new(ebpf: &mut Ebpf, interface: &str, macs: Macs) -> Result<Self> {
        let ifindex = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .with_context(|| format!("there is no interface {interface} here"))?;
        xdp(ebpf, "sink")?.attach(interface, XdpMode::Driver).with_context(|| {
            format!(
                "{interface} takes no XDP program in driver mode, which sink and generator need; `ip link show {interface}` \
                 tells whether another one is there, `turnpike doctor` whether its driver can"
            )
        })?;
        Ok(Self { interface: interface.into(), ifindex, macs })
    }
}

impl Traffic {
    /// Loads both programs and attaches the sink to this interface of the thread's namespace. `relay_mac` is where
    /// frames are sent, `own_mac` the interface's.
    pub fn new(
        interface: &str,
        own_mac: [u8; 6],
        relay_mac: [u8; 6],
        flows: &[Flow],
        wire: Wire,
    ) -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-xdp.o");
        let object = std::fs::read(path)
            .with_context(|| format!("cannot read {path}; make it with `cargo xtask build-ebpf`"))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("TEMPLATES", 1)
            .map_max_entries("OUTGOING", FLOWS)
            .map_max_entries("EXPECTED", FLOWS)
            .load(&object)
            .context("the kernel refuses the bench's tables; run it as root")?;
        for name in ["generate", "sink"] {
            xdp(&mut ebpf, name)?.load().with_context(|| format!("the kernel refuses the program {name}"))?;
        }
        let tables = Tables::of(&ebpf)?;
        let end = End::new(&mut ebpf, interface, Macs { own: own_mac, relay: relay_mac })?;
        let mut traffic = Self {
            ebpf,
            ends: [end.clone(), end],
            flows: Vec::new(),
            wire,
            generator: Generator::LiveFrames,
            made: None,
            tables,
            plan: Plan { check_mask: 15, ..Plan::default() },
            faults: [0; FAULTS],
        };
        traffic.aim(flows, wire)?;
        Ok(traffic)
    }

    /// Goes on with other flows, or another subject: an interface takes one sink, and attaching it takes longer.
    pub fn aim(&mut self, flows: &[Flow], wire: Wire) -> Result<()> {
        let most = FLOWS as usize;
        ensure!(
            (1..=most).contains(&flows.len()),
            "a run has 1 to {most} flows, and {} were given",
            flows.len()
        );
        (self.flows, self.wire, self.made) = (flows.into(), wire, None);
        Ok(())
    }

    /// Has peers on an interface of their own: what they send leaves by it, what is for them arrives there.
    pub fn peers_at(&mut self, interface: &str, own_mac: [u8; 6], relay_mac: [u8; 6]) -> Result<()> {
        self.ends[1] = End::new(&mut self.ebpf, interface, Macs { own: own_mac, relay: relay_mac })?;
        Ok(())
    }

    /// By what frames of this direction leave.
    fn end(&self, direction: Direction) -> &End {
        &self.ends[usize::from(direction == Direction::ToClient)]
    }

    /// Has the frames made by another generator.
    pub fn generate_by(&mut self, generator: Generator) {
        self.generator = generator;
    }

    /// Has the sink look at every byte of one packet in `packets`, rounded up to a power of two.
    pub fn check_every(&mut self, packets: u32) {
        self.plan.check_mask = packets.next_power_of_two() - 1;
    }

    /// What was wrong with packets of the last load, by [fault](relay_common::bench::arrival).
    pub fn faults(&self) -> [u64; FAULTS] {
        self.faults
    }

    /// What arrived of each flow in the last load: whole (out of order or not), out of order, otherwise than it should.
    pub fn by_flow(&self) -> Vec<[u32; 3]> {
        let flow = |at: usize| {
            let Expected { arrived, reordered, corrupt, .. } = read(&self.tables.expected, at);
            [arrived, reordered, corrupt]
        };
        (0..self.flows.len()).map(flow).collect()
    }

    /// Offers the load, waits until what is under way has arrived, and tells what came of it. `cpu` reads the relay's CPU
    /// time in seconds.
    pub fn offer(&mut self, load: &Load, cpu: &dyn Fn() -> f64) -> Result<Outcome> {
        self.make(load)?;
        self.write_plan(load);
        let before = (Tally::of(&self.ebpf)?, Histogram::of(&self.ebpf)?, cpu());
        let sent = match &self.generator {
            Generator::LiveFrames => {
                let (_, _, frames) = self.made.as_ref().context("frames were made above")?;
                let program = self.ebpf.program("generate").context("there is no program generate")?;
                live::run(
                    program.try_into()?,
                    frames,
                    self.end(load.direction).ifindex,
                    load.duration,
                    || read::<Progress>(&self.tables.progress, 0).first != 0,
                )?;
                let Progress { first, last, sent, .. } = read(&self.tables.progress, 0);
                // From the first to the last is one burst less than was sent.
                let spacing = (self.plan.interval >> FRACTION) as f64;
                pktgen::Sent { packets: sent, seconds: ((last - first) as f64 + spacing) / 1e9 }
            }
            Generator::Pktgen(pktgen) => {
                let End { interface, macs, .. } = self.end(load.direction);
                pktgen.run(interface, macs, &self.flows, self.wire, load)?
            }
        };
        let tally = self.settle(&before.0, sent.packets)?;
        let cpu_seconds = cpu() - before.2;
        self.faults = tally.faults;
        Ok(Outcome {
            sent: sent.packets,
            arrived: tally.arrived + tally.pktgen,
            reordered: tally.reordered,
            corrupt: tally.faults.iter().sum(),
            seconds: sent.seconds,
            cpu_seconds,
            latency: Histogram::of(&self.ebpf)?.since(&before.1).latency(),
        })
    }

    /// Has the tables hold this load's frames.
    fn make(&mut self, load: &Load) -> Result<()> {
        ensure!(load.burst > 0, "a burst of no packets");
        if load.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            bail!("a rate is more than 0 packets a second");
        }
        if !self
            .made
            .as_ref()
            .is_some_and(|(direction, frame, _)| (*direction, *frame) == (load.direction, load.frame))
        {
            let frames = Frames::new(
                &self.flows,
                self.wire,
                load.direction,
                load.frame,
                &self.end(load.direction).macs,
            )?;
            for (i, (outgoing, expected)) in frames.flows.iter().enumerate() {
                write(&self.tables.outgoing, i, outgoing);
                write(&self.tables.expected, i, expected);
            }
            self.made = Some((load.direction, load.frame, frames));
        }
        // Numbers begin anew: what is left over of an earlier run is known by the run's number.
        for i in 0..self.flows.len() {
            let outgoing: Outgoing = read(&self.tables.outgoing, i);
            write(&self.tables.outgoing, i, &Outgoing { sequence: 0, ..outgoing });
            let expected: Expected = read(&self.tables.expected, i);
            let expected = Expected { next: 0, arrived: 0, reordered: 0, corrupt: 0, ..expected };
            write(&self.tables.expected, i, &expected);
        }
        Ok(())
    }

    fn write_plan(&mut self, load: &Load) {
        let words = self.made.as_ref().map_or(0, |(_, _, frames)| frames.words);
        let (interval, stamp_mask) = match load.rate {
            Some(rate) => (
                (f64::from(load.burst) * 1e9 / rate * f64::from(1 << FRACTION)) as u64,
                ((rate / STAMPS) as u32).next_power_of_two() - 1,
            ),
            None => (0, 63),
        };
        self.plan = Plan {
            duration: load.duration.as_nanos() as u64,
            interval,
            flows: self.flows.len() as u32,
            burst: load.burst,
            spacing: load.spacing.as_nanos() as u32,
            words,
            stamp_mask,
            run: (self.plan.run + 1) & 0xff,
            ttl: self.wire.ttl().into(),
            ..self.plan
        };
        write(&self.tables.plan, 0, &self.plan);
        // The same order of flows each time: runs are compared with one another.
        write(&self.tables.progress, 0, &Progress { random: 1, ..Progress::default() });
    }

    /// Waits for what is under way, and gives what arrived since `before`.
    fn settle(&self, before: &Tally, sent: u64) -> Result<Tally> {
        let (mut last, mut at) = (0, Instant::now());
        loop {
            let tally = Tally::of(&self.ebpf)?.since(before);
            let seen = tally.arrived + tally.pktgen + tally.faults.iter().sum::<u64>();
            if seen > last {
                (last, at) = (seen, Instant::now());
            }
            if seen >= sent || at.elapsed() > QUIET {
                return Ok(tally);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Wire {
    /// What packets must arrive with; 0 for anything, as relays may choose (RFC 8656 section 13).
    fn ttl(self) -> u8 {
        match self {
            Wire::Turn => 0,
            Wire::Echo => frames::TTL,
            Wire::Forward => frames::TTL - 1,
        }
    }
}
