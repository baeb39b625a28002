//! A fuzz harness on stable Rust: seeded, reproducible, and aware of what a config looks like.
//!
//! Every run follows from a seed and a number. Runs happen in a process of their own, which may take a
//! second of processor time and 512 MiB for each; when it dies, the parent knows which run that was,
//! makes the input smaller for as long as it still fails, and keeps it under `regressions/`.

pub mod corpus;
pub mod grammar;
pub mod mutate;
pub mod parent;
pub mod rng;
pub mod target;
pub mod worker;
