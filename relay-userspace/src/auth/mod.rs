//! Who may allocate: credentials, nonces, integrity keys.

mod base64;
mod credentials;
mod nonce;
mod printable;
mod realms;

#[cfg(test)]
mod tests;

pub use credentials::{AuthError, Authenticated, Credentials, InvalidCredentials, time_limited};
pub use nonce::{NONCE_LIFETIME, Nonces};
pub use printable::{Printable, printable};
pub use realms::{InvalidRealms, Realm, Realms};
