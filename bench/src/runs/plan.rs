//! The runs by name: which cases each has.

use anyhow::{Result, bail};

use super::measure::{Case, Measure};
use super::setup::{Family, Kind, Setup, Transport};
use crate::figures::Direction;

/// A frame that carries 20 ms of audio.
pub const AUDIO: u16 = 214;
/// A frame of video.
pub const VIDEO: u16 = 1_200;
/// Flows of a small machine whose tables all fit into the first cache, of a busy one, and of more than any cache holds.
pub const FLOWS: [u32; 3] = [64, 4_096, 65_536];
/// Packets of a flow in succession: those of a frame of video, which the kernel may merge on their way to a process.
pub const TRAIN: u32 = 8;
/// Flows that have trains.
pub const TRAIN_FLOWS: [u32; 2] = [64, 4_096];
/// Packets of a key frame.
pub const KEY_FRAME: u32 = 300;
/// Flows that have key frames.
pub const KEY_FRAME_FLOWS: u32 = 100;
/// Clients over streams.
pub const STREAMS: [u32; 2] = [64, 1_024];
/// Frame sizes.
pub const FRAMES: [u16; 6] = [64, 128, 256, 512, 1_024, 1_400];

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// What it does.
    pub work: Work,
}

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Offers loads; the cases, fewer of them if it is to be quick.
    Cases(fn(quick: bool) -> Vec<Case>),
    /// Has the control plane and memory measured.
    Scale,
}

/// All of them, in the order in which they are run.
pub const RUNS: [Run; 9] = [
    Run {
        name: "capacity",
        about: "highest rate with under 0.1 % loss and packets per CPU-second, with 64, 4,096 and 65,536 flows at random, and with \
                trains of 8 packets of a flow",
        work: Work::Cases(capacity),
    },
    Run {
        name: "sizes",
        about: "the same for frames of 64 to 1,400 bytes, 64 flows",
        work: Work::Cases(sizes),
    },
    Run {
        name: "families",
        about: "the same for IPv4, IPv6 and from each to the other",
        work: Work::Cases(families),
    },
    Run {
        name: "kinds",
        about: "the same for channels, Send and Data indications, and relay to relay",
        work: Work::Cases(kinds),
    },
    Run {
        name: "latency",
        about: "p50, p99 and p99.9 at 10 to 100 % of each subject's capacity",
        work: Work::Cases(latency),
    },
    Run {
        name: "bursts",
        about: "loss of key frames: 300 packets of a flow as fast as a wire of 10 Gbit/s brings them, on 100 flows",
        work: Work::Cases(bursts),
    },
    Run { name: "nics", about: "capacity with one interface and with two", work: Work::Cases(nics) },
    Run {
        name: "streams",
        about: "packets per CPU-second with 64 and 1,024 clients over TCP, TLS and WebSockets, as many packets as get through",
        work: Work::Cases(streams),
    },
    Run {
        name: "scale",
        about: "allocations a second, memory an allocation, a million bindings, and how they bear coming and going",
        work: Work::Scale,
    },
];

/// The runs of these names, all if there are none.
///
/// # Errors
/// For a name that there is not.
pub fn named(names: &[String]) -> Result<Vec<Run>> {
    if names.is_empty() {
        return Ok(RUNS.to_vec());
    }
    let one = |name: &String| {
        if let Some(run) = RUNS.iter().find(|run| run.name == name) {
            return Ok(*run);
        }
        let names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
        bail!("there is no run {name:?}; there are {}", names.join(", "))
    };
    names.iter().map(one).collect()
}

/// Every direction of a setup.
fn every_way(setup: Setup, measure: Measure) -> Vec<Case> {
    let case = |&direction| Case { setup, direction, frame: AUDIO, train: 1, measure };
    setup.directions().iter().map(case).collect()
}

/// Where one way has to stand for both.
fn is_first_way(case: &Case) -> bool {
    case.setup.directions().first() == Some(&case.direction)
}

fn capacity(quick: bool) -> Vec<Case> {
    let (flows, with_trains) =
        if quick { (&FLOWS[..2], &TRAIN_FLOWS[..1]) } else { (&FLOWS[..], &TRAIN_FLOWS[..]) };
    let cases = |&flows: &u32| {
        let in_turns = every_way(Setup::channels(flows), Measure::Capacity);
        let trains = in_turns.clone().into_iter().filter(|_| with_trains.contains(&flows));
        let trains = trains.map(|case| Case { frame: VIDEO, train: TRAIN, ..case });
        in_turns.into_iter().chain(trains).collect::<Vec<_>>()
    };
    flows.iter().flat_map(cases).collect()
}

fn sizes(quick: bool) -> Vec<Case> {
    let case = |frame| Case {
        setup: Setup::channels(64),
        direction: Direction::ToPeer,
        frame,
        train: 1,
        measure: Measure::Capacity,
    };
    let frames = FRAMES.into_iter().step_by(if quick { 5 } else { 1 });
    frames.map(case).collect()
}

fn families(quick: bool) -> Vec<Case> {
    use Family::{V4, V6};
    let pairs = [(V4, V4), (V6, V6), (V4, V6), (V6, V4)];
    let setups = pairs.into_iter().skip(usize::from(quick)).take(if quick { 2 } else { 4 });
    let cases = setups.flat_map(|(client, peer)| {
        every_way(Setup { client, peer, ..Setup::channels(64) }, Measure::Capacity)
    });
    cases.filter(|case| !quick || is_first_way(case)).collect()
}

fn kinds(quick: bool) -> Vec<Case> {
    let flows: &[u32] = if quick { &[64] } else { &[64, 65_536] };
    let kinds = [Kind::Channel, Kind::Indication, Kind::RelayToRelay];
    let setups = flows.iter().flat_map(|&flows| kinds.map(|kind| Setup { kind, ..Setup::channels(flows) }));
    let cases = setups.flat_map(|setup| every_way(setup, Measure::Capacity));
    // Channels are in the run `capacity`.
    let quick_ones = |case: &Case| case.setup.kind != Kind::Channel && is_first_way(case);
    cases.filter(|case| !quick || quick_ones(case)).collect()
}

fn latency(quick: bool) -> Vec<Case> {
    let flows: &[u32] = if quick { &[64] } else { &[64, 4_096] };
    let cases = flows.iter().flat_map(|&flows| every_way(Setup::channels(flows), Measure::Latency));
    cases.filter(|case| !quick || is_first_way(case)).collect()
}

fn bursts(quick: bool) -> Vec<Case> {
    let cases = every_way(Setup::channels(KEY_FRAME_FLOWS), Measure::Bursts).into_iter();
    let cases = cases.map(|case| Case { frame: VIDEO, train: KEY_FRAME, ..case });
    cases.filter(|case| !quick || is_first_way(case)).collect()
}

fn nics(quick: bool) -> Vec<Case> {
    let setups = [1, 2].map(|nics| Setup { nics, ..Setup::channels(64) });
    let cases = setups.into_iter().flat_map(|setup| every_way(setup, Measure::Capacity));
    // One interface is in the run `capacity`.
    cases.filter(|case| !quick || case.setup.nics == 2).collect()
}

fn streams(quick: bool) -> Vec<Case> {
    use Transport::{Tcp, Tls, WebSocket};
    let flows = if quick { &STREAMS[..1] } else { &STREAMS };
    let setups = flows.iter().flat_map(|&flows| [Tcp, Tls, WebSocket].map(|by| Setup::streams(flows, by)));
    setups.flat_map(|setup| every_way(setup, Measure::Window)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn cases(name: &str, quick: bool) -> Vec<Case> {
        match named(&[name.into()]).expect("it is there")[0].work {
            Work::Cases(cases) => cases(quick),
            Work::Scale => Vec::new(),
        }
    }

    #[test]
    fn the_runs_cover_the_dimensions() {
        let all: Vec<Case> = RUNS.iter().flat_map(|run| cases(run.name, false)).collect();
        let seen = |has: &dyn Fn(&Case) -> bool| all.iter().any(has);
        for flows in FLOWS {
            assert!(seen(&|case| case.setup.flows == flows));
        }
        for nics in [1, 2] {
            assert!(seen(&|case| case.setup.nics == nics));
        }
        for kind in [Kind::Channel, Kind::Indication, Kind::RelayToRelay] {
            assert!(seen(&|case| case.setup.kind == kind));
        }
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::WebSocket] {
            assert!(seen(&|case| case.setup.transport == transport));
        }
        for measure in [Measure::Capacity, Measure::Latency, Measure::Bursts, Measure::Window] {
            assert!(seen(&|case| case.measure == measure));
        }
        let families: HashSet<_> = all.iter().map(|case| (case.setup.client, case.setup.peer)).collect();
        assert_eq!(families.len(), 4);
        let frames: Vec<u16> = cases("sizes", false).iter().map(|case| case.frame).collect();
        assert_eq!((frames.first(), frames.last()), (Some(&64), Some(&1_400)));
    }

    #[test]
    fn trains_are_offered_beside_flows_in_turns() {
        let trains = |quick| {
            let cases = cases("capacity", quick).into_iter().filter(|case| case.train != 1);
            cases.map(|case| (case.setup.flows, case.direction, case.frame, case.train)).collect::<Vec<_>>()
        };
        let each = |flows| {
            [Direction::ToPeer, Direction::ToClient].map(|direction| (flows, direction, VIDEO, TRAIN))
        };
        assert_eq!(trains(true), each(64));
        assert_eq!(trains(false), [each(64), each(4_096)].concat());
        let key_frames = cases("bursts", false);
        assert!(key_frames.iter().all(|case| (case.setup.flows, case.train) == (100, 300)));
        let others = RUNS.iter().filter(|run| !["capacity", "bursts"].contains(&run.name));
        for run in others {
            assert!(cases(run.name, false).iter().all(|case| case.train == 1), "{}", run.name);
        }
    }

    #[test]
    fn a_lab_is_made_once_for_all_that_is_done_in_it() {
        for run in RUNS {
            let mut setups: Vec<Setup> = cases(run.name, false).iter().map(|case| case.setup).collect();
            setups.dedup();
            let different: HashSet<_> = setups.iter().copied().collect();
            assert_eq!(
                setups.len(),
                different.len(),
                "{}: cases of one setup must follow each other",
                run.name
            );
        }
    }

    #[test]
    fn quick_is_less_and_not_nothing() {
        for run in RUNS.iter().filter(|run| matches!(run.work, Work::Cases(_))) {
            let (quick, thorough) = (cases(run.name, true).len(), cases(run.name, false).len());
            assert!((1..=thorough).contains(&quick), "{}", run.name);
        }
    }

    #[test]
    fn names_that_are_not_there_are_explained() {
        let error = |name: &str| named(&[name.into()]).expect_err("not there").to_string();
        assert!(error("speed").contains("capacity, sizes"));
        assert_eq!(named(&[]).expect("all").len(), RUNS.len());
    }
}
