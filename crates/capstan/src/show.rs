//! `capstan show`: workflows, jobs and steps of a run, and how they ended.

use capstan_server::{Server, StepRow};
use clap::Args;

use crate::data::Run;
use crate::exit::{Code, Failure};
use crate::history::{self, History};
use crate::render::out::Style;
use crate::render::{Out, duration, neutral, summary};
use crate::session::server_failed;

/// Arguments of `capstan show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// A run: an id or its beginning, #NUMBER, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub fn main(args: &ShowArgs) -> Result<Code, Failure> {
    history::open(&args.run, args.config.as_deref(), async |server, run| {
        show(server, run).await
    })?;
    Ok(Code::Success)
}

async fn show(server: &Server, run: &Run) -> Result<(), Failure> {
    let mut out = Out::new();
    let head = format!(
        "run {} (#{}) {}",
        run.file.pipeline, run.file.number, run.file.label
    );
    out.line(&out.paint(Style::Bold, head.trim_end()));
    if !server.pipelines().contains(&run.file.pipeline) {
        out.line("  ended before anything of it was stored: nothing ran");
        return Ok(());
    }
    let history = History::read(server, run.file.pipeline).await?;
    for workflow in &history.workflows {
        let again = if workflow.rerun_of.is_some() {
            "  (rerun)"
        } else {
            ""
        };
        let word = workflow.status.as_str();
        out.line(&format!("{}  {word}{again}", workflow.name));
        for job in history.jobs_of(workflow.id) {
            let took = match (job.started_at_ms, job.stopped_at_ms) {
                (Some(from), Some(to)) => duration(to - from),
                _ => String::new(),
            };
            let carried = if job.carried_from.is_some() {
                "  (carried over)"
            } else {
                ""
            };
            let mark = out.paint(summary::style(job.status), summary::mark(job.status));
            let line = format!(
                "  {mark} {}  {}  {took}{carried}",
                job.name,
                job.status.as_str()
            );
            out.line(line.trim_end());
            if job.carried_from.is_some() {
                continue;
            }
            for task in history.tasks_of(job.id) {
                if job.parallelism > 1 || task.id.attempt > 1 {
                    out.line(&format!(
                        "    node {}, attempt {}",
                        task.id.node, task.id.attempt
                    ));
                }
                for step in server.steps(task.id).await.map_err(server_failed)? {
                    out.line(&step_line(&step));
                }
            }
        }
    }
    Ok(())
}

fn step_line(step: &StepRow) -> String {
    let took = step
        .ended_at_ms
        .map_or_else(String::new, |to| duration(to - step.started_at_ms));
    let code = step.exit_code.filter(|code| *code != 0);
    let code = code.map_or_else(String::new, |code| format!("  exit code {code}"));
    let name = neutral::one_line(&step.name);
    format!(
        "    {:>3}  {name}  {}  {took}{code}",
        step.step,
        step.status.as_str()
    )
}
