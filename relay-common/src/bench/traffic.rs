//! What the generator sends, what the sink expects, and what both count.

use crate::addr::{Be16, NetIp};
use crate::bench::arrival::FAULTS;
use crate::checksum;
use crate::tables::Plain;
use crate::wire::Header;

/// The first byte of application data of the bench. Neither STUN nor ChannelData begins so (RFC 8656 section 12).
pub const MAGIC: u8 = 0xb5;

/// What application data begins with: 16 bytes, so that it fits ChannelData in the shortest frame of IPv4.
#[repr(C, packed)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// [`mark`] of run and flow.
    pub mark: u32,
    /// The packet's number in its flow.
    pub sequence: u32,
    /// When it was made, in nanoseconds of CLOCK_MONOTONIC: the lower half.
    pub time_low: u32,
    /// The upper half. All zeros in a packet whose latency is not measured.
    pub time_high: u32,
}

// SAFETY: packed, integers only.
unsafe impl Header for Stamp {}

impl Stamp {
    /// Bytes of it.
    pub const LEN: usize = size_of::<Self>();

    /// When the packet was made, or zero.
    #[inline(always)]
    pub fn time(&self) -> u64 {
        u64::from(self.time_low) | u64::from(self.time_high) << 32
    }

    /// What it adds to a checksum's sum.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        checksum::word(self.mark)
            + checksum::word(self.sequence)
            + checksum::word(self.time_low)
            + checksum::word(self.time_high)
    }
}

/// [`MAGIC`], the run and the flow's number. Packets that are left over from a run before are told by it.
#[inline(always)]
pub const fn mark(run: u8, flow: u16) -> u32 {
    let [low, high] = flow.to_le_bytes();
    u32::from_ne_bytes([MAGIC, run, low, high])
}

/// Words of 64 bits at a frame's start that the generator has of a flow: they hold all headers up to the longest,
/// those of a Send indication over IPv6, and a stamp.
pub const WORDS: usize = 16;

/// A flow at the generator. Three cache lines, of which one or two are touched.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The number of the next packet. Written by the generator.
    pub sequence: u32,
    /// The one's complement sum that the UDP checksum is of, without that of the stamp.
    pub sum: u32,
    /// Where in the frame the stamp lies.
    pub stamp_at: u32,
    /// Where the UDP checksum lies.
    pub checksum_at: u32,
    /// The start of the frame.
    pub words: [u64; WORDS],
    /// Fills the lines.
    pub zero: [u64; 6],
}

/// A flow at the sink: how its packets must arrive, and how they did. Two cache lines, the second for indications.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Source address.
    pub src: NetIp,
    /// Destination address.
    pub dst: NetIp,
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// What the datagram begins with, as it lies in memory: the ChannelData header; the message type of an indication; zero
    /// where it is the application data itself.
    pub head: u32,
    /// Bytes of UDP header and payload, host order; zero where a relay may choose (attributes of an indication).
    pub udp_len: u16,
    /// Bytes of application data, host order.
    pub data_len: u16,
    /// As in [`Outgoing`]; of no meaning for indications, whose transaction id is not known.
    pub sum: u32,
    /// One more than the highest number that arrived. This and all below is written by the sink.
    pub next: u32,
    /// Packets that arrived as they should.
    pub arrived: u32,
    /// Those of them that arrived after a later one.
    pub reordered: u32,
    /// Packets that arrived otherwise.
    pub corrupt: u32,
    /// The peer that an indication names.
    pub peer: NetIp,
    /// Its port.
    pub peer_port: Be16,
    /// Fills the lines.
    pub zero: [u16; 23],
}

/// What is to be sent.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Nanoseconds for which packets are sent.
    pub duration: u64,
    /// Time between two bursts in units of 2^-[`FRACTION`] nanoseconds; zero for as fast as can be.
    pub interval: u64,
    /// How many flows there are.
    pub flows: u32,
    /// Packets of a flow that follow one another.
    pub burst: u32,
    /// Words of [`Outgoing::words`] that are written.
    pub words: u32,
    /// One packet in so many gets a time, less one; a power of two less one.
    pub stamp_mask: u32,
    /// One packet in so many is summed up by the sink, less one; a power of two less one.
    pub check_mask: u32,
    /// The run's number, below 256.
    pub run: u32,
    /// The TTL or hop limit that packets must arrive with; zero for any.
    pub ttl: u32,
    /// Nanoseconds from one packet of a burst to the next; zero for as fast as can be.
    pub spacing: u32,
}

/// Bits of [`Plan::interval`] and [`Progress::due`] behind the point: at ten million packets a second, rounding to whole
/// nanoseconds would change the rate by half a percent.
pub const FRACTION: u32 = 16;

/// How late a burst may be, in nanoseconds, before the ones to come are put off as well: the generator may be off its CPU
/// for a while, and what it then sent to make up for it would be a burst that nobody asked for.
pub const SLACK: u64 = 30_000;

/// Where the generator is. Zeros before the first packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// When it sent the first packet; nanoseconds of CLOCK_MONOTONIC, as all times.
    pub first: u64,
    /// When it sent a packet for the last time that it looked at the clock.
    pub last: u64,
    /// When the last packet of a burst whose packets have a spacing was due.
    pub spaced: u64,
    /// When the next burst is due, after the first, in units of 2^-[`FRACTION`] nanoseconds.
    pub due: u64,
    /// Packets sent.
    pub sent: u64,
    /// State of the random numbers by which the flow is chosen.
    pub random: u64,
    /// The flow of this burst.
    pub flow: u32,
    /// Packets of this burst that are yet to be sent.
    pub left: u32,
}

/// What a CPU of the sink counted.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Packets that arrived as they should.
    pub arrived: u64,
    /// Those of them that arrived after a later one of their flow.
    pub reordered: u64,
    /// Packets of a run before, which are not judged.
    pub late: u64,
    /// Packets of the kernel's pktgen, which are counted and not judged.
    pub pktgen: u64,
    /// Packets whose every byte was looked at.
    pub summed: u64,
    /// Packets that arrived otherwise, by [fault](crate::bench::arrival).
    pub faults: [u64; FAULTS],
}

// SAFETY: integers only; the fields fill the type (asserted below).
unsafe impl Plain for Outgoing {}
// SAFETY: as above.
unsafe impl Plain for Expected {}
// SAFETY: as above.
unsafe impl Plain for Plan {}
// SAFETY: as above.
unsafe impl Plain for Progress {}
// SAFETY: as above.
unsafe impl Plain for Tally {}

const _: () = assert!(size_of::<Outgoing>() == 4 * 4 + 8 * WORDS + 6 * 8);
const _: () = assert!(size_of::<Expected>() == 64 + 16 + 2 + 46);
const _: () = assert!(size_of::<Plan>() == 48 && size_of::<Progress>() == 56);

/// Bits of a latency that are told apart, below the highest: steps of 3 %.
const STEPS: u32 = 5;

/// Buckets of the histogram of latencies: up to 2^43 ns.
pub const BUCKETS: u32 = 39 << STEPS;

/// The bucket of so many nanoseconds: one for each number up to 32, then as many to each power of two.
#[inline(always)]
pub const fn bucket(ns: u64) -> u32 {
    let ns = if ns < 1 << 43 { ns } else { (1 << 43) - 1 };
    // Shifts and ors instead of a branch a power of two.
    let exponent = 63 - (ns | 1).leading_zeros();
    if exponent < STEPS {
        return ns as u32;
    }
    let step = (ns >> (exponent - STEPS)) as u32 & ((1 << STEPS) - 1);
    (exponent - STEPS + 1) << STEPS | step
}

/// The most nanoseconds that belong into a bucket.
pub const fn most_of(bucket: u32) -> u64 {
    if bucket < 1 << STEPS {
        return bucket as u64;
    }
    let shift = (bucket >> STEPS) - 1;
    let step = (bucket & ((1 << STEPS) - 1)) as u64;
    (((1 << STEPS) + step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_none_is_wider_than_a_thirty_second() {
        let mut ns = 0;
        for number in 0..BUCKETS {
            assert_eq!(bucket(ns), number, "{ns} ns");
            let most = most_of(number);
            assert_eq!(bucket(most), number, "{most} ns");
            assert!((most - ns) * 32 <= ns, "{ns} to {most}");
            ns = most + 1;
        }
        assert_eq!(ns, 1 << 43);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn application_data_is_taken_for_neither_stun_nor_channel_data() {
        let [first, second, ..] = mark(7, 0x1234).to_ne_bytes();
        assert!(!crate::channel::is_channel(u16::from_be_bytes([first, second])));
        assert_ne!(first & 0xc0, 0, "STUN (RFC 8489 section 5)");
    }
}
