//! Padded ChannelData, which RFC 8656 section 12.5 allows over UDP, is relayed without its padding, by XDP as any other: of two
//! packets by different ways the second might come first. Neither it nor rubbish makes a log line a packet.

use relay_common::reason::Reason;
use turnpike_tests::frames::channel_data;
use turnpike_tests::lab::{self, OneNic, PATIENCE, Server, receive};

use crate::common::{CHANNEL, Call, assert_xdp, moved};

#[test]
fn and_loses_its_padding() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let mut server = Server::on(&net.server, "xdp");
    let call = Call::new(&server, &net.client, &net.peer);
    call.client_sends(b"hello");
    let lines = |server: &mut Server| server.process().output().lines().count();
    let before = lines(&mut server);
    let moved = moved(&server, || {
        for _ in 0..100 {
            call.client.send_raw(&channel_data(CHANNEL, b"padded", 2));
            assert_eq!(receive(&call.peer, PATIENCE), Some((b"padded".to_vec(), call.relayed)));
            call.client.send_raw(&channel_data(CHANNEL + 1, b"no such channel", 1));
            call.client.send_raw(&channel_data(CHANNEL, b"far too much", 5));
            call.client.send_raw(b"\xffrubbish");
        }
    });
    assert_xdp(&moved, Reason::ToPeer, 100);
    // More than padding.
    assert_xdp(&moved, Reason::Padding, 100);
    let after = lines(&mut server);
    assert!(after - before < 10, "{} lines for 400 packets:\n{}", after - before, server.process().output());
}
