//! The small agent program, spoken to as a runner speaks to it: frames in, frames out.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod cancel;
mod checkout;
mod flow;
mod greeting;
mod harness;
mod jobcli;
mod steps;
mod user;
