//! The userspace relay over real sockets, on the loopback.

mod bridge;
mod caller;
mod client;
mod dtls;
mod hot_path;
mod icmp;
mod ip_header;
mod lifecycle;
mod load;
mod mobility;
mod relaying;
mod server;
mod sessions;
mod streams;
mod tcp_relay;
