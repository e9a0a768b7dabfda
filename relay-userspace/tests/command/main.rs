//! The command as its operator meets it: real processes, on the loopback, without privileges.

mod common;
mod probe;
mod run;
mod settings;
