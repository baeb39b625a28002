//! (crate client)
