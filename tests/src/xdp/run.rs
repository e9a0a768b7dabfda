//! The program run on a frame, and what it did.

use aya::maps::PerCpuArray;
use aya::programs::{TestRun, TestRunOptions};
use relay_common::interface;
use relay_common::reason::{self, Reason};
use relay_common::tables::{self, Count};

use super::Program;

/// What the program did with a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// `XDP_PASS`, `XDP_TX`, ...
    pub verdict: Verdict,
    /// The packet afterwards.
    pub frame: Vec<u8>,
    /// The counters that moved, and by how many packets.
    pub counted: Vec<(Reason, u64)>,
}

/// XDP's verdicts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The program failed.
    Aborted,
    /// Dropped.
    Drop,
    /// Up the stack.
    Pass,
    /// Out by the interface it came from.
    Tx,
    /// Out by another interface.
    Redirect,
}

impl Program {
    /// Runs the program on a frame and looks at nothing but the verdict and the packet, which `out` has room for.
    pub fn run_quickly<'a>(&self, frame: &[u8], out: &'a mut [u8]) -> (Verdict, &'a [u8]) {
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(out), ..TestRunOptions::new() };
        let result = self.xdp().test_run(options).expect("BPF_PROG_TEST_RUN");
        (Verdict::of(result.return_value), &out[..result.data_size_out as usize])
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, frame: &[u8]) -> Run {
        let before = self.counters();
        let mut out = vec![0; frame.len() + 256];
        let result = self
            .xdp()
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::new()
            })
            .expect("BPF_PROG_TEST_RUN");
        out.truncate(result.data_size_out as usize);
        let after = self.counters();
        let counted = Reason::ALL
            .into_iter()
            .filter_map(|r| {
                let (b, a) = (before[r as usize], after[r as usize]);
                (a != b).then(|| (r, a.packets - b.packets))
            })
            .collect();
        let run = Run { verdict: Verdict::of(result.return_value), frame: out, counted };
        for (reason, _) in &run.counted {
            let meant = match run.verdict {
                Verdict::Tx | Verdict::Redirect => reason::Verdict::Forward,
                Verdict::Pass => reason::Verdict::Pass,
                Verdict::Drop | Verdict::Aborted => reason::Verdict::Drop,
            };
            assert_eq!(reason.verdict(), meant, "{reason:?} is counted for this verdict: {run:?}");
        }
        run
    }

    /// Over all slots that tests use.
    pub fn counters(&self) -> [Count; Reason::COUNT] {
        let slots: [_; 3] = std::array::from_fn(|slot| self.counters_of(slot as u32));
        std::array::from_fn(|i| {
            slots.iter().fold(Count::default(), |sum, slot| Count {
                packets: sum.packets + slot[i].packets,
                bytes: sum.bytes + slot[i].bytes,
            })
        })
    }

    /// The counters of one slot.
    pub fn counters_of(&self, slot: u32) -> [Count; Reason::COUNT] {
        let map = self.ebpf.map(tables::COUNTERS).expect("in the object");
        let map = PerCpuArray::<_, [u64; 2]>::try_from(map).expect("a per-CPU array");
        Reason::ALL.map(|reason| {
            map.get(&interface::counter(slot, reason), 0).expect("in range").iter().fold(
                Count::default(),
                |sum, cpu| Count { packets: sum.packets + cpu[0], bytes: sum.bytes + cpu[1] },
            )
        })
    }
}

impl Verdict {
    /// The verdict that a program returns as this number.
    pub(crate) fn of(code: u32) -> Self {
        match code {
            0 => Verdict::Aborted,
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Tx,
            4 => Verdict::Redirect,
            code => panic!("verdict {code}"),
        }
    }
}
