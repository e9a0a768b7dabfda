//! Error codes and their reason phrases (RFC 8489 section 14.8, RFC 8656 section 19).

use std::fmt;

/// An error code from 300 to 699.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ErrorCode(u16);

impl ErrorCode {
    /// 300: ask the server of ALTERNATE-SERVER.
    pub const TRY_ALTERNATE: Self = Self(300);
    /// 400: the request is malformed.
    pub const BAD_REQUEST: Self = Self(400);
    /// 401: no or wrong credentials.
    pub const UNAUTHENTICATED: Self = Self(401);
    /// 403: policy forbids it, for instance this peer.
    pub const FORBIDDEN: Self = Self(403);
    /// 405: this server does not let clients move (RFC 8016 section 3.1).
    pub const MOBILITY_FORBIDDEN: Self = Self(405);
    /// 420: see UNKNOWN-ATTRIBUTES.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);
    /// 437: no allocation where one is needed, or one where none may be.
    pub const ALLOCATION_MISMATCH: Self = Self(437);
    /// 438: ask again with this NONCE.
    pub const STALE_NONCE: Self = Self(438);
    /// 440: this server does not relay from that family.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: Self = Self(440);
    /// 441: the allocation belongs to another user.
    pub const WRONG_CREDENTIALS: Self = Self(441);
    /// 442: not this transport between server and peer.
    pub const UNSUPPORTED_TRANSPORT: Self = Self(442);
    /// 443: the peer's family is not the relayed address's.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: Self = Self(443);
    /// 446: there is a connection to this peer already (RFC 6062 section 6.3).
    pub const CONNECTION_ALREADY_EXISTS: Self = Self(446);
    /// 447: the peer could not be connected to (RFC 6062 section 6.3).
    pub const CONNECTION_TIMEOUT_OR_FAILURE: Self = Self(447);
    /// 486: the user holds as much as it may.
    pub const ALLOCATION_QUOTA_REACHED: Self = Self(486);
    /// 500: try again later.
    pub const SERVER_ERROR: Self = Self(500);
    /// 508: no port or memory left.
    pub const INSUFFICIENT_CAPACITY: Self = Self(508);

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The phrase that the RFC recommends; empty for a code that is not listed here.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TRY_ALTERNATE => "Try Alternate",
            Self::BAD_REQUEST => "Bad Request",
            Self::UNAUTHENTICATED => "Unauthenticated",
            Self::FORBIDDEN => "Forbidden",
            Self::MOBILITY_FORBIDDEN => "Mobility Forbidden",
            Self::UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            Self::ALLOCATION_MISMATCH => "Allocation Mismatch",
            Self::STALE_NONCE => "Stale Nonce",
            Self::ADDRESS_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
            Self::WRONG_CREDENTIALS => "Wrong Credentials",
            Self::UNSUPPORTED_TRANSPORT => "Unsupported Transport Protocol",
            Self::PEER_ADDRESS_FAMILY_MISMATCH => "Peer Address Family Mismatch",
            Self::CONNECTION_ALREADY_EXISTS => "Connection Already Exists",
            Self::CONNECTION_TIMEOUT_OR_FAILURE => "Connection Timeout or Failure",
            Self::ALLOCATION_QUOTA_REACHED => "Allocation Quota Reached",
            Self::SERVER_ERROR => "Server Error",
            Self::INSUFFICIENT_CAPACITY => "Insufficient Capacity",
            _ => "",
        }
    }

    /// From the hundreds digit and the rest; `None` outside of what RFC 8489 section 14.8 allows.
    pub(super) const fn from_parts(class: u8, number: u8) -> Option<Self> {
        if class < 3 || class > 6 || number > 99 {
            return None;
        }
        Some(Self(class as u16 * 100 + number as u16))
    }

    /// The hundreds digit and the rest.
    pub(super) const fn parts(self) -> [u8; 2] {
        [(self.0 / 100) as u8, (self.0 % 100) as u8]
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            "" => write!(f, "{}", self.0),
            reason => write!(f, "{} {reason}", self.0),
        }
    }
}
