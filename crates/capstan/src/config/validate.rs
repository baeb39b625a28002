//! `capstan config validate`: everything that is wrong with any number of files.

use std::path::{Path, PathBuf};

use capstan_config::diagnostic::{Report, sarif};
use capstan_config::{Compiled, Diagnostic, Severity, Sources};
use capstan_model::Trigger;
use capstan_server::compile::Done;
use clap::{Args, ValueEnum};

use super::compile_one;
use crate::args::ValueArgs;
use crate::compile;
use crate::exit::{Code, Failure};
use crate::orb::sources;
use crate::render::Out;
use crate::render::out::complain;

/// Arguments of `capstan config validate`.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// Config files, directories that hold .circleci/config.yml, `-` for standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    values: ValueArgs,
    /// How to tell what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How findings are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Drawn under the source, for people
    #[default]
    Text,
    /// One JSON object a line for each finding
    Json,
    /// One SARIF 2.1.0 document, for code hosts and editors
    Sarif,
}

/// Runs the subcommand.
///
/// # Errors
/// A config is wrong or cannot be read.
pub fn main(args: &ValidateArgs) -> Result<Code, Failure> {
    let format = if args.json { Format::Json } else { args.format };
    let paths: Vec<Option<&Path>> = match args.paths.as_slice() {
        [] => vec![None],
        paths => paths.iter().map(|path| Some(path.as_path())).collect(),
    };
    let orbs = sources::of(&args.values.orbs, format != Format::Text)?;
    let mut code = Code::Success;
    let mut found: Vec<(Sources, Vec<Diagnostic>)> = Vec::new();
    let mut unread = Vec::new();
    for path in paths {
        match compile_one(path, &args.values, &*orbs, check) {
            Ok((name, done)) => {
                if done.has(Severity::Error) {
                    code = Code::Config;
                }
                match format {
                    Format::Text => text(&name, &done),
                    Format::Json => compile::tell(&done.diagnostics, &done.sources, true),
                    Format::Sarif => found.push((done.sources, done.diagnostics)),
                }
            }
            // A file that cannot be read does not keep the others from being looked at.
            Err(failure) => {
                complain(&failure.to_string());
                unread.push(failure.message);
                code = failure.code;
            }
        }
    }
    if format == Format::Sarif {
        Out::new().line(&format!("{:#}", sarif(&found, &unread)));
    }
    if code == Code::Success {
        Ok(code)
    } else {
        Err(Failure::told(code))
    }
}

fn text(name: &str, done: &Done) {
    // What this version cannot execute is no mistake of the file, and is listed behind it.
    let (later, told): (Vec<Diagnostic>, Vec<Diagnostic>) = done
        .diagnostics
        .iter()
        .cloned()
        .partition(|found| found.severity == Severity::Unsupported);
    compile::tell(&told, &done.sources, false);
    if done.has(Severity::Error) {
        complain(&summary(name, &told));
        return;
    }
    let far = if later.is_empty() {
        ""
    } else {
        ", as far as this version understands it"
    };
    let mut out = Out::new();
    out.line(&format!("{name} is valid{far}"));
    let report = Report::new(&done.sources);
    for found in later {
        let line = report.place(found.span).line;
        out.line(&format!("  line {line}: {}", found.message));
    }
}

/// How much was found, and where to read more.
fn summary(name: &str, found: &[Diagnostic]) -> String {
    let count = |severity, word: &str| {
        let n = found.iter().filter(|one| one.severity == severity).count();
        let s = if n == 1 { "" } else { "s" };
        (n > 0).then(|| format!("{n} {word}{s}"))
    };
    let counts: Vec<String> = count(Severity::Error, "error")
        .into_iter()
        .chain(count(Severity::Warning, "warning"))
        .collect();
    let code = found.iter().find(|one| one.severity == Severity::Error);
    let code = code.map_or("CODE", |one| one.code);
    format!(
        "\n{name}: {}. More about one: capstan config explain {code}",
        counts.join(", ")
    )
}

/// Finds what is wrong without writing a plan down, which is half of the work.
fn check(sources: &Sources, trigger: &Trigger) -> Compiled {
    match capstan_config::check(sources, trigger) {
        Ok(diagnostics) => Compiled::Done {
            plan: None,
            diagnostics,
        },
        Err(missing) => Compiled::Missing(missing),
    }
}
