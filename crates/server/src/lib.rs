//! Where effects become IO. Everything goes through four verbs of `Server`: start, trigger, apply,
//! follow. Server and runner meet only over the wire, even in one process.

pub mod live;
pub mod settings;

pub use settings::Settings;
