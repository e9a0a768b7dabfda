//! Scale: how fast allocations are made, what memory they take, how many there may be, and how the server answers while
//! they come and go. With the protocol core by itself, and over sockets against the release binary in a namespace.

mod bindings;
mod churn;
mod clients;
mod lab;
mod memory;
mod process;
mod rate;
mod shard;
mod wire;

pub use bindings::{Bindings, bindings};
pub use churn::{Churn, churn};
pub use clients::Users;
pub use lab::Mode;
pub use memory::{CoreMemory, Memory, core_memory, memory};
pub use process::{Resident, resident};
pub use rate::{CoreRate, Rate, core_rate, rate};
