//! `/test`: tries every URL in the visitor's own browser and shows what gets through.
//!
//! The page itself holds nothing of value. It asks `/test/credentials` for credentials, which last minutes, are counted as one user, and
//! reach no peer but this server's relayed addresses ([`crate::config::Settings::peer_overrides`]).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};

use super::issue::{Issued, Wish};
use super::pages::{self, Page};
use super::refusal::Refusal;
use super::site::Tenant;
use super::{Visitor, Web, bearer};
use crate::policy::Rate;
use crate::time::Timestamp;

const PAGE: &str = include_str!("test_page.html");

/// The page, and for whom its credentials are.
#[derive(Debug)]
pub(super) struct TestPage {
    pub(super) tenant: Tenant,
    page: Page,
}

impl TestPage {
    /// Tests of all visitors together.
    pub(super) const RATE: Rate = Rate::new(5, Duration::from_secs(1), 50);

    /// Tests of one network: people come back to it, or sit in one office.
    const ADDRESS_RATE: Rate = Rate::new(20, Duration::from_secs(60), 20);

    pub(super) fn new(tenant: Tenant) -> Self {
        // Of the WebSocket's URL what comes before the path, `wss://HOST:PORT`.
        let url = tenant.urls.web_socket.as_deref().unwrap_or_default();
        let path = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
        let page = Page::new(PAGE.to_owned(), &url[..path]);
        Self { tenant, page }
    }
}

pub(super) async fn page(State(web): State<Arc<Web>>) -> Response {
    match &web.site().test_page {
        Some(page) => page.page.answer(),
        None => pages::nothing().await,
    }
}

/// POST only, and for the page itself: another site's cannot read the answer, as it is not told that it may.
pub(super) async fn credentials(State(web): State<Arc<Web>>, visitor: Visitor, request: Request) -> Response {
    let site = web.site();
    let Some(page) = &site.test_page else { return pages::nothing().await };
    let mut response = match *request.method() {
        Method::POST => match issue(&web, page, visitor, request.headers()) {
            Ok(issued) => Json(issued).into_response(),
            Err(refusal) => refusal.into_response(),
        },
        _ => {
            let mut response = Refusal::method("POST").into_response();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            response
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn issue(
    web: &Web,
    TestPage { tenant, .. }: &TestPage,
    Visitor { address }: Visitor,
    headers: &HeaderMap,
) -> Result<Issued, Refusal> {
    if !tenant.keys.is_empty() {
        let found = bearer::key(headers).and_then(|key| {
            bearer::holder(&key, std::iter::once(&tenant.keys[..])).ok_or_else(Refusal::wrong_key)
        });
        if let Err(refusal) = found {
            return Err(match web.networks.admit_without_key(address) {
                true => refusal,
                false => Refusal::too_many("network"),
            });
        }
    }
    if !web.networks.admit_tester(address, &TestPage::ADDRESS_RATE) {
        return Err(Refusal::too_many("network"));
    }
    if !tenant.bucket.take(&tenant.rate, Timestamp::now(), 1) {
        return Err(Refusal::too_many("page"));
    }
    web.refuse_if_draining()?;
    tenant.issue(&Wish::default())
}
