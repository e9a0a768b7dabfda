//! ChannelData is four bytes more than its payload: a peer's packet that fills the wire does not fit any more. XDP leaves
//! it to the process, which lets the kernel fragment it.

use relay_common::reason::Reason;
use turnpike_tests::lab::{Path, QUIET, Wire};

use crate::common::{assert_xdp, moved, settled};

const ETHERNET: usize = 14;
const MTU: usize = 1_500;
/// The most of a peer's payload that fits with its headers.
const FULL: usize = MTU - 20 - 8;

#[test]
fn and_arrives_all_the_same() {
    let Some((net, server, mut call)) = settled("xdp") else { return };

    let fits = moved(&server, || call.peer_sends(&[1; FULL - 4]));
    assert_eq!(fits.relayed(Path::Xdp), (0, 1), "{fits:?}");

    let mut wire = Wire::open(&net.client, "eth0");
    let more = moved(&server, || {
        for length in FULL - 3..=FULL {
            call.peer_sends(&vec![2; length]);
        }
    });
    assert_xdp(&more, Reason::TooBig, 4);
    assert_eq!(more.relayed(Path::Userspace), (0, 4), "{more:?}");
    let longest = std::cell::Cell::new(0);
    wire.find(QUIET, |frame| -> Option<()> {
        longest.set(longest.get().max(frame.len()));
        None
    });
    assert!((ETHERNET + 1..=ETHERNET + MTU).contains(&longest.get()), "a frame of {} bytes", longest.get());
}
