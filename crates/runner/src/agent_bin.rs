//! Where the agent's program is.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// A program that is the agent when called with these arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentBinary {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// The agent for this machine: what `CAPSTAN_AGENT` names, else `capstan-agent` beside this program,
/// else this program, which is static and is its own agent as `capstan agent`.
///
/// # Errors
/// `CAPSTAN_AGENT` names nothing, or this program cannot find itself.
pub fn agent() -> io::Result<AgentBinary> {
    if let Some(named) = std::env::var_os("CAPSTAN_AGENT") {
        // Links to it are made elsewhere.
        let program = std::path::absolute(named)?;
        return if program.is_file() {
            Ok(AgentBinary {
                program,
                args: Vec::new(),
            })
        } else {
            let why = format!(
                "CAPSTAN_AGENT names {}, which does not exist",
                program.display()
            );
            Err(io::Error::new(io::ErrorKind::NotFound, why))
        };
    }
    let this = std::env::current_exe()?;
    let beside = this.with_file_name("capstan-agent");
    if beside.is_file() {
        return Ok(AgentBinary {
            program: beside,
            args: Vec::new(),
        });
    }
    Ok(AgentBinary {
        program: this,
        args: vec![OsString::from("agent")],
    })
}
