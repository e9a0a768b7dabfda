//! Both ends in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::hello::{self, Hello, NoHello};
use super::*;
use crate::time::Timestamp;

const PATIENCE: Duration = Duration::from_secs(10);

fn identity() -> Identity {
    let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).unwrap();
    Identity { certificate: own.cert.der().to_vec(), key: own.signing_key.serialize_der() }
}

fn first_hello(call: &mut Call) -> Vec<u8> {
    let ToDo::Send(hello) = call.poll() else { panic!("a client speaks first") };
    while !matches!(call.poll(), ToDo::Wait(_)) {}
    hello
}

fn addresses() -> [SocketAddr; 2] {
    ["192.0.2.1:1000", "192.0.2.2:5349"].map(|address| address.parse().unwrap())
}

/// A client and a server that have got past the cookie; whatever goes by, `change` may change.
fn accepted(call: &mut Call, identity: &Identity) -> Association {
    let keys = CookieKeys::new([3; 32]);
    let [client, at] = addresses();
    let hello = first_hello(call);
    let parsed = Hello::parse(&hello).unwrap();
    let cookie = keys.give(Timestamp(0), client, at, &parsed);
    call.receive(&parsed.verify_request(cookie)).unwrap();
    let again = first_hello(call);
    let parsed = Hello::parse(&again).unwrap();
    let cookie = keys.check(Timestamp(1), client, at, &parsed).expect("our cookie comes back");
    let rules = Rules::new(PATIENCE).unwrap();
    Association::accept(&rules, identity, (&parsed, cookie, &again), Instant::now()).unwrap()
}

/// What the server sends until it has nothing more to say.
fn spoken(association: &mut Association) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut sent, mut heard, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        match association.poll(&mut buffer) {
            Step::Send(length) => sent.push(buffer[..length].to_vec()),
            Step::Heard(length) => heard.push(buffer[..length].to_vec()),
            Step::Wait(_) => return (sent, heard),
            Step::Connected | Step::Closed => {}
        }
    }
}

fn called(call: &mut Call) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    loop {
        match call.poll() {
            ToDo::Send(datagram) => sent.push(datagram),
            ToDo::Wait(_) => return sent,
            _ => {}
        }
    }
}

#[test]
fn a_hello_is_whole_or_nothing() {
    let hello = first_hello(&mut Call::new(PATIENCE).unwrap());
    let parsed = Hello::parse(&hello).unwrap();
    assert!(parsed.offers_chacha20() && parsed.cookie.is_empty());
    for length in 0..hello.len() {
        assert_eq!(Hello::parse(&hello[..length]), Err(NoHello::Malformed), "{length}");
    }
    assert_eq!(Hello::parse(&[&hello[..], b"more"].concat()), Err(NoHello::Malformed));
    // The first part of a hello that comes in two: RFC 6347 section 4.2.3.
    let mut part = hello.clone();
    part[16] += 1;
    assert_eq!(Hello::parse(&part), Err(NoHello::Malformed));
    for at in 0..hello.len() {
        for bit in 0..8 {
            let mut changed = hello.clone();
            changed[at] ^= 1 << bit;
            // Whatever it is, it is read without a fault.
            if let Ok(hello) = Hello::parse(&changed) {
                let _ = (hello.server_name(), hello.offers_chacha20(), hello.without_cookie());
            }
        }
    }
}

#[test]
fn a_cookie_is_for_one_client_one_hello_and_a_minute() {
    let mut call = Call::new(PATIENCE).unwrap();
    let first = first_hello(&mut call);
    let keys = CookieKeys::new([3; 32]);
    let [client, at] = addresses();
    let parsed = Hello::parse(&first).unwrap();
    let request = parsed.verify_request(keys.give(Timestamp(0), client, at, &parsed));
    assert!(request.len() < first.len(), "nobody is sent more than came in its name");
    call.receive(&request).unwrap();
    let again = first_hello(&mut call);
    let parsed = Hello::parse(&again).unwrap();
    let good = |keys: &CookieKeys, seconds: u64, client, at, hello: &Hello<'_>| {
        keys.check(Timestamp(seconds * 1_000_000_000), client, at, hello).is_some()
    };
    assert!(good(&keys, 0, client, at, &parsed) && good(&keys, 31, client, at, &parsed));
    assert!(!good(&keys, 61, client, at, &parsed), "too late");
    assert!(!good(&CookieKeys::new([4; 32]), 0, client, at, &parsed), "another server's");
    let other: SocketAddr = "192.0.2.1:1001".parse().unwrap();
    assert!(!good(&keys, 0, other, at, &parsed) && !good(&keys, 0, client, other, &parsed));
    // Anything that a client must say again, and the cookie itself.
    for at_byte in 25..parsed.said_again().concat().len() + 25 + 33 {
        let mut changed = again.clone();
        changed[at_byte] ^= 1;
        if let Ok(changed) = Hello::parse(&changed) {
            assert!(!good(&keys, 0, client, at, &changed), "{at_byte}");
        }
    }
}

#[test]
fn the_name_in_sni_is_read() {
    let name = b"Turn.Example.ORG";
    let list = [&[0, 0, name.len() as u8][..], name].concat();
    let value = [&(list.len() as u16).to_be_bytes()[..], &list].concat();
    let extension = [&[0, 0][..], &(value.len() as u16).to_be_bytes(), &value].concat();
    let other = [0, 23, 0, 0];
    let extensions = [&other[..], &extension].concat();
    let body = [
        &[0xfe, 0xfd][..],
        &[7; 32],
        &[0, 0, 0, 2, 0xc0, 0x2b, 1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let length = &(body.len() as u32).to_be_bytes()[1..];
    let message = [&[1][..], length, &[0, 0, 0, 0, 0], length, &body].concat();
    let record =
        [&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 5][..], &(message.len() as u16).to_be_bytes(), &message];
    let datagram = record.concat();
    let hello = Hello::parse(&datagram).unwrap();
    assert_eq!(hello.server_name().as_deref(), Some("turn.example.org"));
    assert!(!hello.offers_chacha20());
    assert_eq!(hello.sequence(), 5);
}

#[test]
fn few_records_of_known_kinds_are_ordinary() {
    let record = |kind: u8, length: u8| {
        let header = [kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, length];
        [&header[..], &vec![0; length.into()]].concat()
    };
    assert!(is_ordinary(&[record(22, 100), record(20, 1), record(22, 40)].concat()));
    assert!(!is_ordinary(&record(24, 5)) && !is_ordinary(&record(20, 1).repeat(5)));
    assert!(!is_ordinary(&[]) && !is_ordinary(&record(22, 0)[..12]));
    // Of what claims to be longer than it is there is one.
    assert!(is_ordinary(&record(23, 200)[..50]));
}

#[test]
fn an_alert_in_the_clear_is_found_wherever_it_is() {
    let record = |kind: u8, epoch: u8, length: u8| {
        let header = [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, length];
        [&header[..], &vec![0; length.into()]].concat()
    };
    let (alert, data) = (record(21, 0, 2), record(23, 1, 40));
    assert!(has_clear_alert(&alert) && has_clear_alert(&[data.clone(), alert.clone()].concat()));
    assert!(!has_clear_alert(&record(21, 1, 26)) && !has_clear_alert(&data));
    // Not where it is in something else.
    assert!(!has_clear_alert(&[&record(22, 0, 15)[..13], &alert[..]].concat()));
}

/// The first record of the server has the number of the hello (RFC 6347 section 4.2.1), so that no number comes twice.
#[test]
fn messages_pass_and_numbers_go_on_from_those_of_the_hello() {
    let identity = identity();
    let mut call = Call::new(PATIENCE).unwrap();
    let mut association = accepted(&mut call, &identity);
    let (flight, _) = spoken(&mut association);
    let numbers: Vec<_> =
        flight.iter().flat_map(|sent| hello::clear_numbers(sent).map(|at| sent[at][5])).collect();
    assert_eq!(numbers[0], 1);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    flight.iter().for_each(|datagram| call.receive(datagram).unwrap());
    for datagram in called(&mut call) {
        association.receive(&datagram, Instant::now()).unwrap();
    }
    let (flight, _) = spoken(&mut association);
    flight.iter().for_each(|datagram| call.receive(datagram).unwrap());
    called(&mut call);
    call.say(b"hello").unwrap();
    let said = called(&mut call);
    association.receive(&said[0], Instant::now()).unwrap();
    assert_eq!(spoken(&mut association).1, [b"hello"]);
    // Replayed, it says nothing; nor does it changed.
    association.receive(&said[0], Instant::now()).unwrap();
    assert!(spoken(&mut association).1.is_empty());
}

/// Numbers that nobody would guess, the same in each run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    /// Changes a datagram in one of the ways that a parser may stumble over: in lengths, kinds, epochs, or anywhere.
    fn spoil(&mut self, datagram: &mut Vec<u8>) {
        let length = datagram.len();
        match self.below(12) {
            0 => datagram.truncate(self.below(length)),
            1 => datagram[self.below(length)] ^= 1 << self.below(8),
            2 => datagram[self.below(length.min(25))] = self.below(256) as u8,
            3 => datagram.extend_from_within(self.below(length)..),
            4 => drop(datagram.drain(..self.below(length.min(26)))),
            5 => {
                let at = self.below(length);
                datagram.splice(at..at, 0..self.below(40) as u8);
            }
            // The record, and the message in it, have the length that is left.
            6 if length > 25 => {
                datagram[11..13].copy_from_slice(&(length as u16 - 13).to_be_bytes());
                let message = &(length as u32 - 25).to_be_bytes()[1..];
                datagram[14..17].copy_from_slice(message);
                datagram[22..25].copy_from_slice(message);
            }
            7 => datagram[0] = [20, 21, 22, 23][self.below(4)],
            8 if length > 13 => datagram[13] = self.below(30) as u8,
            9 if length > 4 => datagram[4] = self.below(4) as u8,
            _ => {}
        }
    }
}

/// Nothing that comes may end the process, in whatever order and however often. SOAK=600 does it for so many seconds.
#[test]
fn whatever_becomes_of_datagrams_the_association_lives_or_ends_in_order() {
    let identity = identity();
    let soak = std::env::var("SOAK").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let seed = soak.map_or(0, |_| Timestamp::now().0);
    println!("seed {seed}");
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ seed);
    let start = Instant::now();
    let mut talked = 0;
    for round in 0.. {
        if soak.map_or(round == 120, |soak| start.elapsed() >= soak) {
            println!("{round} associations, {talked} messages of clients");
            break;
        }
        talked += hostile_round(&identity, &mut draw);
    }
    assert!(talked > 100, "most of it went on after the handshake");
}

/// A client whose datagrams come late, twice and spoilt. Returns how many messages it could send.
fn hostile_round(identity: &Identity, draw: &mut Draw) -> usize {
    let mut call = Call::new(PATIENCE).unwrap();
    let mut association = accepted(&mut call, identity);
    let (mut past, mut now, mut talked) = (Vec::new(), Instant::now(), 0);
    for _ in 0..8 {
        for datagram in spoken(&mut association).0 {
            // The client's fate is its own. What the server said may come back to it.
            let _ = call.receive(&datagram);
            if draw.below(4) == 0 {
                past.push(datagram);
            }
        }
        talked += usize::from(call.say(b"data").is_ok());
        let mut coming = called(&mut call);
        past.extend(coming.iter().cloned());
        for _ in 0..draw.below(6) {
            if let Some(again) = past.get(draw.below(past.len())) {
                coming.insert(draw.below(coming.len() + 1), again.clone());
            }
        }
        for mut datagram in coming {
            for _ in 0..draw.below(3) {
                if !datagram.is_empty() {
                    draw.spoil(&mut datagram);
                }
            }
            if draw.below(5) == 0 {
                now += Duration::from_millis(draw.below(3000) as u64);
            }
            let lives = association.receive(&datagram, now).and_then(|()| association.pass_time(now));
            let _ = association.seal(&[7; 300][..draw.below(300)]);
            if draw.below(30) == 0 {
                association.close();
            }
            if lives.is_err() {
                spoken(&mut association);
                return talked;
            }
        }
    }
    talked
}
