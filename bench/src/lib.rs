//! What the benchmarks share; they are in `benches/` and `examples/`, each with the command that runs it. The capacity bench
//! (`cargo xtask bench`) is the binary of this package.

pub mod allocations;
pub mod core_config;
pub mod figures;
pub mod lab;
pub mod report;
pub mod runs;
pub mod scale;
pub mod streams;
pub mod subjects;
pub mod templates;
pub mod traffic;
