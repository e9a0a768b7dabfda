//! What a realm offers its clients beside the mechanism that all of them know (RFC 8489 section 9.2).

use super::base64;
use crate::stun::{ErrorCode, Message, PasswordAlgorithm};

/// What a nonce begins with that carries security features (RFC 8489 section 9.2).
const NONCE_COOKIE: &str = "obMatJos2";

/// Bit 0, "password algorithms", of the 24 security feature bits, of which the first is the highest (RFC 8489
/// section 18.1).
const PASSWORD_ALGORITHMS: u32 = 1 << 23;

/// Bit 1, "username anonymity".
const USERNAME_ANONYMITY: u32 = 1 << 22;

/// What is offered with a challenge: the content of PASSWORD-ALGORITHMS, and the features in the nonce that show a client
/// when somebody on the way changed it.
///
/// What only says what every client assumes is left out, because a challenge goes to whoever was named as the sender: a
/// realm with MD5 alone sends no PASSWORD-ALGORITHMS, and without any feature there is no cookie in its nonces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    accepted: Vec<PasswordAlgorithm>,
    /// The value of PASSWORD-ALGORITHMS; empty when it is not sent.
    encoded: Vec<u8>,
    prefix: String,
}

impl Offer {
    /// These algorithms, the preferred one first; and USERHASH if `anonymity`.
    pub fn new(accepted: Vec<PasswordAlgorithm>, anonymity: bool) -> Self {
        let is_announced = accepted != [PasswordAlgorithm::Md5];
        let encoded =
            if is_announced { accepted.iter().flat_map(|a| a.encoded()).collect() } else { Vec::new() };
        let features =
            (u32::from(is_announced) * PASSWORD_ALGORITHMS) | (u32::from(anonymity) * USERNAME_ANONYMITY);
        let prefix = match features {
            0 => String::new(),
            _ => format!("{NONCE_COOKIE}{}", base64::encode(&features.to_be_bytes()[1..])),
        };
        Self { accepted, encoded, prefix }
    }

    /// The value of PASSWORD-ALGORITHMS, if it is sent.
    pub fn password_algorithms(&self) -> Option<&[u8]> {
        (!self.encoded.is_empty()).then_some(&self.encoded)
    }

    /// What the nonces begin with: the cookie and the feature bits, if there are any.
    pub(super) fn nonce_prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether a key may be made with this algorithm.
    pub(super) fn accepts(&self, algorithm: PasswordAlgorithm) -> bool {
        self.accepted.contains(&algorithm)
    }

    /// The algorithm that a request with a nonce of this offer uses (RFC 8489 section 9.2.4): MD5 when it says nothing, as
    /// clients do that know of no other. Otherwise it must repeat the offer, unchanged, and choose from it: a
    /// difference means that somebody took the better algorithms out of it on the way, and the answer is 400.
    pub fn chosen(&self, request: &Message<'_>) -> Result<PasswordAlgorithm, ErrorCode> {
        let chosen = request.password_algorithm().map_err(|_| ErrorCode::BAD_REQUEST)?;
        match (request.password_algorithms(), chosen) {
            (None, None) => Ok(PasswordAlgorithm::Md5),
            (Some(repeated), Some(chosen))
                if Some(repeated) == self.password_algorithms() && self.accepts(chosen) =>
            {
                Ok(chosen)
            }
            _ => Err(ErrorCode::BAD_REQUEST),
        }
    }
}
