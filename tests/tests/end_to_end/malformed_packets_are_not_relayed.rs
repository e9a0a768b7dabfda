//! Lengths that contradict each other, and ChannelData that is not whole, are not relayed by anybody.

use turnpike_tests::lab::{self, OneNic, Path, QUIET, Server, Wire, receive};

use crate::common::{Call, Macs, moved};

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = ETHERNET + IP;
const UDP_LENGTH: usize = UDP + 4;
const UDP_CHECKSUM: usize = UDP + 6;
const CHANNEL_LENGTH: usize = UDP + 8 + 2;

/// The frame with another number at this place, and no UDP checksum that would give it away.
fn changed(frame: &[u8], at: usize, number: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[UDP_CHECKSUM..UDP_CHECKSUM + 2].fill(0);
    frame[at..at + 2].copy_from_slice(&number.to_be_bytes());
    frame
}

fn not_relayed(mode: &'static str) {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let server = Server::on(&net.server, mode);
    let mut call = Call::new(&server, &net.client, &net.peer);
    call.both_ways();
    let macs = Macs::of(&net);
    let good = call.frame_to_server(macs, b"twelve bytes").frame();
    let back = call.frame_to_relay(macs, b"twelve bytes").frame();
    let moved = moved(&server, || {
        let mut client = Wire::open(&net.client, "eth0");
        for length in [0, 7, 8 + 4 + 12 + 1, u16::MAX] {
            client.send(&changed(&good, UDP_LENGTH, length));
        }
        for length in [13, 16, u16::MAX] {
            client.send(&changed(&good, CHANNEL_LENGTH, length));
        }
        let mut peer = Wire::open(&net.peer, "eth0");
        for length in [0, 7, 8 + 12 + 1, u16::MAX] {
            peer.send(&changed(&back, UDP_LENGTH, length));
        }
        assert_eq!(receive(&call.peer, QUIET), None, "what the peer received");
        assert_eq!(call.client.receive(QUIET), None, "what the client received");
    });
    assert_eq!(moved.relayed(Path::Xdp), (0, 0), "{moved:?}");
    assert_eq!(moved.relayed(Path::Userspace), (0, 0), "{moved:?}");
    // The same frames without the damage are relayed.
    Wire::open(&net.client, "eth0").send(&good);
    assert!(receive(&call.peer, lab::PATIENCE).is_some());
    Wire::open(&net.peer, "eth0").send(&back);
    assert!(call.client.receive(lab::PATIENCE).is_some());
}

#[test]
fn in_driver_mode() {
    not_relayed("xdp");
}

#[test]
fn in_userspace() {
    not_relayed("userspace");
}
