//! What is told of the runs.
