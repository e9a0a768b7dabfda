//! STUN messages and nonces.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::Criterion;
use turnpike::auth::{Nonces, Offer};
use turnpike::stun::{
    Builder, Class, Integrity, Key, Message, MessageType, Method, PasswordAlgorithm, TransactionId,
};
use turnpike::time::Timestamp;

const ALGORITHMS: [(&str, Integrity, PasswordAlgorithm); 2] = [
    ("sha1", Integrity::Sha1, PasswordAlgorithm::Md5),
    ("sha256", Integrity::Sha256, PasswordAlgorithm::Sha256),
];

const CLIENT: &str = "198.51.100.7:5000";

/// Measures messages: an Allocate request with credentials, as most that are signed, and its answer.
pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    let mut binding = Vec::new();
    Builder::new(&mut binding, MessageType::new(Method::BINDING, Class::Request), TransactionId([7; 12]));
    group.bench_function("parse/binding", |b| b.iter(|| Message::parse(black_box(&binding)).is_ok()));
    for (name, integrity, algorithm) in ALGORITHMS {
        let key = Key::with_algorithm(algorithm, "alice", "example.org", "wonderland");
        let allocate = request(&key, integrity);
        group.bench_function(format!("parse/allocate-{name}"), |b| {
            b.iter(|| Message::parse(black_box(&allocate)).is_ok());
        });
        let parsed = Message::parse(&allocate).expect("a message");
        assert!(parsed.is_authentic(&key));
        group.bench_function(format!("is_authentic/{name}"), |b| {
            b.iter(|| black_box(&parsed).is_authentic(black_box(&key)));
        });
        let mut out = Vec::with_capacity(512);
        group.bench_function(format!("build/answer-{name}"), |b| {
            b.iter(|| {
                out.clear();
                answer(&mut out, &parsed).sign(black_box(&key), integrity);
            });
        });
    }
    let key = Key::long_term("alice", "example.org", "wonderland");
    let allocate = request(&key, Integrity::Sha1);
    let parsed = Message::parse(&allocate).expect("a message");
    group.bench_function("read/allocate", |b| b.iter(|| read(black_box(&parsed))));
    let mut out = Vec::with_capacity(512);
    group.bench_function("build/answer-unsigned", |b| {
        b.iter(|| {
            out.clear();
            answer(&mut out, black_box(&parsed)).finish()
        });
    });
    group.bench_function("key/md5", |b| {
        b.iter(|| Key::long_term(black_box("alice"), "example.org", "wonderland"));
    });
    group.finish();
}

/// Measures nonces.
pub(crate) fn bench_nonces(c: &mut Criterion) {
    let mut group = c.benchmark_group("nonce");
    let (nonces, now) = (Nonces::new([7; 32]), Timestamp(1_000_000_000_000));
    let offer = Offer::new(vec![PasswordAlgorithm::Md5], false);
    let client: SocketAddr = CLIENT.parse().expect("an address");
    let nonce = nonces.issue(now, &client, &offer);
    assert!(nonces.is_valid(nonce.as_bytes(), now, &client, &offer));
    group.bench_function("issue", |b| b.iter(|| nonces.issue(black_box(now), black_box(&client), &offer)));
    group.bench_function("is_valid", |b| {
        b.iter(|| nonces.is_valid(black_box(nonce.as_bytes()), now, black_box(&client), &offer));
    });
    group.finish();
}

fn request(key: &Key, integrity: Integrity) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kind = MessageType::new(Method::ALLOCATE, Class::Request);
    let mut builder = Builder::new(&mut bytes, kind, TransactionId([7; 12]));
    builder.requested_transport(17).lifetime(Duration::from_secs(600)).username("alice");
    builder.realm("example.org").nonce(&[b'n'; 32]).sign(key, integrity);
    bytes
}

/// All that the core looks at in such a request.
fn read(message: &Message<'_>) -> bool {
    message.unknown_required().next().is_none()
        && message.requested_transport().is_ok()
        && message.lifetime().is_ok()
        && message.username().is_ok()
        && message.realm().is_ok()
        && message.nonce().is_ok()
}

fn answer<'b>(out: &'b mut Vec<u8>, request: &Message<'_>) -> Builder<'b> {
    let client: SocketAddr = CLIENT.parse().expect("an address");
    let mut builder = Builder::success(out, request);
    builder.xor_relayed_address(client).xor_mapped_address(client).lifetime(Duration::from_secs(600));
    builder
}
