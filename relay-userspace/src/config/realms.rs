//! Realms beside the one at the top of the file, and what all of them make of the credentials.

use std::fmt;
use std::path::PathBuf;

use super::layer::{ListAndFile, users};
use super::listen::Listen;
use super::origin::Origin;
use super::resolve::{refuse, refuse_as};
use super::values::{Realm, Secret, User};
use super::{ConfigError, Settings, file};
use crate::auth::{self, Credentials, Realms};
use crate::stun::PasswordAlgorithm;

/// One `[[realms]]` of the file.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RealmLayer {
    /// REALM.
    pub name: Realm,
    /// The listeners whose clients are asked for it.
    #[serde(default)]
    pub listeners: Vec<Listen>,
    /// The web pages whose clients are asked for it.
    #[serde(default)]
    pub origins: Vec<Origin>,
    /// As in `[auth]`.
    #[serde(default, deserialize_with = "users")]
    pub users: Vec<User>,
    /// As in `[auth]`.
    #[serde(default, alias = "users_file")]
    pub users_file: Option<PathBuf>,
    /// As in `[auth]`.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// As in `[auth]`.
    #[serde(default, alias = "secrets_file")]
    pub secrets_file: Option<PathBuf>,
}

/// A realm beside the default one. It has listeners or origins, and users or secrets.
#[derive(Clone, PartialEq, Debug)]
pub struct RealmSettings {
    /// REALM.
    pub name: Realm,
    /// The listeners whose clients are asked for it; all when empty.
    pub listeners: Vec<Listen>,
    /// The web pages whose clients are asked for it; all clients of the listeners when empty.
    pub origins: Vec<Origin>,
    /// Users with passwords that do not expire.
    pub users: Vec<User>,
    /// Secrets that time-limited users are made with.
    pub secrets: Vec<Secret>,
}

impl RealmLayer {
    /// Reads its files and checks it by itself.
    pub(super) fn resolve(
        self,
        listen: &[Listen],
        warnings: &mut Vec<String>,
    ) -> Result<RealmSettings, ConfigError> {
        let name = self.name;
        if let Some(unknown) = self.listeners.iter().find(|l| !listen.contains(l)) {
            let known = listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return refuse(format!(
                "realm {:?}: {unknown} is not among the listeners ({known})",
                name.as_str()
            ));
        }
        let (users, secrets) =
            credentials((self.users, self.users_file), (self.secrets, self.secrets_file), warnings)?;
        if users.is_empty() && secrets.is_empty() {
            return refuse(format!(
                "realm {:?} has neither users nor secrets: nobody could come in",
                name.as_str()
            ));
        }
        Ok(RealmSettings { name, listeners: self.listeners, origins: self.origins, users, secrets })
    }
}

/// The users and secrets of a realm, with those of their files.
pub(super) fn credentials(
    (mut users, users_file): ListAndFile<User>,
    (mut secrets, secrets_file): ListAndFile<Secret>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<User>, Vec<Secret>), ConfigError> {
    for path in [&users_file, &secrets_file].into_iter().flatten() {
        warnings.extend(file::readable_by_all(path));
    }
    if let Some(path) = &users_file {
        users.extend(file::read_lines::<User>(path)?);
    }
    if let Some(path) = &secrets_file {
        secrets.extend(file::read_lines::<Secret>(path)?);
    }
    Ok((users, secrets))
}

impl Settings {
    /// Whether anybody could come in.
    pub fn has_credentials(&self) -> bool {
        !self.users.is_empty() || !self.secrets.is_empty() || !self.realms.is_empty()
    }

    /// The realms with their users and secrets as the protocol core takes them.
    pub fn realms(&self) -> Result<Realms, ConfigError> {
        let default = self.realm(&self.realm, &self.users, &self.secrets)?;
        let mut others = Vec::new();
        for RealmSettings { name, listeners, origins, users, secrets } in &self.realms {
            let realm = self.realm(name, users, secrets)?;
            let origins = origins.iter().flat_map(Origin::forms);
            others.push(realm.on_listeners(listeners.iter().map(|l| l.address)).for_origins(origins));
        }
        Realms::new(default, others).or_else(refuse_as)
    }

    /// What is not offered although it could be: a sentence for each algorithm and realm.
    pub(super) fn algorithms_not_offered(&self) -> Result<Vec<String>, ConfigError> {
        let own = (&self.realm, &self.users, &self.secrets);
        let others = self.realms.iter().map(|r| (&r.name, &r.users, &r.secrets));
        let mut warnings = Vec::new();
        for (name, users, secrets) in std::iter::once(own).chain(others) {
            let credentials = self.credentials(users, secrets)?;
            for algorithm in &self.password_algorithms {
                if let Some(user) = credentials.user_without(*algorithm) {
                    warnings.push(format!(
                        "realm {:?} does not offer {algorithm}: user {user:?} has no key for it; `turnpike creds --key` \
                         makes both",
                        name.as_str()
                    ));
                }
            }
        }
        Ok(warnings)
    }

    fn realm(&self, name: &Realm, users: &[User], secrets: &[Secret]) -> Result<auth::Realm, ConfigError> {
        let credentials = self.credentials(users, secrets)?;
        auth::Realm::with_algorithms(name.as_str(), credentials, &self.password_algorithms).or_else(refuse_as)
    }

    fn credentials(&self, users: &[User], secrets: &[Secret]) -> Result<Credentials, ConfigError> {
        let users = users.iter().map(|user| (user.name.clone(), user.password.expose().to_owned()));
        let secrets = secrets.iter().map(|secret| secret.expose().to_owned());
        let credentials = Credentials::new(users, secrets).or_else(refuse_as)?;
        Ok(credentials.with_secret_hashes(self.secret_algorithms.clone()))
    }
}

/// Both, the better one first (RFC 8489 section 14.11: in the order of preference).
pub(super) const DEFAULT_PASSWORD_ALGORITHMS: [PasswordAlgorithm; 2] =
    [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];

/// Refuses a list that names something twice.
pub(super) fn once_each<T: PartialEq + fmt::Display>(list: &[T], name: &str) -> Result<(), ConfigError> {
    match list.iter().enumerate().find(|(i, value)| list[..*i].contains(value)) {
        Some((_, value)) => refuse(format!("{name} has {value} twice")),
        None => Ok(()),
    }
}
