//! `capstan runs`: the runs of this project, the newest first.

use clap::Args;

use crate::data::{Data, Run, now_ms};
use crate::exit::{Code, Failure};
use crate::project;
use crate::render::Out;
use crate::render::out::Style;

/// Arguments of `capstan runs`.
#[derive(Args, Clone, Debug)]
pub struct RunsArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no place where runs are kept.
pub fn main(args: &RunsArgs) -> Result<Code, Failure> {
    let here = project::find(args.config.as_deref())?;
    let runs = Data::locate()?.runs_of(here.root());
    let mut out = Out::new();
    if runs.is_empty() && !args.json {
        out.line("no runs of this project yet: capstan run");
    }
    for run in runs.iter().take(args.limit) {
        let line = if args.json {
            json(run)
        } else {
            line(&out, run)
        };
        out.line(&line);
    }
    Ok(Code::Success)
}

fn json(run: &Run) -> String {
    serde_json::json!({
        "pipeline": run.file.pipeline,
        "number": run.file.number,
        "status": run.status(),
        "label": run.file.label,
        "started_at_ms": run.file.started_at_ms,
        "directory": run.directory,
    })
    .to_string()
}

fn line(out: &Out, run: &Run) -> String {
    let status = run.status();
    let style = match status {
        "success" => Style::Good,
        "failed" => Style::Bad,
        "on_hold" | "running" => Style::Wait,
        _ => Style::Dim,
    };
    let id = run.file.pipeline.to_string();
    format!(
        "{}  {:>5}  {}  {:>12}  {}",
        id.get(..8).unwrap_or(&id),
        format!("#{}", run.file.number),
        out.paint(style, &format!("{status:<11}")),
        age(now_ms() - run.file.started_at_ms),
        run.file.label,
    )
}

fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
