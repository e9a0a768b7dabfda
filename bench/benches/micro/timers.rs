//! Timers of the protocol core: permissions that are made, prolonged and that end, with so many of them in the core. The time
//! is for all of them, the throughput says how many a second. The smaller part of each is its timer's; what differs between the
//! numbers is the timers', and that less of the core is in the caches.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use turnpike::stun::Method;
use turnpike::turn::{CoreConfig, Input, Outputs};

use super::core::common::{Client, Sim, addr, config};

/// Permissions that one request asks for.
const AT_ONCE: usize = 64;
/// Requests that name all peers of one client.
const PARTS: usize = 4;

/// A core and its clients.
struct Standing {
    sim: Sim,
    out: Outputs,
    clients: Vec<Client>,
    /// Clients and parts of their peers, in no order.
    asks: Vec<(usize, usize)>,
}

impl Standing {
    /// One in which there is room for so many permissions.
    fn new(permissions: usize) -> Self {
        let config = CoreConfig { strangers: None, relay_ports: 10_000..=60_000, ..config() };
        let mut sim = Sim::new(config, [7; 32]);
        let mut asks: Vec<_> = (0..permissions.div_ceil(AT_ONCE)).map(|n| (n / PARTS, n % PARTS)).collect();
        asks.shuffle(&mut StdRng::seed_from_u64(7));
        let mut clients: Vec<_> =
            (0..permissions.div_ceil(AT_ONCE * PARTS)).map(|n| Client::new(5000 + n as u16)).collect();
        for client in &mut clients {
            client.allocated(&mut sim);
        }
        Self { sim, out: Outputs::default(), clients, asks }
    }

    /// Has all permissions made or prolonged, each request a little later than the one before; the time that the core takes.
    fn permit(&mut self) -> Duration {
        let mut took = Duration::ZERO;
        for &(client, part) in &self.asks {
            let client = &mut self.clients[client];
            let datagram = client.signed(Method::CREATE_PERMISSION, |b| {
                for n in 0..AT_ONCE {
                    b.xor_peer_address(addr(&format!("203.0.113.{}:1", part * AT_ONCE + n)));
                }
            });
            self.sim.now = self.sim.now + Duration::from_micros(10);
            let input = Input::FromClient { five_tuple: client.five_tuple, datagram: &datagram };
            let began = Instant::now();
            self.sim.core.handle(self.sim.now, input, &mut self.out);
            took += began.elapsed();
        }
        took
    }

    /// Has all permissions end; the time that the core takes.
    fn end(&mut self) -> Duration {
        self.sim.now = self.sim.now + Duration::from_secs(300);
        let began = Instant::now();
        self.sim.core.handle(self.sim.now, Input::Wakeup, &mut self.out);
        let took = began.elapsed();
        assert_eq!(self.permissions(), 0);
        took
    }

    fn permissions(&self) -> usize {
        self.sim.core.occupancy().permissions
    }
}

/// Measures a thousand to a million of them.
pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    group.sample_size(10).warm_up_time(Duration::from_millis(1));
    for permissions in [1_000, 100_000, 1_000_000] {
        let mut standing = Standing::new(permissions);
        standing.permit();
        let permissions = standing.permissions();
        group.throughput(Throughput::Elements(permissions as u64));
        group.bench_function(BenchmarkId::new("moved", permissions), |b| {
            b.iter_custom(|times| (0..times).map(|_| standing.permit()).sum());
        });
        group.bench_function(BenchmarkId::new("started", permissions), |b| {
            b.iter_custom(|times| (0..times).map(|_| Standing::new(permissions).permit()).sum());
        });
        group.bench_function(BenchmarkId::new("fired", permissions), |b| {
            let fired = || {
                let mut standing = Standing::new(permissions);
                standing.permit();
                standing.end()
            };
            b.iter_custom(|times| (0..times).map(|_| fired()).sum());
        });
    }
    group.finish();
}
