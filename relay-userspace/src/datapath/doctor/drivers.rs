//! What is known of network drivers: a row each. The figures are those of the drivers' sources and of the clouds'
//! documents, for pages of 4 KiB.

/// What a driver wants before it runs XDP well.
#[derive(Debug)]
pub(super) struct Driver {
    /// As `ethtool -i` has it.
    pub(super) name: &'static str,
    /// The largest MTU with a program that takes a packet in one piece, in bytes.
    pub(super) max_mtu: Option<u32>,
    /// The first kernel that takes larger ones when the program declares `xdp.frags`.
    pub(super) frags_since: Option<(u32, u32)>,
    /// The first kernel in which it sends packets in pieces that came by another card. Kernels before 6.3 drop them all.
    pub(super) sends_pieces_since: Option<(u32, u32)>,
    /// Whether it refuses XDP while LRO is on.
    pub(super) refuses_lro: bool,
    /// How many queues it wants.
    pub(super) queues: Queues,
    /// What else to know.
    pub(super) remark: Option<&'static str>,
    /// Whether Turnpike's tests run on it.
    pub(super) tested: bool,
}

/// How many queues a driver wants for XDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Queues {
    /// It makes do.
    Any,
    /// There is no card whose queues would be spread over CPUs.
    Software,
    /// One for each CPU: it sends redirected packets on the queue with the CPU's number.
    OnePerCpu,
    /// At most half of the most, for it takes as many again to send what XDP sends.
    Half,
    /// The same, and as many for receiving as for sending.
    HalfEach,
    /// As many free ones as there are CPUs; otherwise CPUs share queues under a lock.
    FreeOnePerCpu,
    /// For receiving and sending at once (`combined`).
    Combined,
}

const RESETS: &str = "the first attach takes the card down and up again: a second or two without network";

/// Every driver of which something is known.
pub(super) const DRIVERS: [Driver; 13] = [
    Driver {
        max_mtu: Some(3498),
        frags_since: Some((5, 18)),
        sends_pieces_since: Some((6, 4)),
        refuses_lro: true,
        ..driver("mlx5_core")
    },
    Driver {
        max_mtu: Some(3046),
        frags_since: Some((6, 3)),
        sends_pieces_since: Some((6, 3)),
        queues: Queues::OnePerCpu,
        ..driver("ice")
    },
    Driver { max_mtu: Some(3046), frags_since: Some((6, 4)), queues: Queues::OnePerCpu, ..driver("i40e") },
    Driver { max_mtu: Some(3050), refuses_lro: true, ..driver("ixgbe") },
    Driver { max_mtu: Some(3502), frags_since: Some((5, 19)), queues: Queues::Combined, ..driver("bnxt_en") },
    Driver {
        max_mtu: Some(3506),
        frags_since: Some((6, 3)),
        queues: Queues::FreeOnePerCpu,
        tested: true,
        ..driver("virtio_net")
    },
    Driver { max_mtu: Some(3498), queues: Queues::Half, remark: Some(RESETS), ..driver("ena") },
    Driver {
        max_mtu: Some(2032),
        queues: Queues::HalfEach,
        remark: Some(
            "with its GQI queue format it leaves 2 bytes of headroom where XDP needs 4 for ChannelData: `turnpike run` \
             sees that by the first media and goes on in generic mode",
        ),
        ..driver("gve")
    },
    Driver { max_mtu: Some(3506), refuses_lro: true, ..driver("mana") },
    Driver { max_mtu: Some(3506), refuses_lro: true, ..driver("hv_netvsc") },
    Driver {
        max_mtu: Some(3506),
        frags_since: Some((5, 18)),
        sends_pieces_since: Some((6, 3)),
        queues: Queues::Software,
        tested: true,
        ..driver("veth")
    },
    Driver { queues: Queues::Software, ..driver("tun") },
    Driver { queues: Queues::Software, ..driver("bonding") },
];

const fn driver(name: &'static str) -> Driver {
    Driver {
        name,
        max_mtu: None,
        frags_since: None,
        sends_pieces_since: None,
        refuses_lro: false,
        queues: Queues::Any,
        remark: None,
        tested: false,
    }
}

/// What is known of a driver.
pub(super) fn known(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}
