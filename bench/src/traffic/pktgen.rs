//! The kernel's pktgen, for machines that have it: a second opinion on what the XDP generator makes.
//!
//! It writes datagrams with a header of its own and zeros behind it, so it can stand for peers and not for clients, whose
//! data has a ChannelData header or comes in indications. Each flow is a device entry (`gen0@7`) with its own addresses and
//! ports; the thread takes them in turn.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{Macs, Wire};
use crate::figures::{Direction, Flow, Load};
use crate::runs::measure::{Case, Measure};
use crate::runs::setup::Transport;

/// Where the module shows itself in the network namespace of this thread; `/proc/net` is that of the process's first one.
const FOLDER: &str = "/proc/thread-self/net/pktgen";

/// Bytes of the check sequence, which pktgen counts as a part of a packet.
const CHECK_SEQUENCE: u16 = 4;

/// The most flows: each is an entry that the thread walks over for each packet.
const MOST_FLOWS: usize = 64;

/// A thread of pktgen's, found to be there.
#[derive(Debug)]
pub struct Pktgen {
    folder: PathBuf,
    cpu: usize,
}

/// What was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) seconds: f64,
}

/// Why it cannot make what a case needs; `None` where it can.
pub fn excuse(case: &Case, over_veth: bool) -> Option<String> {
    if case.setup.transport != Transport::Udp {
        // Sockets are the clients of these, and nothing is generated.
        return None;
    }
    limit(case.direction, case.setup.flows as usize).or_else(|| {
        Some(match case.measure {
            Measure::Latency => "pktgen's packets do not say in the kernel's own clock when they were made".into(),
            Measure::Bursts => "pktgen keeps no time between the packets of a burst".into(),
            _ if over_veth && case.train > 1 => {
                "pktgen sends a packet several times by drivers that say they bear it, and that of a veth does not".into()
            }
            _ => return None,
        })
    })
}

fn limit(direction: Direction, flows: usize) -> Option<String> {
    if direction != Direction::ToClient {
        return Some(
            "pktgen makes datagrams of peers only: its packets cannot have a ChannelData header".into(),
        );
    }
    (flows > MOST_FLOWS).then(|| format!("pktgen is driven with at most {MOST_FLOWS} flows, not {flows}"))
}

/// Why pktgen cannot be used in this network namespace; `None` where it can.
pub fn why_not() -> Option<String> {
    why_not_in(Path::new(FOLDER))
}

fn why_not_in(folder: &Path) -> Option<String> {
    (!folder.join("pgctrl").exists()).then(|| {
        format!(
            "pktgen is skipped: there is no {}. The kernel was built without CONFIG_NET_PKTGEN, or its module is not loaded \
             (`modprobe pktgen`)",
            folder.display()
        )
    })
}

impl Pktgen {
    /// Its thread on this CPU.
    pub fn on(cpu: usize) -> Result<Self> {
        if let Some(reason) = why_not() {
            bail!(reason);
        }
        Ok(Self { folder: FOLDER.into(), cpu })
    }

    /// Has the load sent, and tells how much it was.
    pub(super) fn run(
        &self,
        interface: &str,
        macs: &Macs,
        flows: &[Flow],
        wire: Wire,
        load: &Load,
    ) -> Result<Sent> {
        let script = script(interface, self.cpu, macs, flows, wire, load)?;
        for (file, line) in &script {
            self.write(file, line)?;
        }
        let began = Instant::now();
        let result = thread::scope(|scope| {
            // Writing `start` returns when all threads have ended.
            let running = scope.spawn(|| self.write("pgctrl", "start"));
            thread::sleep(load.duration);
            self.write("pgctrl", "stop")?;
            running.join().expect("the thread does not panic")
        });
        let seconds = began.elapsed().as_secs_f64();
        let mut packets = 0;
        for flow in 0..flows.len() {
            let text = fs::read_to_string(self.folder.join(entry(interface, flow)))
                .context("pktgen does not tell what it sent")?;
            packets += sent(&text).context("pktgen tells what it sent in a form that is not known here")?;
        }
        self.write(&thread_of(self.cpu), "rem_device_all")?;
        result?;
        Ok(Sent { packets, seconds })
    }

    fn write(&self, file: &str, line: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, format!("{line}\n")).with_context(|| format!("{}: {line}", path.display()))
    }
}

fn thread_of(cpu: usize) -> String {
    format!("kpktgend_{cpu}")
}

fn entry(interface: &str, flow: usize) -> String {
    format!("{interface}@{flow}")
}

/// What is written to which file, in this order.
fn script(
    interface: &str,
    cpu: usize,
    macs: &Macs,
    flows: &[Flow],
    wire: Wire,
    load: &Load,
) -> Result<Vec<(String, String)>> {
    if let Some(why) = limit(load.direction, flows.len()) {
        bail!(why);
    }
    let thread = thread_of(cpu);
    let mut script = vec![(thread.clone(), "rem_device_all".to_string())];
    for (number, flow) in flows.iter().enumerate() {
        let entry = entry(interface, number);
        let (from, to) = (flow.peer, if wire == Wire::Forward { flow.client } else { flow.relayed });
        ensure!(from.is_ipv4() == to.is_ipv4(), "{from} and {to} are of two families");
        script.push((thread.clone(), format!("add_device {entry}")));
        let mut say = |line: String| script.push((entry.clone(), line));
        // Until it is stopped.
        say("count 0".into());
        say(format!("pkt_size {}", load.frame + CHECK_SEQUENCE));
        say("flag UDPCSUM".into());
        say(format!("burst {}", load.burst));
        if let Some(rate) = load.rate {
            // Nanoseconds between two packets of this entry.
            say(format!("delay {}", (flows.len() as f64 * 1e9 / rate) as u64));
        }
        say(format!("src_mac {}", mac(macs.own)));
        say(format!("dst_mac {}", mac(macs.relay)));
        addresses(from, to).into_iter().for_each(&mut say);
        for (name, port) in [("udp_src", from.port()), ("udp_dst", to.port())] {
            say(format!("{name}_min {port}"));
            say(format!("{name}_max {port}"));
        }
    }
    Ok(script)
}

fn addresses(from: SocketAddr, to: SocketAddr) -> Vec<String> {
    match from.ip() {
        IpAddr::V4(_) => ["src_min", "src_max", "dst_min", "dst_max"]
            .into_iter()
            .zip([from, from, to, to])
            .map(|(name, address)| format!("{name} {}", address.ip()))
            .collect(),
        IpAddr::V6(_) => vec![format!("src6 {}", from.ip()), format!("dst6 {}", to.ip())],
    }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// How many packets an entry's file says it has sent.
fn sent(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix("pkts-sofar: ")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relay_common::bench::arrival::{self, Arrival};

    use crate::runs::plan::{RUNS, Work, named};

    use super::*;

    const MACS: Macs = Macs { own: [2, 0, 0, 0, 0, 1], relay: [2, 0, 0, 0, 0, 0xab] };
    const LOAD: Load = Load {
        direction: Direction::ToClient,
        frame: 200,
        rate: Some(10_000.0),
        burst: 1,
        spacing: Duration::ZERO,
        duration: Duration::from_secs(1),
    };

    fn flow(client: &str, relayed: &str, peer: &str) -> Flow {
        let [client, relayed, peer] = [client, relayed, peer].map(|address| address.parse().unwrap());
        Flow { client, listener: client, relayed, peer, channel: 0x4000 }
    }

    #[test]
    fn each_flow_is_an_entry_with_its_own_ends() {
        let flows = [
            flow("198.51.100.7:5000", "192.0.2.1:50000", "203.0.113.9:6000"),
            flow("[2001:db8::7]:5000", "[2001:db8:1::1]:50001", "[2001:db8:2::9]:6001"),
        ];
        let script = script("gen0", 3, &MACS, &flows, Wire::Turn, &LOAD).unwrap();
        let text: Vec<_> = script.iter().map(|(file, line)| format!("{file}: {line}")).collect();
        let expected = "kpktgend_3: rem_device_all
            kpktgend_3: add_device gen0@0
            gen0@0: count 0
            gen0@0: pkt_size 204
            gen0@0: flag UDPCSUM
            gen0@0: burst 1
            gen0@0: delay 200000
            gen0@0: src_mac 02:00:00:00:00:01
            gen0@0: dst_mac 02:00:00:00:00:ab
            gen0@0: src_min 203.0.113.9
            gen0@0: src_max 203.0.113.9
            gen0@0: dst_min 192.0.2.1
            gen0@0: dst_max 192.0.2.1
            gen0@0: udp_src_min 6000
            gen0@0: udp_src_max 6000
            gen0@0: udp_dst_min 50000
            gen0@0: udp_dst_max 50000
            kpktgend_3: add_device gen0@1
            gen0@1: count 0
            gen0@1: pkt_size 204
            gen0@1: flag UDPCSUM
            gen0@1: burst 1
            gen0@1: delay 200000
            gen0@1: src_mac 02:00:00:00:00:01
            gen0@1: dst_mac 02:00:00:00:00:ab
            gen0@1: src6 2001:db8:2::9
            gen0@1: dst6 2001:db8:1::1
            gen0@1: udp_src_min 6001
            gen0@1: udp_src_max 6001
            gen0@1: udp_dst_min 50001
            gen0@1: udp_dst_max 50001";
        assert_eq!(text, expected.lines().map(str::trim).collect::<Vec<_>>());
    }

    #[test]
    fn what_clients_send_is_nothing_for_it() {
        let flows = [flow("198.51.100.7:5000", "192.0.2.1:50000", "203.0.113.9:6000")];
        let load = Load { direction: Direction::ToPeer, ..LOAD };
        let refused = script("gen0", 0, &MACS, &flows, Wire::Turn, &load).unwrap_err();
        assert!(refused.to_string().contains("ChannelData"), "{refused}");
    }

    #[test]
    fn what_it_cannot_make_is_left_out() {
        let case = |run: &str| match named(&[run.into()]).unwrap()[0].work {
            Work::Cases(cases) => cases(false),
            Work::Scale => Vec::new(),
        };
        let all: Vec<Case> = RUNS.iter().flat_map(|run| case(run.name)).collect();
        let made = |over_veth| all.iter().filter(move |case| excuse(case, over_veth).is_none());
        let by_udp = |case: &&Case| case.setup.transport == Transport::Udp;
        for case in made(false).filter(by_udp) {
            assert_eq!(
                (case.direction, case.setup.flows, case.setup.transport),
                (Direction::ToClient, 64, Transport::Udp)
            );
            assert!(![Measure::Latency, Measure::Bursts].contains(&case.measure));
        }
        assert!(made(true).filter(by_udp).all(|case| case.train == 1));
        assert!(made(true).filter(by_udp).count() > 3 && made(true).count() < made(false).count());
    }

    #[test]
    fn where_it_is_missing_it_says_why() {
        let reason = why_not_in(Path::new("/nonexistent")).unwrap();
        assert!(reason.contains("CONFIG_NET_PKTGEN") && reason.contains("modprobe"), "{reason}");
    }

    #[test]
    fn the_sink_knows_its_packets_bare_and_in_channel_data() {
        let data = [&[0xbe, 0x9b, 0xe9, 0x55][..], &[0; 40]].concat();
        for payload in [data.clone(), turnpike_tests::frames::channel_data(0x4001, &data, 0)] {
            let [src, dst] = ["203.0.113.9:1", "198.51.100.7:2"].map(|address| address.parse().unwrap());
            let frame = turnpike_tests::frames::Datagram::new(src, dst, payload).frame();
            let judged = |frame: &[u8]| {
                let mut arrival = Arrival::NONE;
                assert!(arrival::read(frame, &mut arrival) && arrival.is_pktgen());
                arrival::judge_pktgen(frame, &arrival, true)
            };
            assert_eq!(judged(&frame), arrival::WHOLE);
            let mut damaged = frame;
            *damaged.last_mut().unwrap() ^= 1;
            assert_eq!(judged(&damaged), arrival::CHECKSUM);
        }
    }

    /// The form of the kernel's `pktgen_if_show`.
    #[test]
    fn what_was_sent_is_read_from_an_entry() {
        let text = "Params: count 0  min_pkt_size: 204  max_pkt_size: 204\nCurrent:\n     pkts-sofar: 12345  errors: 0\n     \
                    started: 1us  stopped: 2us idle: 0us\n";
        assert_eq!(sent(text), Some(12345));
        assert_eq!(sent("Params:"), None);
    }
}
