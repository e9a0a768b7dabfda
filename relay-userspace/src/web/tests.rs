//! The pages over a real connection, as `admin/tests.rs` asks for those of the operator.

mod hostile;
mod ice;
mod pages;
mod server;
