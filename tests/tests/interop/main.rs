//! The server and clients that others wrote: coturn's, the crate `turn-client-proto`, aioice and Chromium.
//!
//! Each test has a network of its own, on which every machine has an address of each family.

mod common;

mod aioice;
mod chromium;
mod turn_client_proto;
mod turnutils_uclient;
