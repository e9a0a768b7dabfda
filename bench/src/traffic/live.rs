//! Running the generator program: `BPF_PROG_TEST_RUN` with live frames, until its time is over.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::frames::Frames;

/// Frames that the kernel makes before it hands them on, at the most: a packet waits for those after it.
const BATCH: u32 = 64;

/// Bytes that the program takes off each frame's start.
const SHIFTED: usize = 16;

/// Ends the system call, which is longer than any pause of ours.
const STOP: Signal = Signal::SIGUSR1;

/// How often is looked whether the program has begun.
const LOOK: Duration = Duration::from_millis(2);

/// Runs the program until `duration` has passed since it `began`. It counts by itself what it sent, and sends nothing
/// after its time; this only ends it, because it is repeated, in vain, as often as can be counted.
pub(super) fn run(
    program: &Xdp,
    frames: &Frames,
    ifindex: u32,
    duration: Duration,
    began: impl Fn() -> bool,
) -> Result<()> {
    extern "C" fn nothing(_: nix::libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe in a signal.
    unsafe { sigaction(STOP, &action) }.context("cannot say what a signal is to do")?;
    let mut data = vec![0; SHIFTED];
    data.extend_from_slice(&frames.frame);
    // `struct xdp_md`: where the data ends, and which interface it is said to come from and is sent by.
    let context: Vec<u8> =
        [0, data.len() as u32, 0, ifindex, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    thread::scope(|scope| {
        let (started, starts) = channel();
        let (ended, ends) = channel();
        let (data, context) = (&data, &context);
        let generator = scope.spawn(move || {
            let _ = started.send(pthread_self());
            let result = program.test_run(TestRunOptions {
                data_in: Some(data),
                ctx_in: Some(context),
                repeat: u32::MAX,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            });
            let _ = ended.send(());
            result
        });
        let thread = starts.recv().context("the generator's thread has not started")?;
        let mut until = None;
        loop {
            if until.is_none() && began() {
                until = Some(Instant::now() + duration);
            }
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).max(LOOK));
            match ends.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                // Again, if it came before the system call.
                let _ = pthread_kill(thread, STOP);
            }
        }
        match generator.join().expect("the generator's thread does not panic") {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::Interrupted =>
            {
                Ok(())
            }
            Err(error) => Err(error).context(
                "the kernel does not run the generator: live frames need 5.18, and a driver that sends them (ndo_xdp_xmit)",
            ),
        }
    })
}
