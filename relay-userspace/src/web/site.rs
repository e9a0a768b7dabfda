//! What is served, as the settings say. Replaced as a whole by a reload.

use std::sync::Arc;
use std::time::Duration;

use super::rates::{KeyBucket, burst_of_seconds};
use super::test_page::TestPage;
use super::urls::{self, IceUrls};
use crate::auth::SecretHash;
use crate::config::{KeyHash, Realm, Secret, Settings, TEST_TENANT, TenantSettings, TestPageSettings};
use crate::policy::Rate;

/// The tenants, and the pages.
#[derive(Debug)]
pub struct Site {
    pub(super) tenants: Vec<Tenant>,
    pub(super) test_page: Option<TestPage>,
    /// Requests of one network.
    pub(super) address_rate: Rate,
}

/// Who may ask for credentials, and what they are made with.
#[derive(Debug)]
pub(super) struct Tenant {
    /// Before the names of its users.
    pub(super) name: String,
    pub(super) keys: Vec<KeyHash>,
    /// The web pages that may ask.
    pub(super) origins: Vec<String>,
    pub(super) urls: IceUrls,
    pub(super) secret: Secret,
    pub(super) hash: SecretHash,
    pub(super) lifetime: Duration,
    pub(super) max_lifetime: Duration,
    pub(super) rate: Rate,
    pub(super) bucket: Arc<KeyBucket>,
}

impl Site {
    /// What these settings say.
    pub fn new(settings: &Settings) -> Self {
        let tenants = settings.ice.tenants.iter().filter_map(|tenant| Tenant::new(settings, tenant));
        Self {
            tenants: tenants.collect(),
            test_page: settings.test_page.as_ref().and_then(|page| {
                let TestPageSettings { keys, realm, lifetime } = page.clone();
                let (secret, hash) = signer(settings, &realm)?;
                let urls = urls::of_settings(settings, &realm, &[]);
                let (rate, bucket) = (TestPage::RATE, Arc::default());
                let (name, origins) = (TEST_TENANT.to_owned(), Vec::new());
                let max_lifetime = lifetime;
                let tenant =
                    Tenant { name, keys, origins, urls, secret, hash, lifetime, max_lifetime, rate, bucket };
                Some(TestPage::new(tenant))
            }),
            address_rate: burst_of_seconds(settings.ice.address_rate),
        }
    }

    /// Takes over the books of the site that was served before.
    pub(super) fn go_on_from(&mut self, before: &Site) {
        let page = |site: &Site| site.test_page.as_ref().map(|page| page.tenant.bucket.clone());
        for tenant in &mut self.tenants {
            if let Some(known) = before.tenants.iter().find(|known| known.name == tenant.name) {
                tenant.bucket = known.bucket.clone();
            }
        }
        if let (Some(page), Some(bucket)) = (&mut self.test_page, page(before)) {
            page.tenant.bucket = bucket;
        }
    }
}

impl Tenant {
    fn new(settings: &Settings, tenant: &TenantSettings) -> Option<Self> {
        let (secret, hash) = signer(settings, &tenant.realm)?;
        Some(Self {
            name: tenant.name.to_string(),
            keys: tenant.keys.clone(),
            origins: tenant.origins.iter().map(ToString::to_string).collect(),
            urls: urls::of_settings(settings, &tenant.realm, &tenant.urls),
            secret,
            hash,
            lifetime: tenant.lifetime,
            max_lifetime: tenant.max_lifetime,
            rate: burst_of_seconds(tenant.rate),
            bucket: Arc::default(),
        })
    }
}

/// What the passwords of a realm's time-limited users are made with: the first of its secrets, by the first hash that the server
/// tries. The settings were refused if it has none.
fn signer(settings: &Settings, realm: &Realm) -> Option<(Secret, SecretHash)> {
    let secrets = match settings.realms.iter().find(|other| other.name == *realm) {
        Some(other) => &other.secrets,
        None => &settings.secrets,
    };
    Some((secrets.first()?.clone(), *settings.secret_algorithms.first()?))
}
