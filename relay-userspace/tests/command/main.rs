//! The command as its operator meets it: real processes, on the loopback, without privileges.

mod client;
mod common;
mod doctor;
mod drain;
mod dtls;
mod probe;
mod reload;
mod run;
mod sessions;
mod settings;
mod streams;
mod tunnel;
