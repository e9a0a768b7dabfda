//! What is run: named runs over families, kinds, flows, sizes and loads, in rounds in which the subjects take turns.

pub mod engine;
#[cfg(test)]
pub(crate) mod fake;
pub mod measure;
pub mod plan;
pub mod results;
pub mod search;
pub mod setup;
pub mod statistics;
pub mod subject;
