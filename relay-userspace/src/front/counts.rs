//! What became of connections, and how many there are.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What became of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It speaks TURN, over TCP.
    TurnTcp,
    /// It speaks TURN, over TLS.
    TurnTls,
    /// It speaks TURN in a WebSocket.
    WebSocket,
    /// It speaks TURN in a WebSocket over TLS.
    WebSocketTls,
    /// It speaks HTTP.
    Http,
    /// It was passed through to another server by its name in SNI.
    PassedThrough,
    /// The server that it should have been passed through to did not take it.
    PassThroughFailed,
    /// It speaks nothing of ours.
    Garbage,
    /// It was closed by the client before that was known.
    Gone,
    /// It took too long to say what it is.
    TooSlow,
    /// It had to leave when too many that came later had not said yet what they are either.
    Displaced,
    /// There were too many connections, or too many that have not said yet what they are.
    TooMany,
    /// There were too many of its address.
    TooManyOfAddress,
    /// The TLS handshake failed.
    TlsFailed,
    /// It came from a proxy and did not begin with a PROXY header.
    NoProxyHeader,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Each, in the order of its number.
    pub const ALL: [Self; 15] = [
        Self::TurnTcp,
        Self::TurnTls,
        Self::WebSocket,
        Self::WebSocketTls,
        Self::Http,
        Self::PassedThrough,
        Self::PassThroughFailed,
        Self::Garbage,
        Self::Gone,
        Self::TooSlow,
        Self::Displaced,
        Self::TooMany,
        Self::TooManyOfAddress,
        Self::TlsFailed,
        Self::NoProxyHeader,
    ];

    /// The name in metrics and on the status screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TurnTcp => "turn_tcp",
            Self::TurnTls => "turn_tls",
            Self::WebSocket => "websocket",
            Self::WebSocketTls => "websocket_tls",
            Self::Http => "http",
            Self::PassedThrough => "passed_through",
            Self::PassThroughFailed => "pass_through_failed",
            Self::Garbage => "garbage",
            Self::Gone => "gone",
            Self::TooSlow => "too_slow",
            Self::Displaced => "displaced",
            Self::TooMany => "too_many",
            Self::TooManyOfAddress => "too_many_of_address",
            Self::TlsFailed => "tls_failed",
            Self::NoProxyHeader => "no_proxy_header",
        }
    }
}

/// What a connection is at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// That is not known yet.
    Undecided,
    Http,
    /// With a shard.
    Turn,
    PassedThrough,
}

/// Connections that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Connections {
    /// Not known yet what for.
    pub undecided: u64,
    /// For HTTP.
    pub http: u64,
    /// For TURN, WebSockets included.
    pub turn: u64,
    /// Passed through to another server.
    pub passed_through: u64,
}

/// All counters of the desk.
#[derive(Debug, Default)]
pub(super) struct Counts {
    outcomes: [AtomicU64; Outcome::COUNT],
    there: [AtomicU64; 4],
}

impl Counts {
    pub(super) fn add(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// One more of a kind, or one less.
    pub(super) fn come(&self, kind: Kind) {
        self.there[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn go(&self, kind: Kind) {
        self.there[kind as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Those that occurred.
    pub(super) fn outcomes(&self) -> Vec<(String, u64)> {
        let counted = Outcome::ALL.into_iter().zip(&self.outcomes);
        let counted =
            counted.map(|(outcome, count)| (outcome.name().to_owned(), count.load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn connections(&self) -> Connections {
        let there = |kind: Kind| self.there[kind as usize].load(Ordering::Relaxed);
        Connections {
            undecided: there(Kind::Undecided),
            http: there(Kind::Http),
            turn: there(Kind::Turn),
            passed_through: there(Kind::PassedThrough),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_place_and_a_name_of_its_own() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        let names: std::collections::HashSet<_> = Outcome::ALL.map(Outcome::name).into();
        assert_eq!(names.len(), Outcome::COUNT);
    }
}
