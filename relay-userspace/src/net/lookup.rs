//! The socket lookup program (`sk_lookup`, kernel 5.9) at work: it leads the datagrams of open relayed transport
//! addresses to the socket of their shard. Opening and closing one is a store in memory that is shared with the program.

use std::fs::File;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{HashMap, Map, MapError, SockMap};
use aya::programs::{ProgramError, SkLookup};
use aya::{Ebpf, EbpfError, EbpfLoader};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use relay_common::steer;

use crate::datapath::lookup_object;
use crate::shared_words::SharedWords;

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error(
        "this binary was built without the socket lookup program (`cargo xtask build` makes one with it)"
    )]
    NoObject,
    #[error("the socket lookup program is not to be had: {0}{advice}", advice = advice(.0))]
    Load(#[from] EbpfError),
    #[error("the socket lookup program does not run: {0}{advice}", advice = advice(.0))]
    Program(#[from] ProgramError),
    #[error("the socket lookup program's tables are not to be had: {0}{advice}", advice = advice(.0))]
    Map(#[from] MapError),
    #[error("the socket lookup program does not belong to this binary: it has no table {0}")]
    Foreign(&'static str),
    #[error("the network namespace, or memory shared with the socket lookup program, is not to be had: {0}")]
    System(#[from] io::Error),
}

/// What to do about an error that a lack of privilege explains.
fn advice(error: &dyn std::error::Error) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
            return "; it needs CAP_BPF and CAP_NET_ADMIN";
        }
        cause = error.source();
    }
    ""
}

/// The program, attached to the network namespace. Detached on drop, and by the kernel should this process die.
pub(super) struct Lookup {
    addresses: Vec<IpAddr>,
    ports: SharedWords,
    rounds: SharedWords,
    _ebpf: Ebpf,
}

/// The sockets that datagrams are led to, each with its [place](steer::socket).
pub(super) type Takers<'a> = &'a [(u32, &'a UdpSocket)];

impl Lookup {
    /// Attaches the program to this thread's network namespace. No port is open yet.
    pub(super) fn attach(
        addresses: Vec<IpAddr>,
        range: &RangeInclusive<u16>,
        shards: usize,
        takers: Takers<'_>,
    ) -> Result<Self, LookupError> {
        // Before 5.11 maps count against this limit. Without the privilege to raise it, loading says what is wrong.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let places = addresses.len() as u32 * steer::ADDRESS_PORTS;
        let holders = shards as u32 + 1;
        let mut ebpf = EbpfLoader::new()
            .override_global(steer::RANGE, &[*range.start(), *range.end()], true)
            .map_max_entries(steer::ADDRESSES, addresses.len() as u32)
            .map_max_entries(steer::PORTS, places)
            .map_max_entries(steer::SOCKETS, 2 * holders)
            .map_max_entries(steer::ROUNDS, holders)
            .load(lookup_object().ok_or(LookupError::NoObject)?)?;
        // Before any table is taken out: its descriptor closes then, and the program's code names it.
        program(&mut ebpf)?.load()?;
        let mut known = HashMap::<_, [u32; 4], u32>::try_from(take(&mut ebpf, steer::ADDRESSES)?)?;
        for (index, ip) in addresses.iter().enumerate() {
            known.insert(key(*ip), index as u32, 0)?;
        }
        let mut sockets = SockMap::try_from(take(&mut ebpf, steer::SOCKETS)?)?;
        for (place, socket) in takers {
            sockets.set(*place, *socket, 0)?;
        }
        let ports = words(&mut ebpf, steer::PORTS, places)?;
        let rounds = words(&mut ebpf, steer::ROUNDS, holders)?;
        let namespace = File::open("/proc/thread-self/ns/net")?;
        program(&mut ebpf)?.attach(namespace)?;
        Ok(Self { addresses, ports, rounds, _ebpf: ebpf })
    }

    /// The relay addresses by their places.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Leads a port's datagrams to a shard from now on.
    pub(super) fn open(&self, address: usize, port: u16, shard: u16) {
        self.port(address, port).store(u64::from(holder(shard)).to_le(), Ordering::Release);
    }

    /// Leads them there no longer.
    pub(super) fn close(&self, address: usize, port: u16) {
        self.port(address, port).store(0, Ordering::Release);
    }

    /// Whether any shard has a port open.
    pub(super) fn is_open(&self, address: usize, port: u16) -> bool {
        u64::from_le(self.port(address, port).load(Ordering::Relaxed)) as u32 != 0
    }

    /// Begins the next round of a shard: what waited at the beginning of the last has been read.
    pub(super) fn next_round(&self, shard: u16) {
        self.rounds[holder(shard) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Begins a round of every shard. For now and then: what the kernel dropped after the program had counted it is never
    /// read, and nothing else would end the round of a port that nothing more is let through to.
    pub(super) fn next_rounds(&self) {
        for round in self.rounds.iter() {
            round.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn port(&self, address: usize, port: u16) -> &AtomicU64 {
        &self.ports[steer::place(address as u32, port) as usize]
    }
}

/// The number by which the program knows a shard.
pub(super) fn holder(shard: u16) -> u32 {
    u32::from(shard) + 1
}

/// An address as the program looks it up: words in network order.
fn key(ip: IpAddr) -> [u32; 4] {
    let octets = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    [0, 4, 8, 12].map(|at| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]))
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SkLookup, ProgramError> {
    let program = ebpf.program_mut(steer::PROGRAM);
    program.ok_or_else(|| ProgramError::InvalidName { name: steer::PROGRAM.into() })?.try_into()
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LookupError> {
    ebpf.take_map(name).ok_or(LookupError::Foreign(name))
}

/// An array of words, mapped. Its dimensions are checked: memory is shared by them.
fn words(ebpf: &mut Ebpf, name: &'static str, entries: u32) -> Result<SharedWords, LookupError> {
    let Map::Array(map) = take(ebpf, name)? else { return Err(LookupError::Foreign(name)) };
    let info = map.info()?;
    if (info.max_entries(), info.value_size()) != (entries, 8) {
        return Err(LookupError::Foreign(name));
    }
    Ok(SharedWords::of_map(map.fd(), entries as usize * 8).map_err(io::Error::from)?)
}
