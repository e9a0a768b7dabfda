//! The server and clients that others wrote: coturn's, the crate `turn-client-proto`, OpenSSL's, aioice, libnice, Chromium
//! and Firefox. And our clients with servers and proxies that others wrote: coturn and squid.
//!
//! Each test has a network of its own, on which every machine has an address of each family.

mod common;

mod a_tunnel_over_websocket;
mod aioice;
mod chromium;
mod firefox;
mod libnice;
mod openssl_s_client;
mod probe_and_tunnel_through_proxies;
mod probe_speaks_to_coturn;
mod tunnels;
mod turn_client_proto;
mod turnutils_uclient;
mod turnutils_uclient_over_dtls;
mod turnutils_uclient_over_tls;
