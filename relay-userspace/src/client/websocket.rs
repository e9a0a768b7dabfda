//! A WebSocket (RFC 6455) that carries TURN: subprotocol `turn`, a message in each binary frame.
//!
//! tokio-tungstenite does the upgrade and the frames: it is tungstenite, which the server's side has too, over tokio's
//! streams, and brings nothing else without its TLS features.

use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::http::{HeaderMap, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::connection::Stream;
use super::url::ServerUrl;
use crate::auth::printable;

/// The subprotocol (RFC 6455 section 1.9).
pub(super) const SUBPROTOCOL: &str = "turn";

/// Bytes read at once, and gathered before they are written.
const BUFFER: usize = 16 << 10;

/// Most bytes of a frame: two of TURN's longest messages.
const MOST_FRAME: usize = 128 << 10;

/// Why there is no WebSocket. Shown, it says what the likely reason is.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeFailure {
    /// Another HTTP status than 101.
    #[error("the server answers HTTP {status} in place of the upgrade{}", hint(*.status, .via))]
    Status {
        /// The status.
        status: u16,
        /// Who answered, as far as the answer says.
        via: String,
    },
    /// The server opens the WebSocket, but not for TURN.
    #[error("the server opens a WebSocket, but not for the subprotocol \"turn\": is the path right?")]
    NoSubprotocol,
    /// The connection ended.
    #[error("the connection is closed during the upgrade: a proxy or firewall that lets no WebSocket pass")]
    Closed,
    /// No answer in time.
    #[error("no answer to the upgrade within {0} s: a proxy or firewall that lets no WebSocket pass?")]
    Silent(u64),
    /// No WebSocket by what came.
    #[error("what answers is no WebSocket server: {0}")]
    Other(String),
}

fn hint(status: u16, via: &str) -> String {
    let why = match status {
        301..=308 => ": it sends elsewhere, which is not followed: write that URL",
        400 => ": a proxy in between that knows no WebSocket, or a server that does not want this one",
        401 | 407 => ": a password is wanted, which this URL cannot have",
        403 => ": it does not allow this (its list of origins, or a proxy's rules)",
        404 | 405 | 200 => ": there is no WebSocket at this path; Turnpike's is /turn",
        426 => ": it wants another protocol",
        429 => ": it has too many connections from here",
        500..=599 => ": the server, or the web server in front of it, has a problem",
        _ => "",
    };
    if via.is_empty() { why.into() } else { format!("{why} (answered by {})", printable(via)) }
}

/// Upgrades a stream to a WebSocket.
pub(super) async fn upgrade(
    stream: Stream,
    url: &ServerUrl,
) -> Result<WebSocketStream<Stream>, UpgradeFailure> {
    let uri: Uri = url.to_string().parse().map_err(|e| UpgradeFailure::Other(format!("{url}: {e}")))?;
    let request = ClientRequestBuilder::new(uri)
        .with_sub_protocol(SUBPROTOCOL)
        .with_header("User-Agent", concat!("turnpike/", env!("CARGO_PKG_VERSION")));
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_frame_size(Some(MOST_FRAME))
        .max_message_size(Some(MOST_FRAME));
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(explain)?;
    Ok(socket)
}

fn explain(error: Error) -> UpgradeFailure {
    match error {
        Error::Http(answer) => {
            UpgradeFailure::Status { status: answer.status().as_u16(), via: server(answer.headers()) }
        }
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => UpgradeFailure::NoSubprotocol,
        Error::Io(_) | Error::ConnectionClosed | Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            UpgradeFailure::Closed
        }
        other => UpgradeFailure::Other(other.to_string()),
    }
}

/// By which a proxy's page and a web server's are told apart.
fn server(headers: &HeaderMap) -> String {
    let named = ["via", "server"].iter().find_map(|name| headers.get(*name));
    named.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}
