//! What an operator can do about a refusal.

use std::net::SocketAddr;

use turnpike::stun::{ErrorCode, Method};

/// Why a request was refused, and what to do about it.
pub(super) fn explain(server: SocketAddr, method: Method, code: ErrorCode, reason: &str) -> String {
    let advice = match code {
        ErrorCode::UNAUTHENTICATED => "is the user known there, and the password right?",
        ErrorCode::WRONG_CREDENTIALS => {
            "the client's address has an allocation of another user: wait until it has expired"
        }
        ErrorCode::FORBIDDEN => {
            "the peer's address is denied: allow the lab's networks (turnpike --allow-peer, coturn --allowed-peer-ip)"
        }
        ErrorCode::ALLOCATION_MISMATCH => {
            "the client's port has an allocation of an earlier run: wait until it has expired"
        }
        ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED => {
            "the server relays from no address of this family: give it one"
        }
        ErrorCode::ALLOCATION_QUOTA_REACHED => "raise or remove the user's quota",
        ErrorCode::INSUFFICIENT_CAPACITY => {
            "the server has no port left, or not for these peers: give it more ports or addresses to relay from"
        }
        ErrorCode::TRY_ALTERNATE => {
            "the server sends clients elsewhere: measure that server, or switch it off"
        }
        ErrorCode::BAD_REQUEST if method == Method::CHANNEL_BIND || method == Method::CREATE_PERMISSION => {
            "coturn with --multiplex-peer refuses its own clients as peers"
        }
        _ => "the server's log may say more",
    };
    let reason = if reason.is_empty() { code.reason() } else { reason };
    format!("{server} refused {method} with {} {reason}: {advice}", code.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let server = "192.0.2.1:3478".parse().expect("an address");
        let text = explain(server, Method::CHANNEL_BIND, ErrorCode::FORBIDDEN, "");
        assert!(text.starts_with("192.0.2.1:3478 refused ChannelBind with 403 "), "{text}");
        assert!(text.contains("--allow-peer"), "{text}");
    }
}
