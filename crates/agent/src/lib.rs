//! (crate agent)
