//! `POST /v1/ice`: credentials for the users of a tenant, as `iceServers` of WebRTC.
//!
//! GET is refused: it is the method that caches, prefetchers and curious people use, and each answer is a new credential.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::issue::{Issued, Wish};
use super::refusal::Refusal;
use super::site::{Site, Tenant};
use super::{Visitor, Web, bearer, cors};
use crate::time::Timestamp;

/// Most bytes of a body.
pub(super) const BODY_SIZE: usize = 4096;

/// How long a body may take to arrive.
pub(super) const BODY_TIME: Duration = Duration::from_secs(5);

const METHODS: &str = "POST, OPTIONS";

/// The page's handler, for all methods.
pub(super) async fn answer(State(web): State<Arc<Web>>, visitor: Visitor, request: Request) -> Response {
    let site = web.site();
    if site.tenants.is_empty() {
        return Refusal::not_served("/v1/ice").into_response();
    }
    let origin = cors::origin(request.headers());
    let (mut response, may_read) = match *request.method() {
        Method::POST => match issue(&web, &site, visitor, request).await {
            Ok(issued) => (Json(issued).into_response(), true),
            Err(refusal) => {
                // A page of another tenant's is not told more than that it may not ask.
                let may_read = refusal != Refusal::origin();
                (refusal.into_response(), may_read)
            }
        },
        Method::OPTIONS => (site.preflight(request.headers(), METHODS), true),
        _ => {
            let mut response = Refusal::method("POST").into_response();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(METHODS));
            (response, true)
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = origin.filter(|origin| may_read && site.knows(origin)) {
        cors::let_read(&mut response, origin);
    }
    response
}

/// Who asks is found out before anything else is read.
async fn issue(web: &Web, site: &Site, visitor: Visitor, request: Request) -> Result<Issued, Refusal> {
    let tenant = tenant(web, site, visitor, request.headers())?;
    web.refuse_if_draining()?;
    let (parts, body) = request.into_parts();
    let wish = wish(web, &parts.headers, body).await?;
    tenant.issue(&wish)
}

fn tenant<'a>(
    web: &Web,
    site: &'a Site,
    Visitor { address }: Visitor,
    headers: &HeaderMap,
) -> Result<&'a Tenant, Refusal> {
    let found = bearer::key(headers).and_then(|key| {
        let holders = site.tenants.iter().map(|tenant| tenant.keys.as_slice());
        bearer::holder(&key, holders).ok_or_else(Refusal::wrong_key)
    });
    let tenant = match found {
        Ok(index) => &site.tenants[index],
        Err(_) if !web.networks.admit_without_key(address) => return Err(Refusal::too_many("network")),
        Err(refusal) => return Err(refusal),
    };
    if !tenant.lets_ask(headers.get(header::ORIGIN)) {
        return Err(Refusal::origin());
    }
    // The key of a tenant with web pages is known to its visitors, of whom none is to use up what is for all. One without has a
    // server that asks, whose address is always the same.
    if !tenant.origins.is_empty() && !web.networks.admit_visitor(address, &site.address_rate) {
        return Err(Refusal::too_many("network"));
    }
    if !tenant.bucket.take(&tenant.rate, Timestamp::now(), 1) {
        return Err(Refusal::too_many("key"));
    }
    Ok(tenant)
}

/// What the body says; nothing if there is none.
pub(super) async fn wish(web: &Web, headers: &HeaderMap, body: Body) -> Result<Wish, Refusal> {
    // Before a byte of it is read.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_SIZE as u64) {
        return Err(Refusal::large(BODY_SIZE));
    }
    let Ok(_reader) = web.readers.try_acquire() else { return Err(Refusal::busy()) };
    let bytes = match timeout(BODY_TIME, to_bytes(body, BODY_SIZE)).await {
        Err(_) => return Err(Refusal::slow()),
        Ok(Err(_)) => return Err(Refusal::large(BODY_SIZE)),
        Ok(Ok(bytes)) => bytes,
    };
    if bytes.is_empty() {
        return Ok(Wish::default());
    }
    if !is_json(headers) {
        return Err(Refusal::media_type());
    }
    serde_json::from_slice(&bytes).map_err(|why| {
        Refusal::bad_request(format!(
            r#"the body is not understood ({why}): write {{"user": "NAME", "ttl": SECONDS}}"#
        ))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
