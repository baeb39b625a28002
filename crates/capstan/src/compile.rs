//! Compiling, and telling what was found: for `run`, `plan`, and the commands about configs and orbs.

use capstan_config::diagnostic::{Look, Report};
use capstan_config::{Compiled, Diagnostic, Severity, Sources, compile};
use capstan_model::Trigger;
use capstan_scm::Worktree;
use capstan_server::compile::{Compiler, Done};
use capstan_server::orbs::Orbs;

use crate::exit::{Code, Failure};
use crate::project;
use crate::render::Out;
use crate::render::out::complain;
use crate::session::block_on;

/// Compiles the config of a project for a trigger.
///
/// # Errors
/// The config cannot be read, or the compiler fails.
pub fn project_config(
    worktree: &Worktree,
    trigger: Trigger,
    orbs: &dyn Orbs,
) -> Result<Done, Failure> {
    let text = worktree
        .read_config()
        .map_err(|error| project::unreadable(&error))?;
    let sources = Sources::new(worktree.config_path(), text);
    with(compile, sources, trigger, orbs)
}

/// Compiles, and brings orbs where some are needed; without any it takes no thread and no network.
///
/// # Errors
/// The compiler fails, or there are no threads.
pub fn with(
    compiler: Compiler,
    sources: Sources,
    trigger: Trigger,
    orbs: &dyn Orbs,
) -> Result<Done, Failure> {
    if let Compiled::Done { plan, diagnostics } = compiler(&sources, &trigger) {
        return Ok(Done {
            sources,
            trigger,
            plan,
            diagnostics,
        });
    }
    block_on(capstan_server::compile::compile(
        compiler, sources, trigger, orbs,
    ))?
    .map_err(|error| Failure::setup(format!("the config could not be compiled: {error}")))
}

/// Tells what was found: drawn on standard error, or with `json` as objects on standard output.
pub fn tell(diagnostics: &[Diagnostic], sources: &Sources, json: bool) {
    let report = Report::new(sources);
    if json {
        let mut out = Out::new();
        for diagnostic in diagnostics {
            out.line(&report.json(diagnostic).to_string());
        }
        return;
    }
    let mut look = Look {
        color: crate::render::out::stderr_color(),
        ..Look::default()
    };
    look.width = crate::render::out::stderr_width().unwrap_or(look.width);
    let drawn = report.draw_all(diagnostics, look);
    if !drawn.is_empty() {
        complain(&drawn.join("\n"));
    }
}

/// Refuses what has errors, and what nothing can execute yet; tells about all of it at once.
///
/// # Errors
/// There is no plan that can run.
pub fn accept(diagnostics: &[Diagnostic], sources: &Sources, json: bool) -> Result<(), Failure> {
    tell(diagnostics, sources, json);
    let refused = |diagnostic: &&Diagnostic| diagnostic.severity != Severity::Warning;
    let count = diagnostics.iter().filter(refused).count();
    if count == 0 {
        return Ok(());
    }
    if json {
        return Err(Failure::told(Code::Config));
    }
    let errors = diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error);
    let plural = if count == 1 { "" } else { "s" };
    Err(Failure::config(if errors {
        format!("{count} mistake{plural} in the config")
    } else {
        format!(
            "the config is valid, and uses {count} thing{plural} this version cannot execute yet"
        )
    }))
}
