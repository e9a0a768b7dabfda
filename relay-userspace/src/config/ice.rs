//! `[ice]` and `[test-page]`: who is given credentials over HTTP, and the names by which clients reach this server.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};

use super::ice_values::{ApiKey, IceUrl, KeyHash, PublicHost, TEST_TENANT, TenantName};
use super::listen::{Listen, Scheme};
use super::origin::Origin;
use super::realms::RealmSettings;
use super::resolve::refuse;
use super::values::{Realm, Secret, Span};
use super::{ConfigError, file};
use crate::policy::{PeerOverride, all_but};
use crate::turn::RelayAddress;

/// How long credentials last unless somebody says otherwise.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The longest that a tenant may ask for unless told otherwise: a working day and the night after it.
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long those of the test page last: each test takes seconds.
const DEFAULT_TEST_LIFETIME: Duration = Duration::from_secs(120);

/// Beyond, they would be credentials for calls.
const MAX_TEST_LIFETIME: Duration = Duration::from_secs(600);

/// Allocations of all its visitors at a time. A test takes two for each URL and network of the visitor's machine, for seconds.
const TEST_QUOTA: u32 = 100;

/// Credentials that a tenant is given in a second.
const DEFAULT_RATE: u32 = 100;

/// Requests of one network in a second.
const DEFAULT_ADDRESS_RATE: u32 = 10;

/// `[ice]`.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ice {
    /// The names by which clients reach this server: one, or a list.
    #[serde(deserialize_with = "one_or_more")]
    pub host: Vec<PublicHost>,
    /// The URLs to hand out, in place of those that the listeners make.
    pub urls: Vec<IceUrl>,
    /// Requests of one network in a second.
    #[serde(alias = "address_rate")]
    pub address_rate: Option<u32>,
    /// `[[ice.tenants]]`; has no flag.
    pub tenants: Vec<TenantLayer>,
}

/// One `[[ice.tenants]]` of the file.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TenantLayer {
    /// Whom the log and the quotas know its users by.
    pub name: TenantName,
    /// What its requests have to bring.
    pub key: Option<ApiKey>,
    /// A file of more keys.
    #[serde(alias = "key_file")]
    pub key_file: Option<PathBuf>,
    /// The hash of a key.
    #[serde(alias = "key_sha256")]
    pub key_sha256: Option<KeyHash>,
    /// The realm whose secret signs.
    pub realm: Option<Realm>,
    /// The web pages that may ask.
    #[serde(default)]
    pub origins: Vec<Origin>,
    /// In place of those of `[ice]`.
    #[serde(default)]
    pub urls: Vec<IceUrl>,
    /// How long its credentials last.
    pub lifetime: Option<Span>,
    /// The longest that it may ask for.
    #[serde(alias = "max_lifetime")]
    pub max_lifetime: Option<Span>,
    /// How many a second.
    pub rate: Option<u32>,
}

/// `[test-page]`.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TestPage {
    /// Whether it is served.
    pub enabled: Option<bool>,
    /// What visitors have to know.
    pub key: Option<ApiKey>,
    /// A file of more keys.
    #[serde(alias = "key_file")]
    pub key_file: Option<PathBuf>,
    /// The hash of a key.
    #[serde(alias = "key_sha256")]
    pub key_sha256: Option<KeyHash>,
    /// The realm whose secret signs.
    pub realm: Option<Realm>,
    /// How long its credentials last.
    pub lifetime: Option<Span>,
}

/// Who is given credentials, and for which URLs.
#[derive(Clone, PartialEq, Debug)]
pub struct IceSettings {
    /// The names by which clients reach this server; by its addresses when empty.
    pub hosts: Vec<PublicHost>,
    /// The URLs to hand out; those that the listeners make when empty.
    pub urls: Vec<IceUrl>,
    /// Requests of one network in a second.
    pub address_rate: u32,
    /// Who may ask.
    pub tenants: Vec<TenantSettings>,
}

/// Somebody whose users are given credentials.
#[derive(Clone, PartialEq, Debug)]
pub struct TenantSettings {
    /// Whom the log and the quotas know its users by.
    pub name: TenantName,
    /// Each of them will do. Not empty.
    pub keys: Vec<KeyHash>,
    /// The realm whose secret signs. It has one.
    pub realm: Realm,
    /// The web pages that may ask; none when empty, but servers may.
    pub origins: Vec<Origin>,
    /// In place of those of [`IceSettings`] when not empty.
    pub urls: Vec<IceUrl>,
    /// How long its credentials last.
    pub lifetime: Duration,
    /// The longest that it may ask for.
    pub max_lifetime: Duration,
    /// How many a second.
    pub rate: u32,
}

/// The page that tries all URLs in a visitor's browser.
#[derive(Clone, PartialEq, Debug)]
pub struct TestPageSettings {
    /// What visitors have to know; nothing when empty.
    pub keys: Vec<KeyHash>,
    /// The realm whose secret signs. It has one.
    pub realm: Realm,
    /// How long its credentials last.
    pub lifetime: Duration,
}

/// Who can sign: the default realm, and the others.
pub(super) struct Signers<'a> {
    pub(super) realm: &'a Realm,
    pub(super) secrets: &'a [Secret],
    pub(super) others: &'a [RealmSettings],
}

impl Signers<'_> {
    /// The realm that is meant, if it has a secret.
    fn realm(&self, named: Option<Realm>, who: &str) -> Result<Realm, ConfigError> {
        let name = named.unwrap_or_else(|| self.realm.clone());
        let secrets = match self.others.iter().find(|other| other.name == name) {
            Some(other) => &other.secrets[..],
            None if name == *self.realm => self.secrets,
            None => return refuse(format!("{who}: there is no realm {:?}", name.as_str())),
        };
        match secrets {
            [] => refuse(format!(
                "{who}: realm {:?} has no secret to make credentials with: give it one (secrets, secrets-file)",
                name.as_str()
            )),
            _ => Ok(name),
        }
    }
}

impl Ice {
    pub(super) fn over(self, below: Ice) -> Ice {
        let list = super::layer::list;
        Ice {
            host: list(self.host, below.host),
            urls: super::layer::list(self.urls, below.urls),
            address_rate: self.address_rate.or(below.address_rate),
            tenants: super::layer::list(self.tenants, below.tenants),
        }
    }

    /// Reads the files of keys and checks it all.
    pub(super) fn resolve(
        self,
        signers: &Signers<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<IceSettings, ConfigError> {
        let mut tenants: Vec<TenantSettings> = Vec::new();
        let mut known = HashSet::new();
        for tenant in self.tenants {
            let tenant = tenant.resolve(signers, warnings)?;
            let name = tenant.name.as_str();
            if tenants.iter().any(|other| other.name == tenant.name) {
                return refuse(format!("ice: tenant {name:?} is listed twice"));
            }
            if !tenant.keys.iter().all(|key| known.insert(key.clone())) {
                return refuse(format!(
                    "ice: a key of tenant {name:?} is listed twice, or another tenant has it"
                ));
            }
            tenants.push(tenant);
        }
        let address_rate = rate(self.address_rate, DEFAULT_ADDRESS_RATE, "ice: address-rate")?;
        Ok(IceSettings { hosts: self.host, urls: self.urls, address_rate, tenants })
    }
}

impl TenantLayer {
    fn resolve(
        self,
        signers: &Signers<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<TenantSettings, ConfigError> {
        let who = format!("ice: tenant {:?}", self.name.as_str());
        let keys = keys(self.key, self.key_file, self.key_sha256, warnings)?;
        if keys.is_empty() {
            return refuse(format!("{who} has no key: give it key-file, key or key-sha256"));
        }
        let max_lifetime = self.max_lifetime.map_or(DEFAULT_MAX_LIFETIME, |Span(time)| time);
        let lifetime = self.lifetime.map_or(DEFAULT_LIFETIME.min(max_lifetime), |Span(time)| time);
        if lifetime < Duration::from_secs(1) || lifetime > max_lifetime {
            return refuse(format!(
                "{who}: lifetime is {}: write 1s or more, and no more than its max-lifetime of {}",
                Span(lifetime),
                Span(max_lifetime)
            ));
        }
        Ok(TenantSettings {
            realm: signers.realm(self.realm, &who)?,
            rate: rate(self.rate, DEFAULT_RATE, &format!("{who}: rate"))?,
            name: self.name,
            keys,
            origins: self.origins,
            urls: self.urls,
            lifetime,
            max_lifetime,
        })
    }
}

impl TestPage {
    pub(super) fn over(self, below: TestPage) -> TestPage {
        TestPage {
            enabled: self.enabled.or(below.enabled),
            key: self.key.or(below.key),
            key_file: self.key_file.or(below.key_file),
            key_sha256: self.key_sha256.or(below.key_sha256),
            realm: self.realm.or(below.realm),
            lifetime: self.lifetime.or(below.lifetime),
        }
    }

    /// The page, if it is wanted.
    pub(super) fn resolve(
        self,
        signers: &Signers<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<TestPageSettings>, ConfigError> {
        let keys = keys(self.key, self.key_file, self.key_sha256, warnings)?;
        if !self.enabled.unwrap_or(false) {
            if !keys.is_empty() {
                warnings.push("test-page has a key but is off: write enabled = true to serve it".into());
            }
            return Ok(None);
        }
        let lifetime = self.lifetime.map_or(DEFAULT_TEST_LIFETIME, |Span(time)| time);
        if !(Duration::from_secs(30)..=MAX_TEST_LIFETIME).contains(&lifetime) {
            return refuse(format!(
                "test-page: lifetime is {}: a test takes up to 30s, {} are the most",
                Span(lifetime),
                Span(MAX_TEST_LIFETIME)
            ));
        }
        if keys.is_empty() {
            warnings.push(
                "test-page: no key is set, so everybody may run tests; their credentials reach no peer but this server"
                    .into(),
            );
        }
        Ok(Some(TestPageSettings { keys, realm: signers.realm(self.realm, "test-page")?, lifetime }))
    }
}

/// What to say about credentials and pages that nobody can ask for.
pub(super) fn out_of_reach(
    ice: &IceSettings,
    test_page: Option<&TestPageSettings>,
    listen: &[Listen],
) -> Option<String> {
    // Each that takes streams takes HTTP too.
    if listen.iter().any(|listen| listen.scheme.is_stream()) {
        return None;
    }
    let wanted = [("[[ice.tenants]]", !ice.tenants.is_empty()), ("[test-page]", test_page.is_some())];
    let wanted: Vec<_> = wanted.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect();
    (!wanted.is_empty()).then(|| {
        format!(
            "{} cannot be reached: no listener serves HTTP; add one, such as https://ADDRESS:443",
            wanted.join(" and ")
        )
    })
}

/// What to say about URLs that some browsers leave out.
pub(super) fn left_out(ice: &IceSettings, listen: &[Listen]) -> Option<String> {
    let has_tls = listen.iter().any(|listen| matches!(listen.scheme, Scheme::Tls | Scheme::Https));
    let made = has_tls && !ice.hosts.is_empty() && ice.hosts.iter().all(PublicHost::is_address);
    let is_left_out = |listed: &[IceUrl]| {
        let (at_addresses, by_name): (Vec<_>, Vec<_>) =
            listed.iter().filter(|url| url.is_tls()).partition(|url| url.is_tls_at_an_address());
        !at_addresses.is_empty() && by_name.is_empty()
    };
    let of_all = if ice.urls.is_empty() { made } else { is_left_out(&ice.urls) };
    (of_all || ice.tenants.iter().any(|tenant| is_left_out(&tenant.urls))).then(|| {
        "ice: Firefox tries TURN over TLS only at a name: have a turns: URL, or `host`, name the server and not its address"
            .into()
    })
}

impl TestPageSettings {
    /// The account of all its visitors, by the name that quotas know it by, and how many allocations it may hold.
    pub(super) fn quota(&self, default: &Realm) -> (String, u32) {
        let account = match self.realm == *default {
            true => TEST_TENANT.to_owned(),
            // As `auth::Realm::account` has it.
            false => format!("{}\\{TEST_TENANT}", self.realm.as_str()),
        };
        (account, TEST_QUOTA)
    }

    /// What its visitors' credentials are good for: from one relayed address of this server to another, and nowhere else.
    pub(super) fn peers(&self, relay: &[RelayAddress]) -> PeerOverride {
        let relayed: Vec<IpAddr> = relay.iter().flat_map(|address| [address.local, address.public]).collect();
        PeerOverride {
            users: [TEST_TENANT.to_owned()].into(),
            realms: [self.realm.as_str().to_owned()].into(),
            allow: Vec::new(),
            deny: all_but(&relayed),
        }
    }
}

/// The hashes of all keys that one table names.
fn keys(
    key: Option<ApiKey>,
    path: Option<PathBuf>,
    hash: Option<KeyHash>,
    warnings: &mut Vec<String>,
) -> Result<Vec<KeyHash>, ConfigError> {
    let mut keys: Vec<_> = key.iter().map(ApiKey::hash).chain(hash).collect();
    if let Some(path) = path {
        warnings.extend(file::readable_by_all(&path));
        keys.extend(file::read_lines::<ApiKey>(&path)?.iter().map(ApiKey::hash));
    }
    Ok(keys)
}

fn rate(named: Option<u32>, default: u32, what: &str) -> Result<u32, ConfigError> {
    match named.unwrap_or(default) {
        0 => refuse(format!("{what} is 0: nobody could ask")),
        rate @ 1..=1_000_000 => Ok(rate),
        rate => refuse(format!("{what} is {rate}: a million in a second are the most")),
    }
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PublicHost>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "a host must be a name in quotes, or a list of them")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }

    let hosts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(host) => vec![host],
        OneOrMore::More(hosts) => hosts,
    };
    hosts.iter().map(|host| host.parse().map_err(serde::de::Error::custom)).collect()
}
