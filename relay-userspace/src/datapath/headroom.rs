//! Whether a driver leaves room before a packet for the longer headers of ChannelData, indications, IPv6 and VLANs: no
//! driver tells, so it is judged by what the program has counted. One that lacks it (gve with GQI queues leaves 2 bytes)
//! would have everything towards clients relayed in userspace.

use relay_common::reason::Reason;

use super::counters::Totals;
use super::ladder::driver_of;
use super::netlink::Link;

/// Packets without room that are a property of the driver and no accident: a call has 50 a second.
const LACKING: u64 = 16;

/// Packets that were given longer headers, after which nobody looks any more but when all is looked at.
const PROVED: u64 = 1000;

/// What is known of a driver's headroom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Headroom {
    /// Not yet anything.
    Unknown,
    /// It is enough.
    Enough,
    /// It is not.
    Lacking,
}

/// Judges by the counters of an interface in driver mode; without any there is nothing to judge by, now or later.
pub(super) fn judge(counted: Option<&Totals>) -> Headroom {
    let Some(counted) = counted else { return Headroom::Enough };
    let packets = |reason: Reason| counted[reason as usize].packets;
    if packets(Reason::NoHeadroom) >= LACKING {
        Headroom::Lacking
    } else if packets(Reason::ToClient) >= PROVED {
        Headroom::Enough
    } else {
        Headroom::Unknown
    }
}

/// Why not driver mode.
pub(super) fn reason(link: &Link) -> String {
    format!(
        "{} leaves too little room before a packet for longer headers (no_headroom), which generic mode makes",
        driver_of(link)
    )
}

#[cfg(test)]
mod tests {
    use relay_common::tables::Count;

    use super::*;

    #[test]
    fn a_driver_lacks_headroom_once_some_packets_had_none_and_is_proved_once_many_had_enough() {
        let judged = |without, with| {
            let mut counted = [Count::default(); Reason::COUNT];
            counted[Reason::NoHeadroom as usize].packets = without;
            counted[Reason::ToClient as usize].packets = with;
            judge(Some(&counted))
        };
        assert_eq!(judged(0, 0), Headroom::Unknown);
        assert_eq!(judged(LACKING - 1, PROVED - 1), Headroom::Unknown);
        assert_eq!(judged(0, PROVED), Headroom::Enough);
        assert_eq!(judged(LACKING, PROVED), Headroom::Lacking);
        assert_eq!(judge(None), Headroom::Enough);
    }
}
