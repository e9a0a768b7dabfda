//! The server and clients that others wrote.
//!
//! Each test has a network of its own, on which every machine has an address of each family.

mod common;

mod aioice;
mod turn_client_proto;
mod turnutils_uclient;
