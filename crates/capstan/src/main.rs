//! (crate capstan)
fn main() {}
