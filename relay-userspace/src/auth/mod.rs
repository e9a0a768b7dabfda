//! Who may allocate: credentials, nonces, integrity keys.

pub(crate) mod base64;
mod credentials;
mod known_keys;
mod nonce;
mod offer;
mod password;
mod printable;
mod realm;
mod realms;
mod ticket;
mod time_limited;

#[cfg(test)]
mod tests;

pub use credentials::{AuthError, Authenticated, Credentials, InvalidCredentials};
pub use known_keys::KnownKeys;
pub use nonce::{NONCE_LIFETIME, Nonces};
pub use offer::Offer;
pub use password::{BadKey, Password};
pub use printable::{Printable, printable, printable_whole};
pub use realm::{Claim, InvalidRealm, Realm, User};
pub use realms::{InvalidRealms, Realms};
pub use ticket::{Ticket, Tickets};
pub use time_limited::{SecretHash, UnknownHash, time_limited};
