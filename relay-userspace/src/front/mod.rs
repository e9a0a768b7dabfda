//! The front desk: takes connections of clients, finds out what they are, and hands those that speak TURN to the shards.
//!
//! Everything here is rare and may take its time: TLS handshakes, the PROXY protocol, HTTP. It has threads of its own, so
//! that nothing in it slows media down. On a port of `tcp` or `http` a client may speak TURN, HTTP or WebSocket, on one of
//! `tls` or `https` the same in TLS; ALPN decides, or else the first bytes (`demux`), however many reads they come in.
//!
//! A connection's way: `accept` takes it and counts it (`limits`), `reception` reads a PROXY header, does the TLS
//! handshake and looks at the first bytes; then it goes to a shard, to `http`, or as it is to another server.

mod accept;
mod certificate;
mod certificates;
mod conn;
mod counts;
mod demux;
mod desk;
mod head;
mod host;
mod http;
mod limits;
mod patient;
mod proxy_header;
mod reception;
mod server_names;
mod upstream;
mod watch;
mod watched;
mod websocket;

#[cfg(test)]
mod tests;

pub use certificate::{BadCertificate, Certificate};
pub use certificates::CertificateStatus;
pub use counts::{Connections, Outcome};
pub use desk::{Front, FrontConfig, FrontStatus};
pub use http::Visitor;
pub(crate) use websocket::PATH as WEB_SOCKET_PATH;
