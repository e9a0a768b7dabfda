//! Which peers may be reached, and how much.

/// Allow and deny rules for peer addresses.
#[derive(Debug, Default)]
pub struct PeerRules;
