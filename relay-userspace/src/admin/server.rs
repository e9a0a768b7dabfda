//! The HTTP server: a few pages, each bounded in size and time.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{Backlog, listen as queue};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::sleep;

use super::control::{Ends, Operator};
use super::sessions::{EndedSessions, Sessions};
use super::status::{Drained, Reloaded, State, Status};
use super::{metrics, sessions};
use crate::lobby::{Lobby, Seat};
use crate::net::{Selection, SessionQuery, leave_reserve};

/// How long a client may take to send its request's line and headers.
const HEAD_TIME: Duration = Duration::from_secs(2);

/// How long the answer to it may take, for as long as a change is made, and then for as long as the client reads.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Most bytes of a request's line and headers (hyper takes no less than 8 KiB).
const REQUEST_SIZE: usize = 8 * 1024;

/// How long every connection may take to send its head, even when others wait for its place: whoever waited in the kernel's
/// queue has sent it by then.
const GRACE: Duration = Duration::from_millis(25);

/// Connections that the kernel keeps until they are let in.
const QUEUE: i32 = 1024;

/// Most connections at a time.
#[derive(Clone, Copy)]
struct Most {
    /// That have not sent a whole head. Beyond them the oldest has to leave, after its grace: a full queue of the kernel has
    /// gone through in a tenth of a second, so that nobody who asks is taken for dead.
    heads: usize,
    /// That wait for what they asked to be done: one after the other. Beyond them the oldest has to leave.
    changes: usize,
    /// That do not read the answer at once. Beyond them the oldest has to leave.
    answers: usize,
}

const MOST: Most = Most { heads: 256, changes: 256, answers: 64 };

/// Where there are no descriptors left but the reserve. A full queue has gone through in 1.1 seconds.
const FEW: Most = Most { heads: 24, changes: 16, answers: 8 };

/// Who knows the status, and makes the changes.
pub trait Source: Send + Sync + 'static {
    /// As it is now.
    fn status(&self) -> Status;

    /// Reads the settings again, or says why those before still hold. May take seconds.
    fn reload(&self) -> Result<Reloaded, String>;

    /// Begins or ends draining, or says why it cannot. May take seconds.
    fn drain(&self, begin: bool) -> Result<Drained, String>;

    /// The sessions, or why they cannot be told. May take a second.
    fn sessions(&self, query: &SessionQuery) -> Result<Sessions, String>;

    /// Ends sessions, or says why it cannot. May take seconds.
    fn end_sessions(&self, which: &Selection) -> Result<EndedSessions, String>;
}

/// A running admin server; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Binds the address and serves on a thread of its own.
    pub fn start(address: SocketAddr, source: Arc<dyn Source>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        queue(&listener, Backlog::new(QUEUE)?)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, router(source)) => {}
                    _ = stopped => {}
                }
            });
            // A change may hang for ever in reading a file from a dead server.
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

/// What the pages come from.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) source: Arc<dyn Source>,
    /// One of each kind at a time: whoever waits holds a connection, of which there are few.
    reloading: Arc<Semaphore>,
    draining: Arc<Semaphore>,
    pub(super) walking: Arc<Semaphore>,
}

fn router(source: Arc<dyn Source>) -> Router {
    let one = || Arc::new(Semaphore::new(1));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/v1/status", get(|Shared(pages): Shared<Pages>| async move { Json(pages.source.status()) }))
        .route("/v1/reload", post(reload))
        .route("/v1/drain", post(drain).delete(undo_drain))
        .route("/v1/sessions", get(sessions::list).delete(sessions::end_of_user))
        .route("/v1/sessions/{id}", delete(sessions::end_one))
        .with_state(Pages { source, reloading: one(), draining: one(), walking: one() })
}

async fn reload(_: Operator, Shared(pages): Shared<Pages>) -> Response {
    change(pages.reloading, StatusCode::UNPROCESSABLE_ENTITY, move || pages.source.reload()).await
}

async fn drain(_: Operator, Shared(pages): Shared<Pages>) -> Response {
    change(pages.draining, StatusCode::SERVICE_UNAVAILABLE, move || pages.source.drain(true)).await
}

async fn undo_drain(_: Operator, Shared(pages): Shared<Pages>) -> Response {
    change(pages.draining, StatusCode::SERVICE_UNAVAILABLE, move || pages.source.drain(false)).await
}

/// Makes a change, or asks what takes as long, on a thread that may wait for it. It goes on when the client has gone away meanwhile.
pub(super) async fn change<T: Serialize + Send + 'static>(
    turns: Arc<Semaphore>,
    failure: StatusCode,
    make: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Response {
    let Ok(turn) = turns.acquire_owned().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let made = tokio::task::spawn_blocking(move || {
        let made = make();
        drop(turn);
        made
    });
    match made.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(why)) => (failure, why + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(Shared(pages): Shared<Pages>) -> Response {
    match metrics::encode(pages.source.status()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// 503 while draining, so that load balancers send new clients elsewhere.
async fn readyz(Shared(pages): Shared<Pages>) -> Response {
    match pages.source.status().state {
        State::Ready => "ready\n".into_response(),
        State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
        State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        State::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

/// `axum::serve` with the bounds that it has no setting for. Whoever connects is let in, whatever all the others do: a server
/// whose health check gets no answer is killed with all its calls.
async fn serve(listener: TcpListener, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin API cannot be served"),
    };
    let heads = Lobby::new(GRACE);
    let (changes, answers) = (Lobby::new(Duration::ZERO), Lobby::new(Duration::ZERO));
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let most = if leave_reserve(&stream).is_ok() { MOST } else { FEW };
                let seat = heads.seat(most.heads).await;
                // Without it, nothing is changed.
                let server = stream.local_addr().ok();
                let router = match server {
                    Some(server) => router.clone().layer(Extension(Ends { client, server })),
                    None => router.clone(),
                };
                tokio::spawn(answer(stream, router, seat, [changes.clone(), answers.clone()], most));
            }
            // Out of descriptors, most likely: they may come back.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers one request. A client that is slow, gone or wrong is no event of ours.
async fn answer(
    stream: TcpStream,
    router: Router,
    mut seat: Seat,
    [changes, answers]: [Arc<Lobby>; 2],
    most: Most,
) {
    let (heard, done) = (Notify::new(), Notify::new());
    let pages = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        heard.notify_one();
        let (answer, done) = (pages.call(request), &done);
        async move {
            let answer = answer.await;
            done.notify_one();
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(REQUEST_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // With the head there is the answer, as a rule, and it is over.
    if !goes_on(connection.as_mut(), &heard, &mut seat, HEAD_TIME).await {
        return;
    }
    seat = changes.seat(most.changes).await;
    if !goes_on(connection.as_mut(), &done, &mut seat, ANSWER_TIME).await {
        return;
    }
    seat = answers.seat(most.answers).await;
    goes_on(connection, &Notify::new(), &mut seat, ANSWER_TIME).await;
}

/// Serves a connection until there is an event: `false` when it is over before, its seat is somebody else's or its time has run
/// out.
async fn goes_on(connection: Pin<&mut impl Future>, event: &Notify, seat: &mut Seat, time: Duration) -> bool {
    tokio::select! {
        biased;
        _ = connection => false,
        () = event.notified() => true,
        () = seat.is_taken() => false,
        () = sleep(time) => false,
    }
}
