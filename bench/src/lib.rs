//! What the benchmarks share; they are in `benches/` and `examples/`, each with the command that runs it. The capacity bench
//! (`cargo xtask bench`) is the binary of this package.

pub mod figures;
pub mod scale;
pub mod templates;
