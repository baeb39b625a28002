//! (crate testkit)
