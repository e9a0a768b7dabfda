//! Why a packet took the way it took: the names that counters, `turnpike status`, metrics and documents share.

/// What became of a packet on the data path, XDP or userspace. Zero-based and dense: it indexes the counter table.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Forwarded to the peer: ChannelData or a Send indication, unwrapped.
    ToPeer,
    /// Forwarded to the client, wrapped in ChannelData or a Data indication.
    ToClient,
    /// Forwarded to another client of this relay: what one sent to the other's relayed transport address, in one run.
    RelayToRelay,
    /// Answered: a STUN Binding request.
    Answered,
    /// Passed up: not addressed to a listener or a relayed address of ours.
    NotOurs,
    /// Passed up: a STUN message for the control plane.
    Stun,
    /// Passed up: ChannelData that matches no binding in the tables.
    NoBinding,
    /// Passed up: a packet at a relayed address from a peer that no binding in the tables names.
    NoPeerBinding,
    /// Passed up: an IP fragment.
    Fragment,
    /// Passed up: IPv4 options or IPv6 extension headers.
    IpOptions,
    /// Passed up: IP, UDP or ChannelData lengths that contradict each other or the frame.
    BadLength,
    /// Passed up: a wrong IPv4 header checksum, or a wrong UDP checksum of what would be answered; the kernel drops it.
    BadChecksum,
    /// Passed up: more behind ChannelData than padding to four bytes, which the core drops.
    Padding,
    /// Passed up: no UDP checksum where the new family demands one (RFC 8200 section 8.1).
    NoChecksum,
    /// Passed up: the UDP checksum is the pseudo header's sum alone. So Linux hands a datagram to a network card that is
    /// to finish it, and a virtual cable (veth, virtio) has no such card: the kernel knows that, XDP is not told. One
    /// finished checksum in 65,536 looks the same, and its packet goes up as well.
    UnfinishedChecksum,
    /// Passed up: larger than the next hop's MTU.
    TooBig,
    /// Passed up: in more than one piece of memory, as frames larger than a page come, and to be or to become an
    /// indication, or to go to another client of this relay.
    InPieces,
    /// Passed up: the next hop's MAC address is not known, or it is behind an interface without the program.
    NextHop,
    /// Passed up: it came in by another interface than its sender is reached by, where `rp_filter` is strict or the answer
    /// would leave by that other one: the kernel decides.
    ReversePath,
    /// Passed up: the table entry changed while it was read.
    Changed,
    /// Dropped: TTL or hop limit would reach zero.
    TtlExceeded,
    /// Dropped: a client's channel whose deadline has passed.
    Expired,
    /// Passed up: a peer whose channel's deadline has passed, but which may still hold a permission.
    PeerExpired,
    /// Dropped: ChannelData shorter than its length field says (RFC 8656 section 12.6).
    ChannelDataLength,
    /// Passed up: the driver left no room before the packet for the longer headers.
    NoHeadroom,
    /// Dropped: the table entry changed after the packet was rewritten.
    Torn,
    /// Dropped: the next hop's interface is missing from the device table.
    NoDevice,
    /// Dropped: a client's ChannelData or indication without an allocation.
    NoAllocation,
    /// Dropped: no permission for the peer (RFC 8656 section 9).
    NoPermission,
    /// Dropped: the peer rules forbid this address.
    ForbiddenPeer,
    /// Forwarded to the client: an ICMP error about a datagram to a peer, in a Data indication.
    Icmp,
    /// Dropped: an ICMP error of a type that clients are not told (RFC 8656 section 11.5).
    IcmpType,
    /// Dropped: an ICMP error when the client was told enough of them in this second.
    IcmpRate,
    /// Dropped: at a listener, neither a well-formed STUN message nor ChannelData.
    Malformed,
    /// Dropped: a STUN message of a class or method that a server does not answer.
    Unexpected,
    /// Dropped: a request without valid credentials, and its network has been answered too many of these already.
    StrangerLimited,
    /// Dropped: data beyond the bandwidth or packet rate of its allocation or user.
    RateLimited,
    /// Dropped: the kernel's send queue was full, or it refused the packet.
    SendFailed,
    /// Dropped: of a client that moved, while too many of such datagrams waited for the shard that holds its allocation.
    ShardBusy,
    /// Dropped: the oldest data for a client whose connection takes less than its peers send.
    SlowReader,
    /// Dropped: for a mobile client whose connection closed, and that has not come back yet (RFC 8016).
    ClientAway,
}

/// What happens to a packet in the XDP program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It leaves, rewritten.
    Forward,
    /// It goes up to userspace, untouched.
    Pass,
    /// It ends here.
    Drop,
}

impl Reason {
    /// Whether the packet goes on.
    #[inline(always)]
    pub const fn forwards(self) -> bool {
        matches!(self.verdict(), Verdict::Forward)
    }

    /// The verdict of the XDP program that goes with this reason. Userspace has nowhere to pass a packet up to: there,
    /// what is not forwarded is dropped.
    pub const fn verdict(self) -> Verdict {
        match self {
            Reason::ToPeer | Reason::ToClient | Reason::RelayToRelay | Reason::Answered | Reason::Icmp => {
                Verdict::Forward
            }
            Reason::NotOurs
            | Reason::Stun
            | Reason::NoBinding
            | Reason::NoPeerBinding
            | Reason::Fragment
            | Reason::IpOptions
            | Reason::BadLength
            | Reason::BadChecksum
            | Reason::Padding
            | Reason::NoChecksum
            | Reason::UnfinishedChecksum
            | Reason::TooBig
            | Reason::InPieces
            | Reason::NextHop
            | Reason::ReversePath
            | Reason::Changed
            | Reason::PeerExpired
            | Reason::NoHeadroom => Verdict::Pass,
            Reason::TtlExceeded
            | Reason::Expired
            | Reason::ChannelDataLength
            | Reason::Torn
            | Reason::NoDevice
            | Reason::NoAllocation
            | Reason::NoPermission
            | Reason::ForbiddenPeer
            | Reason::IcmpType
            | Reason::IcmpRate
            | Reason::Malformed
            | Reason::Unexpected
            | Reason::StrangerLimited
            | Reason::RateLimited
            | Reason::SendFailed
            | Reason::ShardBusy
            | Reason::SlowReader
            | Reason::ClientAway => Verdict::Drop,
        }
    }

    /// Every reason, in the order of its number.
    pub const ALL: [Reason; 41] = [
        Reason::ToPeer,
        Reason::ToClient,
        Reason::RelayToRelay,
        Reason::Answered,
        Reason::NotOurs,
        Reason::Stun,
        Reason::NoBinding,
        Reason::NoPeerBinding,
        Reason::Fragment,
        Reason::IpOptions,
        Reason::BadLength,
        Reason::BadChecksum,
        Reason::Padding,
        Reason::NoChecksum,
        Reason::UnfinishedChecksum,
        Reason::TooBig,
        Reason::InPieces,
        Reason::NextHop,
        Reason::ReversePath,
        Reason::Changed,
        Reason::TtlExceeded,
        Reason::Expired,
        Reason::PeerExpired,
        Reason::ChannelDataLength,
        Reason::NoHeadroom,
        Reason::Torn,
        Reason::NoDevice,
        Reason::NoAllocation,
        Reason::NoPermission,
        Reason::ForbiddenPeer,
        Reason::Icmp,
        Reason::IcmpType,
        Reason::IcmpRate,
        Reason::Malformed,
        Reason::Unexpected,
        Reason::StrangerLimited,
        Reason::RateLimited,
        Reason::SendFailed,
        Reason::ShardBusy,
        Reason::SlowReader,
        Reason::ClientAway,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in metrics, `turnpike status` and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::ToPeer => "to_peer",
            Reason::ToClient => "to_client",
            Reason::RelayToRelay => "relay_to_relay",
            Reason::Answered => "answered",
            Reason::NotOurs => "not_ours",
            Reason::Stun => "stun",
            Reason::NoBinding => "no_binding",
            Reason::NoPeerBinding => "no_peer_binding",
            Reason::Fragment => "fragment",
            Reason::IpOptions => "ip_options",
            Reason::BadLength => "bad_length",
            Reason::BadChecksum => "bad_checksum",
            Reason::Padding => "padding",
            Reason::NoChecksum => "no_checksum",
            Reason::UnfinishedChecksum => "unfinished_checksum",
            Reason::TooBig => "too_big",
            Reason::InPieces => "in_pieces",
            Reason::NextHop => "next_hop",
            Reason::ReversePath => "reverse_path",
            Reason::Changed => "changed",
            Reason::TtlExceeded => "ttl_exceeded",
            Reason::Expired => "expired",
            Reason::PeerExpired => "peer_expired",
            Reason::ChannelDataLength => "channel_data_length",
            Reason::NoHeadroom => "no_headroom",
            Reason::Torn => "torn",
            Reason::NoDevice => "no_device",
            Reason::NoAllocation => "no_allocation",
            Reason::NoPermission => "no_permission",
            Reason::ForbiddenPeer => "forbidden_peer",
            Reason::Icmp => "icmp",
            Reason::IcmpType => "icmp_type",
            Reason::IcmpRate => "icmp_rate",
            Reason::Malformed => "malformed",
            Reason::Unexpected => "unexpected",
            Reason::StrangerLimited => "stranger_limited",
            Reason::RateLimited => "rate_limited",
            Reason::SendFailed => "send_failed",
            Reason::ShardBusy => "shard_busy",
            Reason::SlowReader => "slow_reader",
            Reason::ClientAway => "client_away",
        }
    }
}
