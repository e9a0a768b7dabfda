//! The flow table: what a packet is recognised by and what becomes of it, one record a direction of a binding.
//!
//! | a packet that is | has the key |
//! |---|---|
//! | ChannelData | client, listener, both ports, channel number |
//! | a datagram of a peer with a channel | peer, relayed address, both ports |
//! | a Send indication | client, listener XOR the peer's address, both ports, [`channel::INDICATION`] |
//! | a datagram of a peer with a permission | peer, relayed address, port 0 and the relayed port |
//! | what one relayed address of ours sends to another | as a datagram of a peer, and [`FlowKey::INSIDE`] |
//!
//! A *bucket* is one cache line of eight entries. An entry holds 40 bits of the key's keyed hash and the number of the
//! record. A packet costs a cache line of the index and the record however many bindings there are; see
//! `docs/decisions/0001-flow-table.md` for the figures against the kernel's hash map. A record lies where the hash says, its
//! [`likely_record`], unless another one does. The program fetches that while it waits for the index, which alone says
//! what is right (`docs/decisions/0008-records-where-the-hash-says.md`).
//!
//! Userspace is the only writer of all but [`FlowRecord::packets`] and [`FlowRecord::bytes`]. It writes a record
//! whole before an entry names it, changes a living record only in single words, and lets a removed record rest
//! before it uses it again; [`FlowRecord::generation`] shows a reader that was overtaken all the same.

use crate::addr::{Be16, Endpoint, NetIp};
use crate::channel;
use crate::checksum;

/// What a packet is recognised by: its addresses and ports as they arrive and, from a client, its channel number. What
/// travels in indications has a key for each address of a peer, as permissions are for an address (RFC 8656 section 9).
#[repr(C, align(8))]
#[derive(Clone, Copy, Eq, Debug, Default)]
pub struct FlowKey {
    /// IP source.
    pub src: NetIp,
    /// IP destination: a listener's address or a relayed address. For a Send indication the listener's address XORed with
    /// that of the peer: comparing the key proves both, as the record's own [`FlowRecord::dst`] is the peer.
    pub dst: NetIp,
    /// UDP source port. Zero in the key of a permission, which is for every port of the peer.
    pub src_port: Be16,
    /// UDP destination port.
    pub dst_port: Be16,
    /// The channel number at the start of the UDP payload, or [`channel::INDICATION`]; zero at a relayed address, where
    /// the payload is opaque.
    pub channel: Be16,
    /// [`FlowKey::INSIDE`] for what one relayed address of ours sends to another; zero for all that arrives.
    pub inside: u16,
}

/// The 32-bit words of a [`FlowKey`].
pub const KEY_WORDS: usize = size_of::<FlowKey>() / 4;

/// Secret random coefficients of the key hash, drawn anew at every start.
pub type HashSeed = [u64; KEY_WORDS + 1];

impl FlowKey {
    /// Says that the packet never was on a wire: whoever sends one in the name of a relayed address of ours finds nothing.
    pub const INSIDE: u16 = 1;

    /// The key of a client's Send indications to any port of a peer.
    #[inline(always)]
    pub const fn send(client: Endpoint, listener: Endpoint, peer: &NetIp) -> Self {
        Self {
            src: client.ip,
            dst: listener.ip.xor(peer),
            src_port: client.port,
            dst_port: listener.port,
            channel: channel::INDICATION,
            inside: 0,
        }
    }

    /// The key of what a record sends to a relayed address of ours, as it would arrive there at `port`.
    #[inline(always)]
    pub const fn onward(record: &FlowRecord, port: Be16) -> Self {
        Self {
            src: record.src,
            dst: record.dst,
            src_port: record.src_port,
            dst_port: port,
            channel: Be16(0),
            inside: Self::INSIDE,
        }
    }

    /// Sets all but the addresses of a key of what arrives, at once: what is written in parts cannot be read as a whole
    /// until it has reached the cache.
    #[inline(always)]
    pub fn set_ports(&mut self, src_port: Be16, dst_port: Be16, channel: Be16) {
        let halves = [src_port.0, dst_port.0, channel.0, 0].map(u64::from);
        let whole = if cfg!(target_endian = "little") {
            halves[0] | halves[1] << 16 | halves[2] << 32
        } else {
            halves[0] << 48 | halves[1] << 32 | halves[2] << 16
        };
        // SAFETY: a key is forty bytes, whatever they are, aligned to eight; the last eight are the ports, the channel and
        // `inside`.
        unsafe { (&raw mut *self).cast::<u64>().add(4).write(whole) };
    }

    /// The key as it lies in memory.
    #[inline(always)]
    const fn words(&self) -> &[u64; size_of::<Self>() / 8] {
        // SAFETY: integers only, forty bytes of them, aligned to eight.
        unsafe { &*(&raw const *self).cast() }
    }

    /// The key of ChannelData, or of a peer's datagrams where `channel` is zero.
    const fn plain(from: Endpoint, at: Endpoint, channel: Be16) -> Self {
        Self { src: from.ip, dst: at.ip, src_port: from.port, dst_port: at.port, channel, inside: 0 }
    }

    /// The key's hash: multilinear hashing, strongly universal in its upper 32 bits (Lemire and Kaser, "Strongly
    /// universal string hashing is fast", 2014). A client that does not know the seed cannot choose keys that collide
    /// more often than by chance.
    ///
    /// [`inside`](Self::inside) does not enter: no two keys differ in it alone, as what comes from a relayed address of ours
    /// has it always.
    ///
    /// The last step is a bijection, so it adds no collision. It is there because a linear hash maps the evenly spaced
    /// ports of a fleet to evenly spaced values: at half load, without it, up to eight times as many keys find both of
    /// their buckets full as random values would; with it, as many (`tests/flow_index_spread.rs`).
    #[inline(always)]
    pub fn hash(&self, seed: &HashSeed) -> u64 {
        let ports = u32::from(self.src_port.0) | u32::from(self.dst_port.0) << 16;
        let mut h = seed[0];
        // Of IPv4 addresses these are zeros, which add nothing.
        let [s, _, d, ..] = *self.words();
        if s | d != 0 {
            h = h.wrapping_add(seed[1].wrapping_mul(u64::from(self.src.0[0])));
            h = h.wrapping_add(seed[2].wrapping_mul(u64::from(self.src.0[1])));
            h = h.wrapping_add(seed[5].wrapping_mul(u64::from(self.dst.0[0])));
            h = h.wrapping_add(seed[6].wrapping_mul(u64::from(self.dst.0[1])));
        }
        h = h.wrapping_add(seed[3].wrapping_mul(u64::from(self.src.0[2])));
        h = h.wrapping_add(seed[4].wrapping_mul(u64::from(self.src.0[3])));
        h = h.wrapping_add(seed[7].wrapping_mul(u64::from(self.dst.0[2])));
        h = h.wrapping_add(seed[8].wrapping_mul(u64::from(self.dst.0[3])));
        h = h.wrapping_add(seed[9].wrapping_mul(u64::from(ports)));
        h = h.wrapping_add(seed[10].wrapping_mul(u64::from(self.channel.0)));
        (h ^ h >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl PartialEq for FlowKey {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.words(), other.words());
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) == 0
    }
}

impl core::hash::Hash for FlowKey {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}

/// Entries of a bucket: eight of eight bytes fill a cache line.
pub const BUCKET_ENTRIES: usize = 8;

/// One line of the index. An entry is `tag << 24 | record`; zero is empty, and record 0 is never used.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bucket(pub [u64; BUCKET_ENTRIES]);

/// The bits of an entry that number the record.
pub const RECORD_BITS: u32 = 24;

/// The part of a hash that an entry keeps.
#[inline(always)]
pub const fn tag(hash: u64) -> u64 {
    hash >> RECORD_BITS
}

/// The entry for a record.
#[inline(always)]
pub const fn entry(hash: u64, record: u32) -> u64 {
    tag(hash) << RECORD_BITS | record as u64
}

/// The record an entry names.
#[inline(always)]
pub const fn record_of(entry: u64) -> u32 {
    (entry & ((1 << RECORD_BITS) - 1)) as u32
}

/// The bucket where a key is looked for first; `mask` is the number of buckets (a power of two) less one.
#[inline(always)]
pub const fn home_bucket(hash: u64, mask: u32) -> u32 {
    (hash >> 40) as u32 & mask
}

/// The bucket where a key is found when its home was full.
#[inline(always)]
pub const fn other_bucket(hash: u64, mask: u32) -> u32 {
    (tag(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 & mask
}

/// The record that is most likely the key's, of so many (record 0 is not counted): where it is put if it is free.
#[inline(always)]
pub const fn likely_record(hash: u64, records: u64) -> u32 {
    1 + (((hash >> 32) * records) >> 32) as u32
}

/// The record a bucket names for this hash, or 0.
#[inline(always)]
pub fn find(bucket: &Bucket, hash: u64) -> u32 {
    let want = tag(hash) << RECORD_BITS;
    let mut i = 0;
    while i < BUCKET_ENTRIES {
        // Where the tags are the same nothing is left of them, but the record.
        let left = bucket.0[i] ^ want;
        if left < 1 << RECORD_BITS {
            return left as u32;
        }
        i += 1;
    }
    0
}

/// One direction of a channel binding or of a permission: who may pass and the complete rewrite. Two cache lines, the first to decide,
/// the second to write.
#[repr(C, align(128))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowRecord {
    /// Compared in full: an entry's tag alone proves nothing.
    pub key: FlowKey,
    /// Kernel monotonic nanoseconds (`bpf_ktime_get_coarse_ns`) from which the flow is dead; 0 is dead always.
    pub deadline: u64,
    /// Packets forwarded. Written by XDP.
    pub packets: u64,
    /// Bytes of data forwarded, without the headers of TURN, UDP and IP: what quotas and rates count too. Written by XDP.
    pub bytes: u64,
    /// New IP source.
    pub src: NetIp,
    /// New IP destination.
    pub dst: NetIp,
    /// New UDP source port.
    pub src_port: Be16,
    /// New UDP destination port; zero for the one that the Send indication names.
    pub dst_port: Be16,
    /// The channel number put before the payload; zero puts none, and [`channel::INDICATION`] makes it a Data indication.
    pub channel: Be16,
    /// What the rewrite adds to the UDP checksum's sum: addresses and ports. Lengths, what is put before and taken from
    /// around the payload, and the port of a peer where it is zero here, differ from packet to packet.
    pub udp_delta: u16,
    /// What the new addresses add to an IPv4 header's sum.
    pub ip_sum: u16,
    /// What the UDP pseudo header adds to a sum as packets arrive, all but the length.
    pub pseudo_sum: u16,
    /// Index into the next hop table.
    pub next_hop: u32,
    /// Odd while the record is being written, and different after every reuse.
    pub generation: u32,
    /// Flow label of an IPv6 packet as it leaves, 20 bits in network order: RFC 8656 section 14 has each side of the
    /// relay choose its own.
    pub flow_label: u32,
    /// Number of the meter whose rates the flow keeps to; 0 for none.
    pub meter: u32,
    /// Index into the next hop table of the way back to where the packets come from: by its interface they are expected.
    /// 0 when it is not known.
    pub way_back: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<FlowRecord>() == 128);
const _: () = assert!(size_of::<Bucket>() == 64);

/// The five names of a binding, as packets carry them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// The client's address.
    pub client: Endpoint,
    /// The listener it talks to.
    pub listener: Endpoint,
    /// The relayed transport address, as bound on this host.
    pub relayed: Endpoint,
    /// The peer's address; its port is zero for a permission.
    pub peer: Endpoint,
    /// The channel number, or [`channel::INDICATION`] for a permission.
    pub channel: Be16,
}

impl FlowRecord {
    /// The record that carries the client's ChannelData or Send indications to the peer. Deadline and next hop are still to
    /// be set.
    pub fn client_to_peer(path: &Path) -> Self {
        let key = if path.channel == channel::INDICATION {
            FlowKey::send(path.client, path.listener, &path.peer.ip)
        } else {
            FlowKey::plain(path.client, path.listener, path.channel)
        };
        Self::new(key, path.relayed, path.peer, Be16(0))
    }

    /// The record that carries the peer's datagrams to the client. Deadline and next hop are still to be set.
    pub fn peer_to_client(path: &Path) -> Self {
        let key = FlowKey::plain(path.peer, path.relayed, Be16(0));
        Self::new(key, path.listener, path.client, path.channel)
    }

    /// The same where the peer is a relayed address of ours.
    pub fn inside(mut self) -> Self {
        self.key.inside = FlowKey::INSIDE;
        self
    }

    fn new(key: FlowKey, src: Endpoint, dst: Endpoint, channel: Be16) -> Self {
        let mut record = Self {
            key,
            src: src.ip,
            dst: dst.ip,
            src_port: src.port,
            dst_port: dst.port,
            channel,
            ..Self::default()
        };
        record.seal();
        record
    }

    /// Whether packets of this flow arrive from a client.
    #[inline(always)]
    pub const fn to_peer(&self) -> bool {
        self.key.channel.0 != 0
    }

    /// Fills in the checksum constants from the key and the new addresses: of what the UDP checksum covers (RFC 768), the
    /// addresses and ports.
    fn seal(&mut self) {
        let key = &self.key;
        let at = if key.channel == channel::INDICATION { key.dst.xor(&self.dst) } else { key.dst };
        let old = sum(&key.src, &at, key.src_port, key.dst_port);
        let new = sum(&self.src, &self.dst, self.src_port, self.dst_port);
        self.udp_delta = checksum::fold_halves(u32::from(new) + checksum::removed(old));
        let protocol = Be16::new(u16::from(crate::wire::protocol::UDP));
        self.pseudo_sum = checksum::fold(key.src.sum() + at.sum() + u64::from(protocol.0));
        self.ip_sum = checksum::fold(checksum::word(self.src.0[3]) + checksum::word(self.dst.0[3]));
    }
}

/// The sum of a pseudo header's addresses and a UDP header's ports.
fn sum(src: &NetIp, dst: &NetIp, src_port: Be16, dst_port: Be16) -> u16 {
    checksum::fold(src.sum() + dst.sum() + u64::from(src_port.0) + u64::from(dst_port.0))
}
