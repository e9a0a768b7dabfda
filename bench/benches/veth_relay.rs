//! What forwarding costs on a real driver, against the least that an XDP program can do there: swap the MAC addresses and
//! return `XDP_TX`.
//!
//! `cargo bench -p turnpike-bench --bench veth_relay`, as root, after `cargo xtask build-ebpf`; two CPUs at the least.
//! `-- --rounds N` for another number of rounds.
//!
//! What lookups cost on the way is shown by the floor itself: the same swap after one line of a table of 8 MiB was read, another
//! for each flow, and after two of which the first names the second.
//!
//! Live frames go from a generator (CPU 0) through a veth pair to the program under test, whose end of the pair is polled
//! by a kernel thread on CPU 1, and come back to a sink (CPU 0). A figure is the packets that came back whole in a second of
//! CPU time of that thread: its polling, the program and the sending, neither generator nor sink. All subjects take turns.

use std::fs;
use std::time::Duration;

use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use nix::unistd::Pid;
use relay_common::bench::FLOWS;
use turnpike_bench::figures::{Direction, Flow, Load, Outcome};
use turnpike_bench::lab::{GENERATOR_CPU, RELAY_CPU, pin, poll_by_thread, thread_seconds};
use turnpike_bench::templates::{Ends, V4, V6, bench_programs, channels, path_of};
use turnpike_bench::traffic::{FirstInLine, Traffic, Wire};
use turnpike_tests::lab::{Namespace, veth};
use turnpike_tests::xdp::Program;

const ROUNDS: usize = 25;
const DATA: [u8; 160] = [7; 160];
const NEAR: &str = "gen0";
const FAR: &str = "nic0";

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    let rounds = arguments.nth(1).map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let namespace = Namespace::new();
    veth(&namespace, NEAR, &namespace, FAR);
    let [own, relay] = [NEAR, FAR].map(|interface| namespace.mac(interface));
    namespace.enter(|| {
        let [sink, poller] = [(NEAR, GENERATOR_CPU), (FAR, RELAY_CPU)].map(|(interface, cpu)| {
            let pollers = poll_by_thread(interface, cpu).expect("threaded NAPI (kernel 5.12)");
            *pollers.first().expect("one a queue")
        });
        let _first = FirstInLine::put(sink).expect("another priority");
        pin(Pid::from_raw(0), GENERATOR_CPU).expect("the CPU is there");
        let mut subjects = Vec::new();
        for flows in [64, FLOWS] {
            for (name, ends) in [("v4 - v4", V4), ("v6 - v6", V6)] {
                for direction in [Direction::ToPeer, Direction::ToClient] {
                    subjects.push(Subject::new(name, ends, direction, flows));
                }
            }
        }
        for flows in [64, FLOWS] {
            for (name, program) in [("one line", "swap_macs_after_one"), ("two lines", "swap_macs_after_two")] {
                subjects.push(Subject::swap(name, program, flows));
            }
        }
        let mut floor = bench_programs(&[vec![0; 200]]);
        let floor: &mut Xdp = floor.program_mut("swap_macs").expect("in the object").try_into().expect("XDP");
        floor.load().expect("the verifier takes it");
        let mut traffic = Traffic::new(NEAR, own, relay, &subjects[0].flows, Wire::Echo).expect("a generator");
        let cpu = || thread_seconds(poller);
        for round in 0..=rounds {
            for subject in &mut subjects {
                let link = floor.attach(FAR, XdpMode::Driver).expect("native XDP");
                let swapped =
                    run(&subject.name, &subject.flows, &subject.load, &mut traffic, Wire::Echo, &cpu);
                floor.detach(link).expect("attached");
                let relayed = subject.forward(&mut traffic, &cpu);
                if round > 0 {
                    subject.figures.push([relayed, swapped]);
                }
            }
        }
        println!(
            "{:40} {:>8} {:>8} {:>6} {:>6} {:>6} {:>8} {:>8}   packets a CPU-second, medians of {rounds}; ratio; packets \
             a second made, and swapped",
            "", "relayed", "swapped", "min", "median", "max", "made", "swapped"
        );
        subjects.iter().for_each(Subject::print);
    });
}

/// What is compared with the floor.
enum Under {
    Turnpike(Box<Program>),
    /// A program of the bench that sends frames back.
    Bench(Box<Ebpf>, &'static str),
}

/// One way through the program over many flows.
struct Subject {
    name: String,
    program: Under,
    flows: Vec<Flow>,
    load: Load,
    figures: Vec<[Outcome; 2]>,
}

impl Subject {
    fn new(families: &str, ends: Ends, direction: Direction, flows: u32) -> Self {
        let to_peer = direction == Direction::ToPeer;
        let (program, frames) = channels(ends, to_peer, flows, index_of(FAR), &DATA);
        let way = if to_peer { "client to peer" } else { "peer to client" };
        let flow = |number| {
            let path = path_of(ends, number);
            Flow {
                client: path.client.into(),
                listener: path.listener.into(),
                relayed: path.relayed.into(),
                peer: path.peer.into(),
                channel: path.channel.get(),
            }
        };
        Self {
            name: format!("{families}  {way}  {flows:>6} flows"),
            program: Under::Turnpike(Box::new(program)),
            flows: (0..flows).map(flow).collect(),
            load: load(direction, frames[0].len() as u16),
            figures: Vec::new(),
        }
    }

    /// The floor that reads lines of a table before.
    fn swap(lines: &str, program: &'static str, flows: u32) -> Self {
        let (name, under) =
            (format!("v4  swap, {lines:14} {flows:>6} flows"), bench_programs(&[vec![0; 200]]));
        let turnpike = Self::new("v4 - v4", V4, Direction::ToPeer, flows);
        Self { name, program: Under::Bench(Box::new(under), program), ..turnpike }
    }

    fn forward(&mut self, traffic: &mut Traffic, cpu: &dyn Fn() -> f64) -> Outcome {
        match &mut self.program {
            Under::Turnpike(program) => {
                let link = program.attach(FAR);
                let outcome = run(&self.name, &self.flows, &self.load, traffic, Wire::Turn, cpu);
                program.detach(link).expect("attached");
                outcome
            }
            Under::Bench(ebpf, name) => {
                let program: &mut Xdp =
                    ebpf.program_mut(name).expect("in the object").try_into().expect("XDP");
                if program.fd().is_err() {
                    program.load().expect("the verifier takes it");
                }
                let link = program.attach(FAR, XdpMode::Driver).expect("native XDP");
                let outcome = run(&self.name, &self.flows, &self.load, traffic, Wire::Echo, cpu);
                program.detach(link).expect("attached");
                outcome
            }
        }
    }

    fn print(&self) {
        let median = |of: &dyn Fn(&[Outcome; 2]) -> f64| {
            let mut all: Vec<f64> = self.figures.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            (all[0], all[all.len() / 2], all[all.len() - 1])
        };
        let each = |of: &dyn Fn(&Outcome) -> f64, at: usize| median(&|f| of(&f[at])).1 / 1e6;
        let relayed = each(&Outcome::packets_per_cpu_second, 0);
        let swapped = each(&Outcome::packets_per_cpu_second, 1);
        let (least, ratio, most) =
            median(&|[relayed, swapped]| relayed.packets_per_cpu_second() / swapped.packets_per_cpu_second());
        let made = each(&|outcome| outcome.sent as f64 / outcome.seconds, 1);
        let back = each(&|outcome| outcome.arrived as f64 / outcome.seconds, 1);
        println!(
            "{:40} {relayed:7.2}M {swapped:7.2}M {least:6.2} {ratio:6.2} {most:6.2} {made:7.2}M {back:7.2}M",
            self.name
        );
    }
}

fn load(direction: Direction, frame: u16) -> Load {
    Load {
        direction,
        frame,
        rate: None,
        burst: 1,
        spacing: Duration::ZERO,
        duration: Duration::from_millis(150),
    }
}

fn run(
    name: &str,
    flows: &[Flow],
    load: &Load,
    traffic: &mut Traffic,
    wire: Wire,
    cpu: &dyn Fn() -> f64,
) -> Outcome {
    traffic.aim(flows, wire).expect("as many as there may be");
    let outcome = traffic.offer(load, cpu).expect("live frames (kernel 5.18)");
    assert!(outcome.arrived > outcome.sent / 1000, "{name}: {outcome:?}");
    assert_eq!(outcome.corrupt, 0, "{name}: {:?}", traffic.faults());
    outcome
}

fn index_of(interface: &str) -> u32 {
    let path = format!("/sys/class/net/{interface}/ifindex");
    fs::read_to_string(path).expect("an interface").trim().parse().expect("a number")
}
