//! What forwarding costs on a real driver, against the least that an XDP program can do there: swap the MAC addresses and
//! return `XDP_TX`.
//!
//! `cargo bench -p turnpike-bench --bench veth_relay`, as root, after `cargo xtask build-ebpf`; two CPUs at the least.
//!
//! Live frames go from a generator (CPU 0) through a veth pair to the program under test, whose end of the pair is polled
//! by a kernel thread on CPU 1, and come back to a sink (CPU 0). A figure is the packets that came back in a second of
//! CPU time of that thread: its polling, the program and the sending, neither generator nor sink. All subjects take turns.

use std::fs;
use std::path::PathBuf;

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use relay_common::bench::FLOWS;
use turnpike_bench::templates::{Ends, V4, V6, bench_programs, channels};
use turnpike_tests::lab::{Namespace, veth};
use turnpike_tests::xdp::Program;

const ROUNDS: usize = 25;
const FRAMES: u32 = 400_000;
const DATA: [u8; 160] = [7; 160];
/// Bytes before a frame that the generator takes off: the kernel begins a live frame 368 bytes into its page, drivers begin
/// theirs at the start of a cache line.
const TO_LINE: usize = 16;
const NEAR: &str = "gen0";
const FAR: &str = "nic0";

fn main() {
    let namespace = Namespace::new();
    veth(&namespace, NEAR, &namespace, FAR);
    namespace.enter(|| {
        let poller = [(NEAR, 0), (FAR, 1)].map(|(interface, cpu)| poll_by_thread(interface, cpu))[1];
        pin(Pid::from_raw(0), 0);
        let mut subjects = Vec::new();
        for flows in [64, FLOWS] {
            for (name, ends) in [("v4 - v4", V4), ("v6 - v6", V6)] {
                for to_peer in [true, false] {
                    subjects.push(Subject::new(name, ends, to_peer, flows));
                }
            }
        }
        for round in 0..=ROUNDS {
            for subject in &mut subjects {
                let floor = subject.run(poller, true);
                let turnpike = subject.run(poller, false);
                if round > 0 {
                    subject.figures.push([turnpike, floor]);
                }
            }
        }
        println!(
            "{:40} {:>8} {:>8} {:>6} {:>6} {:>6}   packets a CPU-second, medians of {ROUNDS}; ratio",
            "", "relayed", "swapped", "min", "median", "max"
        );
        subjects.iter().for_each(Subject::print);
    });
}

/// One way through the program over many flows, and the bench programs with its frames.
struct Subject {
    name: String,
    program: Program,
    bench: Ebpf,
    frame: Vec<u8>,
    figures: Vec<[f64; 2]>,
}

impl Subject {
    fn new(families: &str, ends: Ends, to_peer: bool, flows: u32) -> Self {
        let (program, frames) = channels(ends, to_peer, flows, index_of(FAR), &DATA);
        let mut bench = bench_programs(&frames);
        for name in ["generate", "sink", "swap_macs"] {
            xdp(&mut bench, name).load().expect("the verifier takes it");
        }
        let direction = if to_peer { "client to peer" } else { "peer to client" };
        let name = format!("{families}  {direction}  {flows:>6} flows");
        Self {
            name,
            program,
            bench,
            frame: [vec![0; TO_LINE], frames[0].clone()].concat(),
            figures: Vec::new(),
        }
    }

    /// Packets that came back in a second of the poller's CPU time.
    fn run(&mut self, poller: Pid, floor: bool) -> f64 {
        let sink = attach(&mut self.bench, "sink", NEAR);
        let subject = if floor {
            Subjects::Bench(attach(&mut self.bench, "swap_macs", FAR))
        } else {
            Subjects::Turnpike(self.program.attach(FAR))
        };
        self.generate(FRAMES / 10);
        let before = (self.arrived(), cpu_time(poller));
        self.generate(FRAMES);
        let after = (self.arrived(), cpu_time(poller));
        match subject {
            Subjects::Bench(link) => xdp(&mut self.bench, "swap_macs").detach(link),
            Subjects::Turnpike(link) => self.program.detach(link),
        }
        .expect("attached");
        xdp(&mut self.bench, "sink").detach(sink).expect("attached");
        let arrived = after.0 - before.0;
        assert!(arrived > u64::from(FRAMES / 1000), "{}: {arrived} of {FRAMES} frames came back", self.name);
        arrived as f64 * 1e9 / (after.1 - before.1) as f64
    }

    fn generate(&mut self, frames: u32) {
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(self.frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&index_of(NEAR).to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&context),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::new()
        };
        xdp(&mut self.bench, "generate").test_run(options).expect("live frames (kernel 5.18)");
    }

    fn arrived(&self) -> u64 {
        let map =
            PerCpuArray::<_, u64>::try_from(self.bench.map("ARRIVED").expect("there")).expect("counters");
        map.get(&0, 0).expect("one").iter().sum()
    }

    fn print(&self) {
        let median = |of: &dyn Fn(&[f64; 2]) -> f64| {
            let mut all: Vec<f64> = self.figures.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            (all[0], all[all.len() / 2], all[all.len() - 1])
        };
        let (turnpike, floor) = (median(&|f| f[0]).1 / 1e6, median(&|f| f[1]).1 / 1e6);
        let (least, ratio, most) = median(&|f| f[0] / f[1]);
        println!("{:40} {turnpike:7.2}M {floor:7.2}M {least:6.2} {ratio:6.2} {most:6.2}", self.name);
    }
}

enum Subjects {
    Bench(XdpLinkId),
    Turnpike(XdpLinkId),
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    ebpf.program_mut(name).expect("in the object").try_into().expect("XDP")
}

fn attach(ebpf: &mut Ebpf, name: &str, interface: &str) -> XdpLinkId {
    xdp(ebpf, name).attach(interface, XdpMode::Driver).expect("native XDP")
}

fn index_of(interface: &str) -> u32 {
    let path = format!("/sys/class/net/{interface}/ifindex");
    fs::read_to_string(path).expect("an interface").trim().parse().expect("a number")
}

/// Has the interface polled by a kernel thread (5.12) on one CPU.
fn poll_by_thread(interface: &str, cpu: usize) -> Pid {
    let before = threads_of(interface);
    fs::write(format!("/sys/class/net/{interface}/threaded"), "1").expect("threaded NAPI");
    let new: Vec<_> = threads_of(interface).into_iter().filter(|pid| !before.contains(pid)).collect();
    let [poller] = new[..] else { panic!("{} threads poll {interface}", new.len()) };
    pin(poller, cpu);
    poller
}

/// The kernel threads that poll interfaces of this name, in any namespace.
fn threads_of(interface: &str) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|c| c.starts_with(&format!("napi/{interface}-")))
    };
    let pid = |path: PathBuf| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw);
    processes.filter(named).filter_map(pid).collect()
}

fn pin(pid: Pid, cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a CPU number");
    sched_setaffinity(pid, &cpus).expect("the CPU is there");
}

/// Nanoseconds for which a thread has run.
fn cpu_time(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("scheduler statistics");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}
