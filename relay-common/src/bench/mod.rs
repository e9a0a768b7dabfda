//! What the programs of the bench and its userspace share: templates of frames for runs without a wire, and frames that
//! say of themselves what they are, so that they can be counted and judged where they arrive.

pub mod arrival;
mod template;
pub mod traffic;

pub use template::{FIRST, FLOWS, Template, WORDS, WRITTEN};
