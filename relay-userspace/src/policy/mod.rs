//! Which peers may be reached, and how much.

mod cidr;
mod embedded;
mod peers;
mod special;

#[cfg(test)]
mod tests;

pub use cidr::{Cidr, InvalidCidr};
pub use embedded::is_tunnelled;
pub use peers::{HostAddresses, PeerRules};
