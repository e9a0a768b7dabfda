//! What happens to DTLS clients, counted.

use crate::dtls::Failure;
use crate::net::counters::Counter;

/// Something that happened to a client of DTLS, or to a packet that claims to be of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsEvent {
    /// A hello without a good cookie was answered with one.
    Verify,
    /// A handshake began: the client has shown its address.
    Begun,
    /// A handshake was completed.
    Completed,
    /// A handshake failed: the client did not go on.
    TimedOut,
    /// A handshake failed: the client refused, by an alert, and did not go on. It may not trust the certificate.
    Refused,
    /// A handshake failed: the client knows no suite, curve or signature that can be used with the certificate.
    NothingInCommon,
    /// A handshake, or an association, failed: what the client said was wrong.
    Protocol,
    /// A handshake failed: no certificate has a key that DTLS can use.
    NoCertificate,
    /// A handshake had to leave when too many others had begun after it.
    Displaced,
    /// No handshake: too many connections and associations, in all or of one address.
    TooMany,
    /// No handshake: too many of one network within a second.
    TooOften,
    /// No handshake for now: others had begun in the same turn. The client asks again.
    PutOff,
    /// A client that knows only DTLS 1.0 was told so.
    OldVersion,
    /// An association ended: its client said so.
    Closed,
    /// An association ended: its client began another from the same port.
    Replaced,
    /// An association ended: it had no allocation, or said nothing.
    Idle,
    /// An association ended: its keys have encrypted as much as they may.
    WornOut,
    /// A packet was dropped: no association, and no hello.
    Stray,
    /// A packet was dropped: no well-formed hello, or only a part of one.
    Malformed,
    /// A packet was dropped: an alert in the clear, which anybody can have sent.
    ClearAlert,
    /// A packet was dropped: nothing that its association's client has said came out of it.
    Discarded,
}

impl DtlsEvent {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Each, in the order of its number.
    pub const ALL: [Self; 21] = [
        Self::Verify,
        Self::Begun,
        Self::Completed,
        Self::TimedOut,
        Self::Refused,
        Self::NothingInCommon,
        Self::Protocol,
        Self::NoCertificate,
        Self::Displaced,
        Self::TooMany,
        Self::TooOften,
        Self::PutOff,
        Self::OldVersion,
        Self::Closed,
        Self::Replaced,
        Self::Idle,
        Self::WornOut,
        Self::Stray,
        Self::Malformed,
        Self::ClearAlert,
        Self::Discarded,
    ];

    /// The name in metrics and on the status screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Begun => "begun",
            Self::Completed => "completed",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::NothingInCommon => "nothing_in_common",
            Self::Protocol => "protocol",
            Self::NoCertificate => "no_certificate",
            Self::Displaced => "displaced",
            Self::TooMany => "too_many",
            Self::TooOften => "too_often",
            Self::PutOff => "put_off",
            Self::OldVersion => "old_version",
            Self::Closed => "closed",
            Self::Replaced => "replaced",
            Self::Idle => "idle",
            Self::WornOut => "worn_out",
            Self::Stray => "stray",
            Self::Malformed => "malformed",
            Self::ClearAlert => "clear_alert",
            Self::Discarded => "discarded",
        }
    }
}

impl From<Failure> for DtlsEvent {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut => Self::TimedOut,
            Failure::Refused => Self::Refused,
            Failure::NothingInCommon => Self::NothingInCommon,
            Failure::Protocol => Self::Protocol,
            Failure::WornOut => Self::WornOut,
        }
    }
}

/// How often each happened.
#[derive(Default, Debug)]
pub(in crate::net) struct DtlsCounters([Counter; DtlsEvent::COUNT]);

impl DtlsCounters {
    pub(in crate::net) fn add(&self, event: DtlsEvent) {
        self.0[event as usize].add(1);
    }

    pub(in crate::net) fn add_to(&self, sums: &mut [u64; DtlsEvent::COUNT]) {
        for (sum, counter) in sums.iter_mut().zip(&self.0) {
            *sum += counter.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_place_and_a_name_of_its_own() {
        for (index, event) in DtlsEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
        }
        let names: std::collections::HashSet<_> = DtlsEvent::ALL.map(DtlsEvent::name).into();
        assert_eq!(names.len(), DtlsEvent::COUNT);
    }
}
