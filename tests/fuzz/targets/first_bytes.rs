//! Any bytes as the beginning of a connection: a PROXY header, and what the client speaks. However few come at a time, it is
//! told the same, as soon as it can be, and with a bound on what is waited for.
#![no_main]

#[path = "../../../relay-userspace/src/front/demux.rs"]
mod demux;
#[path = "../../../relay-userspace/src/front/head.rs"]
#[allow(dead_code, reason = "of a whole module, which has more users than this")]
mod head;
#[path = "../../../relay-userspace/src/front/proxy_header.rs"]
mod proxy_header;

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use demux::Spoken;
use head::Head;
use libfuzzer_sys::fuzz_target;
use proxy_header::Header;
use tokio::io::AsyncReadExt;
// As the module names it.
#[allow(unused_imports, reason = "by `demux`, as `crate::stun`")]
use turnpike::stun;

/// The longest of version 1; and of version 2, with 4,096 bytes behind its fixed part.
const LONGEST: [usize; 2] = [107, 16 + 4096];

fuzz_target!(|bytes: &[u8]| {
    header(bytes);
    spoken(bytes);
});

fn header(bytes: &[u8]) {
    let known = (0..=bytes.len()).find(|&end| proxy_header::read(&bytes[..end]) != Header::More);
    let Some(end) = known else {
        let version_2 = bytes.first() == Some(&b'\r');
        assert!(bytes.len() < LONGEST[usize::from(version_2)], "no more is waited for");
        return;
    };
    let told = proxy_header::read(&bytes[..end]);
    for more in end..=bytes.len() {
        assert_eq!(proxy_header::read(&bytes[..more]), told);
    }
    let Header::Whole { len, client } = told else { return };
    assert_eq!(len, end, "known with its last byte, and none is taken of what follows");
    let Some(client) = client else { return };
    assert_eq!(client.ip(), client.ip().to_canonical());
    if bytes[0] == b'P' {
        // What is written out again is the same client.
        let line = match client {
            SocketAddr::V4(at) => format!("PROXY TCP4 {} 192.0.2.1 {} 1\r\n", at.ip(), at.port()),
            SocketAddr::V6(at) => format!("PROXY TCP6 {} 2001:db8::1 {} 1\r\n", at.ip(), at.port()),
        };
        assert_eq!(
            proxy_header::read(line.as_bytes()),
            Header::Whole { len: line.len(), client: Some(client) }
        );
    }
}

fn spoken(bytes: &[u8]) {
    let known = (0..=bytes.len()).find_map(|end| Some((demux::tell(&bytes[..end])?, end)));
    assert_eq!(listened(bytes), known.map_or(Spoken::Gone, |(told, _)| told));
    let Some((told, end)) = known else { return assert!(bytes.len() < 18) };
    assert!(end <= 18);
    for more in end..=bytes.len().min(64) {
        assert_eq!(demux::tell(&bytes[..more]), Some(told));
    }
    match told {
        Spoken::Turn => assert!(bytes[0] < 0x40 && bytes[4..8] == stun::MAGIC_COOKIE),
        Spoken::Http => {
            let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
            assert!(!method.is_empty() && method != b"PROXY");
            assert!(method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-'));
        }
        Spoken::Garbage => {}
        Spoken::Gone => panic!("only the end of a stream tells that"),
    }
}

/// What is read from a stream; and all of it can be read afterwards.
fn listened(bytes: &[u8]) -> Spoken {
    let mut head = Head::new(bytes);
    let mut rest = Vec::new();
    let reading = async {
        let spoken = demux::listen(&mut head).await.expect("bytes");
        head.read_to_end(&mut rest).await.expect("bytes");
        spoken
    };
    // What is there is never waited for.
    let Poll::Ready(spoken) = pin!(reading).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits")
    };
    assert_eq!(rest, bytes);
    spoken
}
