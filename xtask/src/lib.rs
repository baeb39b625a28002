//! What keeps the repository in shape. `cargo xtask check` runs everything; the rules of [`tidy`] and
//! [`deny`] are also tests, so that plain `cargo test` fails when one is broken.

pub mod deny;
pub mod tidy;

use std::path::PathBuf;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}
