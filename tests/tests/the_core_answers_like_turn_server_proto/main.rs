//! The protocol core beside turn-server-proto, a TURN server that others wrote: the same datagrams, sockets and clock,
//! and the same answers and data, but for the differences that [`explained`] lists with their reasons. None of them is
//! a fault of the core that is known.
//!
//! Compared are: whether there is an answer, its class and code, which attributes it has and how often, LIFETIME,
//! XOR-MAPPED-ADDRESS, XOR-RELAYED-ADDRESS, UNKNOWN-ATTRIBUTES, ADDRESS-ERROR-CODE and whether its integrity is right;
//! which datagrams reach which peer or client with which bytes; how many sockets are opened, and after every step which
//! are open. The sockets that the other server asks for are those that the core has just opened, so that relayed
//! addresses are the same on both sides. Not compared are what each server chooses: nonces and how long they live,
//! reason phrases, the order of attributes, the transaction ids of Data indications. All times are a millisecond before
//! or after the end of a lifetime, but in the one script about that instant.

#[path = "../../../relay-userspace/tests/common/mod.rs"]
mod common;

mod both;
mod effect;
mod explained;
mod facts;
mod oracle;
mod party;
mod random;
mod scripted;

use std::collections::BTreeSet;

use explained::EXPLAINED;

#[test]
fn scripted_sequences_get_the_same_answers_and_every_explanation_is_needed() {
    let mut used = BTreeSet::new();
    for (name, script) in scripted::SCRIPTS {
        println!("script: {name}");
        let mut both = script();
        both.wait(4_000_000);
        used.extend(both.used);
    }
    let listed = include_str!("../../../docs/conformance.md");
    for row in EXPLAINED {
        let line = format!("- **{}**: {}\n", row.name, row.why);
        assert!(listed.contains(&line), "docs/conformance.md should have {line}");
        assert!(used.contains(row.name), "{:?} ({}) explains nothing any more", row.name, row.why);
    }
}

#[test]
fn random_sequences_get_the_same_answers() {
    let (mut compared, mut relayed) = (0, 0);
    for seed in 0..200 {
        let run = random::run(seed, 300);
        compared += run.compared;
        relayed += run.relayed;
    }
    println!("{compared} datagrams compared, of which {relayed} were relayed");
    assert!(relayed > 5_000, "too little was relayed: {relayed} of {compared}");
}
