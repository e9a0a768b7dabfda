//! Benchmarks: see `benches/`, each with the command that runs it.
