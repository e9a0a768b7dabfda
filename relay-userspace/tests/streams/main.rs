//! Clients over TCP, TLS and WebSockets, handed to a server as the acceptors of connections do it.

mod client;
mod hostile;
mod moving;
mod relaying;
#[path = "../sockets/server.rs"]
#[allow(dead_code, reason = "shared with the other tests of the sockets")]
mod server;
mod slow_readers;
mod websocket;
