//! STUN messages (RFC 8489): parsing, building, integrity.
