//! What the benchmarks share; they are in `benches/` and `examples/`, each with the command that runs it.

pub mod templates;
