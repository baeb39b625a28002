//! The agent as a program of its own: small and static, for other people's containers.

use std::process::ExitCode;

fn main() -> ExitCode {
    capstan_agent::main(std::env::args_os())
}
