//! (crate store)
