//! What the parts of the capacity bench tell each other: what is offered to a relay, and what came of it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// A channel binding or a permission at the relay under test, and where its packets come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The client's address.
    pub client: SocketAddr,
    /// The listener that it allocated at.
    pub listener: SocketAddr,
    /// Its relayed transport address.
    pub relayed: SocketAddr,
    /// The peer; for relay to relay, the relayed transport address of the other client.
    pub peer: SocketAddr,
    /// The channel number; 0 where data travels in indications.
    pub channel: u16,
}

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// ChannelData or Send indications to peers.
    ToPeer,
    /// Datagrams of peers to clients.
    ToClient,
    /// ChannelData of one client to another one of the same relay.
    RelayToRelay,
}

/// What is offered.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Load {
    /// Which way.
    pub direction: Direction,
    /// Bytes of a frame as it is offered, Ethernet header included and check sequence not.
    pub frame: u16,
    /// Packets a second; `None` for as many as the generator makes.
    pub rate: Option<f64>,
    /// Packets of a flow that follow one another.
    pub burst: u32,
    /// From one of them to the next; zero for as fast as the generator makes them.
    pub spacing: Duration,
    /// For how long.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Outcome {
    /// Packets that left the generator.
    pub sent: u64,
    /// Packets that arrived whole where they should.
    pub arrived: u64,
    /// Those of them that arrived after a later one of their flow.
    pub reordered: u64,
    /// Packets that arrived with other addresses, lengths or bytes than they should have.
    pub corrupt: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
    /// CPU time in seconds that the relay took: its threads and the threads that poll its interfaces.
    pub cpu_seconds: f64,
    /// How late packets arrived, where that was measured.
    pub latency: Option<Latency>,
}

/// Nanoseconds from leaving the generator to arriving at the sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Latency {
    /// Half of the packets were faster.
    pub p50: u64,
    /// 99 of a hundred were.
    pub p99: u64,
    /// 999 of a thousand were.
    pub p999: u64,
}

impl Outcome {
    /// Packets that did not arrive, as a share of those sent.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 1.0 - self.arrived as f64 / self.sent as f64 }
    }

    /// Packets relayed in a second of the relay's CPU time.
    pub fn packets_per_cpu_second(&self) -> f64 {
        self.arrived as f64 / self.cpu_seconds
    }
}
