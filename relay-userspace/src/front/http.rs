//! HTTP on the ports of streams: our own pages, WebSockets, and what goes to a web server behind us.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;

use super::conn::Conn;
use super::desk::{Desk, Rules};
use super::limits::Ticket;
use super::patient::Patient;
use super::reception::Ends;
use super::{host, upstream, websocket};
use crate::config::Endpoint;

/// The stream that hyper reads and writes.
pub(super) type Stream = TokioIo<Patient<Conn>>;

/// Most bytes of a request's line and headers. Cookies of a web server behind us must fit.
const HEAD_SIZE: usize = 32 * 1024;

/// Most headers of a request.
const HEADERS: usize = 100;

/// Most bytes of a body that our own pages take.
const BODY_SIZE: usize = 64 * 1024;

/// How long our own pages may take, the time included in which the body arrives.
const PAGE_TIME: Duration = Duration::from_secs(10);

/// Most requests on a connection, so that none is had for ever.
const REQUESTS: u32 = 1000;

/// How long an answer may still take when the desk closes.
const CLOSING_TIME: Duration = Duration::from_millis(300);

/// Where a request of one of our pages comes from: an extension of each request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visitor {
    /// The client; as a trusted proxy told it, if one did.
    pub client: SocketAddr,
    /// The address that it connected to.
    pub listener: SocketAddr,
    /// Whether it came by TLS.
    pub secure: bool,
}

/// Somebody whose connection speaks HTTP.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) ends: Ends,
    pub(super) secure: bool,
    /// The name in SNI.
    server_name: Option<String>,
    /// How long nothing may come.
    pub(super) idle_time: Duration,
    /// Until the connection is no longer one of HTTP.
    ticket: Mutex<Option<Ticket>>,
    requests: AtomicU32,
}

impl Guest {
    /// For whoever has the connection after HTTP.
    pub(super) fn take_ticket(&self) -> Option<Ticket> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn visitor(&self) -> Visitor {
        let Ends { client, listener } = self.ends;
        Visitor { client, listener, secure: self.secure }
    }
}

/// Our own pages with their bounds, and behind them the web server that answers everything else.
pub(super) fn pages(web: Router, upstream: Option<Endpoint>) -> Router {
    let web = web.layer(DefaultBodyLimit::max(BODY_SIZE)).layer(from_fn(in_time));
    match upstream {
        None => web,
        Some(upstream) => web.fallback(move |request: Request| upstream::pass(upstream.clone(), request)),
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    let late = (StatusCode::REQUEST_TIMEOUT, "too slow\n");
    timeout(PAGE_TIME, next.run(request)).await.unwrap_or_else(|_| late.into_response())
}

/// Answers the requests of a connection until it ends or the desk closes.
pub(super) async fn serve(desk: Arc<Desk>, rules: Arc<Rules>, conn: Conn, ends: Ends, ticket: Ticket) {
    let mut stopping = desk.stopping.clone();
    let limits = rules.streams.limits;
    let guest = Arc::new(Guest {
        ends,
        secure: conn.is_tls(),
        server_name: conn.server_name().map(str::to_owned),
        idle_time: limits.idle_time,
        ticket: Mutex::new(Some(ticket)),
        requests: AtomicU32::new(0),
    });
    let service = service_fn(|request| {
        let (desk, rules, guest) = (desk.clone(), rules.clone(), guest.clone());
        async move { Ok::<_, Infallible>(answer(desk, rules, guest, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_time)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Patient::new(conn, limits.idle_time)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that is slow, gone or wrong is no event of ours.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(CLOSING_TIME, connection).await;
}

async fn answer(
    desk: Arc<Desk>,
    rules: Arc<Rules>,
    guest: Arc<Guest>,
    request: hyper::Request<Incoming>,
) -> Response {
    let mut request = request.map(Body::new);
    let count = guest.requests.fetch_add(1, Ordering::Relaxed) + 1;
    request.extensions_mut().insert(guest.visitor());
    request.extensions_mut().insert(guest.clone());
    let settled = host::settle(&mut request, guest.server_name.as_deref());
    let mut response = match request.uri().path() {
        _ if let Err(why) = settled => (StatusCode::BAD_REQUEST, why).into_response(),
        websocket::PATH => websocket::upgrade(desk, &rules, guest, request),
        // The page that says what this is gives way to a real one, and so does its having no picture.
        "/" | "/favicon.ico" if let Some(upstream) = &rules.streams.upstream => {
            upstream::pass(upstream.clone(), request).await
        }
        _ => {
            let pages = TowerToHyperService::new(rules.web.clone());
            hyper::service::Service::call(&pages, request).await.unwrap_or_else(|never| match never {})
        }
    };
    if count >= REQUESTS && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
