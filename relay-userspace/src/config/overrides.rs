//! `[[peers.override]]`: peer rules for some users or realms.

use super::values::Realm;
use super::{ConfigError, resolve};
use crate::policy::{Cidr, PeerOverride};

/// One override, as the file has it.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
#[serde(try_from = "Written")]
pub struct Override {
    /// For these users.
    pub users: Vec<String>,
    /// In these realms.
    pub realms: Vec<Realm>,
    /// In spite of the rules for everybody.
    pub allow: Vec<Cidr>,
    /// In spite of the rules for everybody.
    pub deny: Vec<Cidr>,
}

/// The same before it is known to make sense.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[derive(Default)]
struct Written {
    users: Vec<String>,
    realms: Vec<Realm>,
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
}

impl TryFrom<Written> for Override {
    type Error = &'static str;

    fn try_from(Written { users, realms, allow, deny }: Written) -> Result<Self, &'static str> {
        if users.is_empty() && realms.is_empty() {
            return Err(
                "an override without users and realms: rules for everybody are written in [peers] itself",
            );
        }
        if allow.is_empty() && deny.is_empty() {
            return Err("an override without allow and deny: write which peers it is about");
        }
        Ok(Self { users, realms, allow, deny })
    }
}

impl Override {
    /// As the protocol core takes it.
    pub fn rules(&self) -> PeerOverride {
        PeerOverride {
            users: self.users.iter().cloned().collect(),
            realms: self.realms.iter().map(|realm| realm.as_str().to_owned()).collect(),
            allow: self.allow.clone(),
            deny: self.deny.clone(),
        }
    }

    /// Whom it is for.
    pub(crate) fn scope(&self) -> String {
        let realms: Vec<_> = self.realms.iter().map(Realm::as_str).collect();
        match (&self.users[..], &realms[..]) {
            ([], _) => format!("realms {}", realms.join(", ")),
            (users, []) => format!("users {}", users.join(", ")),
            (users, _) => format!("users {} of realms {}", users.join(", "), realms.join(", ")),
        }
    }
}

/// Whether every override can apply to somebody: one that cannot is a rule that would be silently ignored.
///
/// `users` are the names of users with passwords; with `secrets` there may be others.
pub(super) fn check(
    overrides: &[Override],
    realms: &[&str],
    users: &[&str],
    secrets: bool,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for realm in overrides.iter().flat_map(|o| &o.realms).map(Realm::as_str) {
        if !realms.contains(&realm) {
            return resolve::refuse(format!(
                "peers.override names the realm {realm:?}, which is not served: known is {}",
                realms.join(", ")
            ));
        }
    }
    for user in overrides.iter().flat_map(|o| &o.users).filter(|user| !users.contains(&user.as_str())) {
        if let Some((expiry, name)) = user.split_once(':')
            && expiry.bytes().all(|b| b.is_ascii_digit())
        {
            return resolve::refuse(format!(
                "peers.override names the user {user:?}: leave the expiry out and write {name:?}"
            ));
        }
        if !secrets {
            warnings.push(format!("peers.override names the user {user:?}, who is not among the users"));
        }
    }
    Ok(())
}
