//! What browsers are served: credentials (`/v1/ice`), the test page (`/test`), and a word for people who open the server's
//! address (`/`).
//!
//! This is a [`Router`] and nothing else: connections, TLS and their limits belong to whoever serves it, who tells by a
//! [`front::Visitor`] in the request's extensions where it came from. A request holds memory for one small body and waits for nobody
//! but its own client, within a limit of time.

mod bearer;
mod cors;
mod ice;
mod issue;
mod pages;
mod rates;
mod refusal;
mod site;
mod test_page;
mod urls;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::routing::{any, get};
use tokio::sync::Semaphore;

use self::rates::Networks;
use self::refusal::Refusal;
pub use self::site::Site;
pub use self::urls::{IceUrls, of_settings as ice_urls, page_origins, stream_settings};
use crate::front;

/// Most bodies that are read at a time. Only who has a key gets that far.
const READERS: usize = 256;

/// Who sends a request: as the front desk says in an extension of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Visitor {
    /// The address, as the PROXY protocol told it if it did. Without any, all visitors share one limit.
    address: IpAddr,
}

/// What is served, and the books about who asked how often. Lives as long as the server.
#[derive(Debug)]
pub struct Web {
    site: RwLock<Arc<Site>>,
    draining: AtomicBool,
    networks: Networks,
    readers: Semaphore,
}

impl Web {
    /// Serves this.
    pub fn new(site: Site) -> Arc<Self> {
        let (networks, readers) = (Networks::default(), Semaphore::new(READERS));
        let draining = AtomicBool::new(false);
        Arc::new(Self { site: RwLock::new(Arc::new(site)), draining, networks, readers })
    }

    /// Serves this from now on, also to connections that are open. What tenants have used up they still have.
    pub fn replace(&self, mut site: Site) {
        let mut held = self.site.write().unwrap_or_else(PoisonError::into_inner);
        site.go_on_from(&held);
        *held = Arc::new(site);
    }

    /// Whether credentials would be of no use, because the server makes no new allocations.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Refuses credentials that could not be used now.
    fn refuse_if_draining(&self) -> Result<(), Refusal> {
        if self.draining.load(Ordering::Relaxed) { Err(Refusal::draining()) } else { Ok(()) }
    }

    fn site(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The pages, for a server to mount. With another web server `behind`, which answers what is not here, those that are off now are
/// left out: they may be pages of that one.
pub fn router(web: Arc<Web>, behind: bool) -> Router {
    let site = web.site();
    let mut router = Router::new().route("/", get(pages::landing)).route("/favicon.ico", get(pages::no_icon));
    if !behind || !site.tenants.is_empty() {
        router = router.route("/v1/ice", any(ice::answer));
    }
    if !behind || site.test_page.is_some() {
        router = router
            .route("/test", get(test_page::page))
            .route("/test/credentials", any(test_page::credentials));
    }
    router.fallback(pages::nothing).method_not_allowed_fallback(pages::wrong_method).with_state(web)
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let known = parts.extensions.get::<front::Visitor>();
        Ok(Visitor { address: known.map_or(Ipv6Addr::UNSPECIFIED.into(), |visitor| visitor.client.ip()) })
    }
}
