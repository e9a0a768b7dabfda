//! What relaying a packet must not do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_common::reason::Reason;
use turnpike::datapath::{FastPath, Forwarded, NotInstalled};
use turnpike::net::Server;
use turnpike::turn::{Binding, BindingId};

use super::client::{Client, Relayed, socket};
use super::server::{ANY_PORT, config, wait_for};

#[test]
fn relaying_allocates_no_memory() {
    let mut config = config(1, ANY_PORT);
    config.fast_path = Box::new(|_| Box::new(Watch));
    let server = Server::start(config).unwrap();
    let mut client = Client::new(server.listeners()[0]);
    let (relayed, by_channel, by_indication) = (client.allocate().unwrap(), socket(), socket());
    client.permit(by_indication.local_addr().unwrap());
    client.bind_channel(0x4000, by_channel.local_addr().unwrap());

    let mut before = 0;
    for round in 0..200 {
        if round == 100 {
            wait_for(&server, "the first rounds", |s| s.reason(Reason::ToClient).packets == 200);
            before = ALLOCATIONS.load(Ordering::SeqCst);
        }
        client.send_on(0x4000, b"by channel");
        client.send_to(by_indication.local_addr().unwrap(), b"by indication");
        for peer in [&by_channel, &by_indication] {
            peer.recv(&mut [0; 64]).unwrap();
            peer.send_to(b"back", relayed).unwrap();
        }
        let mut kinds = [client.receive(), client.receive()].map(|r| matches!(r, Relayed::Channel(..)));
        kinds.sort_unstable();
        assert_eq!(kinds, [false, true]);
    }
    wait_for(&server, "the last rounds", |s| s.reason(Reason::ToClient).packets == 400);
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst), before);

    Client::new(server.listeners()[0]).allocate().unwrap();
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > before, "the shard's thread is watched");
}

/// Allocations made by the watched thread.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Watches the thread of its shard from the first binding on.
struct Watch;

impl FastPath for Watch {
    fn bind(&mut self, _: &Binding) -> Result<(), NotInstalled> {
        WATCHED.set(true);
        Err(NotInstalled::Full)
    }

    fn extend(&mut self, _: &Binding) {}

    fn unbind(&mut self, _: BindingId) {}

    fn forwarded(&self, _: BindingId) -> Option<Forwarded> {
        None
    }
}

/// The system's allocator, which counts for the watched thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }
}
