//! (crate sys)
