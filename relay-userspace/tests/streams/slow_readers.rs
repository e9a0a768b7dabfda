//! A client that reads slowly loses its oldest data, and nobody else loses anything.

use std::time::{Duration, Instant};

use relay_common::reason::Reason;
use turnpike::net::SessionQuery;
use turnpike::stun::Message;

use super::client::{Client, KINDS, channel_data};
use super::relaying::peer;
use super::server::{start, wait_for};

const CHANNEL: u16 = 0x4001;

#[test]
fn a_slow_reader_loses_its_oldest_data_and_a_fast_one_beside_it_nothing() {
    for kind in KINDS {
        let server = start(1);
        let (slow_peer, fast_peer) = (peer(), peer());
        let mut slow = Client::new(&server, kind);
        let mut fast = Client::new(&server, kind);
        let to_slow = slow.allocate();
        slow.bind_channel(CHANNEL, slow_peer.local_addr().unwrap());
        let to_fast = fast.allocate();
        fast.bind_channel(CHANNEL, fast_peer.local_addr().unwrap());

        let mut sent = 0_u32;
        let mut worst = Duration::ZERO;
        // What the buffers of the kernel take on the loopback is a matter of its own.
        while server.stats().reason(Reason::SlowReader).packets < 2000 {
            assert!(sent < 100_000, "{kind:?}: nothing is dropped");
            for _ in 0..20 {
                slow_peer.send_to(&sent.to_be_bytes().repeat(300), to_slow).unwrap();
                sent += 1;
            }
            let start = Instant::now();
            fast_peer.send_to(&sent.to_be_bytes(), to_fast).unwrap();
            assert_eq!(fast.receive(), Some(channel_data(CHANNEL, &sent.to_be_bytes())), "{kind:?}");
            worst = worst.max(start.elapsed());
        }
        assert!(worst < Duration::from_secs(2), "{kind:?}: the fast one waited {worst:?}");

        // It asks something, and then it reads.
        let request = slow.binding_request();
        slow.send(&request);
        let mut numbers = Vec::new();
        let mut answered = false;
        // The answer is last where all that waited had left before the server saw what was asked.
        while !answered || numbers.last() != Some(&(sent - 1)) {
            let message = slow.receive().expect("it is not closed, and answers are not dropped");
            if let Ok(answer) = Message::parse(&message) {
                assert_eq!(answer.transaction_id().0, request[8..20]);
                answered = true;
                continue;
            }
            assert_eq!(message.len(), 4 + 1200, "{kind:?}: whole messages only");
            numbers.push(u32::from_be_bytes(message[4..8].try_into().unwrap()));
            assert_eq!(message, channel_data(CHANNEL, &numbers.last().unwrap().to_be_bytes().repeat(300)));
        }
        assert!(numbers.is_sorted(), "{kind:?}");
        let arrived = numbers.len() as u64;
        let stats = wait_for(&server, "all counted", |s| {
            s.reason(Reason::SlowReader).packets + arrived == u64::from(sent)
        });
        assert_eq!(stats.reason(Reason::SendFailed).packets, 0);
        // Its session counts as relayed what was sent.
        let found = server
            .sessions(&SessionQuery { user: None, most: 10 })
            .wait(Duration::from_secs(10))
            .expect("an answer");
        let usage = found[0].sessions.iter().map(|s| s.session.usage.to_client);
        let slow = usage.max_by_key(|usage| usage.dropped).expect("a session");
        assert_eq!((slow.relayed.packets, slow.relayed.bytes), (arrived, arrived * 1200), "{kind:?}");
        assert_eq!(slow.dropped, u64::from(sent) - arrived, "{kind:?}");
        let kept = numbers.iter().rev().zip((0..sent).rev()).take_while(|(a, b)| **a == *b).count();
        assert!(kept >= 150, "{kind:?}: the newest {kept} came: as much as the queue holds");
    }
}

#[test]
fn what_a_slow_reader_loses_of_indications_is_taken_out_of_its_session_too() {
    let server = start(1);
    let peer = peer();
    let mut slow = Client::new(&server, KINDS[0]);
    let relayed = slow.allocate();
    slow.permit(peer.local_addr().unwrap());
    let mut sent = 0_u64;
    while server.stats().reason(Reason::SlowReader).packets < 500 {
        assert!(sent < 100_000, "nothing is dropped");
        for _ in 0..20 {
            peer.send_to(&[7; 1200], relayed).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let found = server.sessions(&SessionQuery { user: None, most: 1 }).wait(Duration::from_secs(10));
    let way = found.expect("an answer")[0].sessions[0].session.usage.to_client;
    assert!(way.dropped >= 500 && way.dropped + way.relayed.packets <= sent, "{way:?}");
    assert_eq!(way.relayed.bytes, way.relayed.packets * 1200);
}
