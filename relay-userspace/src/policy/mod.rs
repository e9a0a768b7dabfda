//! Which peers may be reached, and how much.

mod cidr;
mod complement;
mod embedded;
mod overrides;
mod peers;
mod rate;
mod special;
mod strangers;

#[cfg(test)]
mod tests;

pub use cidr::{Cidr, InvalidCidr};
pub use complement::all_but;
pub use embedded::is_tunnelled;
pub use overrides::{PeerOverride, PeerOverrides};
pub use peers::{HostAddresses, PeerRules};
pub use rate::{Bucket, Rate};
pub use strangers::Strangers;
