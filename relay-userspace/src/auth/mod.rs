//! Who may allocate: credentials, nonces, integrity keys.

/// The users and shared secrets of a realm.
#[derive(Debug, Default)]
pub struct Credentials;
