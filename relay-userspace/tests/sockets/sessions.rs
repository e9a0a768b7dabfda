//! What all shards tell of their allocations, and how they are ended.

use std::time::Duration;

use turnpike::net::{Found, FoundSession, Selection, Server, SessionQuery};
use turnpike::stun::ErrorCode;

use super::client::{Client, PATIENCE, socket};
use super::server::{ANY_PORT, Recorder, USER, config, wait_for};

fn found(server: &Server, user: Option<&str>, most: usize) -> (u64, Vec<FoundSession>) {
    let query = SessionQuery { user: user.map(Into::into), most };
    let answers: Vec<Found> = server.sessions(&query).wait(PATIENCE).expect("an answer of each shard");
    let total = answers.iter().map(|found| found.total).sum();
    assert!(answers.iter().all(|found| found.sessions.len() <= most));
    let mut sessions: Vec<_> = answers.into_iter().flat_map(|found| found.sessions).collect();
    sessions.sort_by_key(|session| std::cmp::Reverse(session.bytes()));
    (total, sessions)
}

/// More than one slice of a walk looks at between two looks at the clock.
const CLIENTS: usize = 50;

#[test]
fn all_shards_tell_of_their_allocations_those_with_the_most_data_first() {
    let server = Server::start(config(3, ANY_PORT)).unwrap();
    let peer = socket();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::new(server.listeners()[0])).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.allocate().unwrap();
        client.bind_channel(0x4000, peer.local_addr().unwrap());
        client.send_on(0x4000, &vec![0; n]);
        peer.recv(&mut [0; 100]).unwrap();
    }
    let (total, sessions) = found(&server, None, 10);
    assert_eq!(total, CLIENTS as u64);
    for (n, session) in sessions.iter().take(10).enumerate() {
        let client = &clients[CLIENTS - 1 - n];
        assert_eq!(session.bytes(), (CLIENTS - 1 - n) as u64);
        assert_eq!(session.session.five_tuple.client.0, client.socket.local_addr().unwrap());
        assert_eq!(session.session.usage.to_peer.relayed.packets, 1);
    }
    assert_eq!(found(&server, Some(USER), 0), (CLIENTS as u64, Vec::new()));
    assert_eq!(found(&server, Some("nobody"), 10).0, 0);
}

#[test]
fn a_session_that_is_ended_is_gone_from_the_fast_path_and_the_others_stay() {
    let recorder = Recorder::default();
    let mut config = config(2, ANY_PORT);
    config.fast_path = recorder.writers();
    let server = Server::start(config).unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::new(server.listeners()[0])).collect();
    for client in &mut clients {
        client.allocate().unwrap();
        client.bind_channel(0x4000, socket().local_addr().unwrap());
    }
    let ended = |which: &Selection| server.end_sessions(which).wait(PATIENCE).unwrap().iter().sum::<u64>();

    let (_, sessions) = found(&server, None, CLIENTS);
    let victim = clients[7].socket.local_addr().unwrap();
    let id = sessions.iter().find(|s| s.session.five_tuple.client.0 == victim).unwrap().id;
    assert_eq!((ended(&Selection::One(id)), ended(&Selection::One(id))), (1, 0));
    assert_eq!(recorder.unbound.lock().unwrap().len(), 1);
    assert_eq!(clients[7].refresh(), Err(ErrorCode::ALLOCATION_MISMATCH));
    assert_eq!(clients[8].refresh(), Ok(()));

    assert_eq!(ended(&Selection::User("nobody".into())), 0);
    assert_eq!(ended(&Selection::User(USER.into())), CLIENTS as u64 - 1);
    assert_eq!(recorder.unbound.lock().unwrap().len(), CLIENTS);
    assert!(clients.iter_mut().all(|client| client.refresh() == Err(ErrorCode::ALLOCATION_MISMATCH)));
    assert_eq!(wait_for(&server, "all ends", |s| s.allocations() == 0).allocations_ended, CLIENTS as u64);
}

#[test]
fn a_shard_that_is_busy_lets_nobody_wait_for_longer_than_he_wants() {
    let server = super::load::slow_to_bind(Duration::from_millis(500));
    let mut client = Client::new(server.listeners()[0]);
    client.allocate().unwrap();
    std::thread::scope(|s| {
        s.spawn(|| client.bind_channel(0x4000, socket().local_addr().unwrap()));
        std::thread::sleep(Duration::from_millis(100));
        let query = SessionQuery { user: None, most: 1 };
        assert_eq!(server.sessions(&query).wait(Duration::from_millis(50)), None);
    });
    assert_eq!(found(&server, None, 1).0, 1);
}
