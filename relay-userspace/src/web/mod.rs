//! The pages that Turnpike serves on the ports of its clients.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// All pages.
pub fn router() -> Router {
    Router::new().route("/", get(what_this_is))
}

/// Whoever opens the address in a browser, a firewall that looks what is behind it among them, gets a decent page.
async fn what_this_is() -> impl IntoResponse {
    const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<title>TURN server</title>\n\
        <p>This is a TURN server. It relays calls for those who cannot reach each other.</p>\n</html>\n";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], PAGE)
}
