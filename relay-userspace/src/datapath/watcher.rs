//! The thread that has the data path follow interfaces and addresses.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlink_sys::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::attachments::Attachments;
use super::headroom::Headroom;
use super::interfaces::Network;
use super::monitor::{Changes, read, subscribe};

/// How long to wait after an announcement: an interface that is made is announced a dozen times until it is up and has
/// its addresses.
const SETTLE: Duration = Duration::from_millis(200);

/// How often to look without an announcement: there is none of programs that come and go at the other end of a veth.
const SWEEP: Duration = Duration::from_secs(10);

/// How often to look at the counters that tell a driver's headroom, until they have told it.
const GLANCE: Duration = Duration::from_secs(1);

/// Groups of rtnetlink (`enum rtnetlink_groups`). That of settings announces a change of `rp_filter`.
const GROUPS: [u32; 4] =
    [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR, libc::RTNLGRP_IPV4_NETCONF];

/// The watching thread; ended on drop, and the program detached with it.
pub(super) struct Watcher {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    _attachments: Arc<Mutex<Attachments>>,
}

impl Watcher {
    /// Starts watching the network namespace of the calling thread. Where that cannot be, everything stays attached as
    /// it is, and the log says so.
    pub(super) fn start(attachments: Attachments) -> nix::Result<Self> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let attachments = Arc::new(Mutex::new(attachments));
        let thread = spawn(stop.clone(), attachments.clone())
            .inspect_err(|error| tracing::warn!(%error, "interfaces that come and go are not followed"));
        Ok(Self { stop, thread: thread.ok(), _attachments: attachments })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Fails only when the counter is at its end, and then it is readable.
        let _ = self.stop.write(1);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the interface watcher had panicked: interfaces were no longer followed");
        }
    }
}

fn spawn(stop: Arc<EventFd>, attachments: Arc<Mutex<Attachments>>) -> io::Result<JoinHandle<()>> {
    let events = subscribe(&GROUPS)?;
    let watch = move || watch(&events, &stop, &attachments);
    std::thread::Builder::new().name("interfaces".into()).spawn(watch)
}

fn watch(events: &Socket, stop: &EventFd, attachments: &Mutex<Attachments>) {
    // What changed between the first look and opening the socket.
    let mut due = Instant::now();
    let mut glance_at = due + GLANCE;
    while !wait(events, stop, due.min(glance_at)) {
        let now = Instant::now();
        if now >= glance_at {
            glance_at = now + GLANCE;
            match attachments.lock().unwrap_or_else(PoisonError::into_inner).look_at_headroom() {
                Headroom::Lacking => due = now,
                Headroom::Unknown => {}
                // Looked at again with everything.
                Headroom::Enough => glance_at = now + SWEEP,
            }
        }
        if read(events) != Changes::default() {
            due = due.min(now + SETTLE);
        }
        if now < due {
            continue;
        }
        let pause = match Network::read() {
            Ok(network) => {
                attachments.lock().unwrap_or_else(PoisonError::into_inner).follow(&network);
                SWEEP
            }
            Err(error) => {
                tracing::debug!(%error, "the kernel did not list its interfaces");
                SETTLE
            }
        };
        due = Instant::now() + pause;
    }
}

/// Until there is an announcement or the time has come; whether it is time to stop.
fn wait(events: &Socket, stop: &EventFd, until: Instant) -> bool {
    let mut fds = [events.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    // An interrupted or failed wait is a short one.
    let _ = poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO));
    stop.read().is_ok()
}
