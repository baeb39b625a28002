//! `capstan logs`: the output of the steps of a run, masked as it was stored.

use capstan_server::Server;
use clap::Args;

use crate::data::Run;
use crate::exit::{Code, Failure};
use crate::history::{self, History};
use crate::render::out::Style;
use crate::render::{Out, neutral};
use crate::session::{print_output, server_failed};

/// Arguments of `capstan logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// A run: an id or its beginning, #NUMBER, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// Only this job: `job` or `workflow/job`
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Only the step with this number, as `capstan show` tells it
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// Print output with every control sequence it contains
    #[arg(long)]
    raw: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such run or job, or it cannot be read.
pub fn main(args: &LogsArgs) -> Result<Code, Failure> {
    history::open(&args.run, args.config.as_deref(), async |server, run| {
        logs(server, run, args).await
    })?;
    Ok(Code::Success)
}

async fn logs(server: &Server, run: &Run, args: &LogsArgs) -> Result<(), Failure> {
    let history = History::read(server, run.file.pipeline).await?;
    let tasks = history.tasks_named(args.job.as_deref());
    if let (Some(job), true) = (&args.job, tasks.is_empty()) {
        return Err(Failure::config(format!("no job {job:?} of this run ran"))
            .hint("`capstan show` lists its jobs"));
    }
    let mut out = Out::new();
    for (label, task) in tasks {
        for step in server.steps(task).await.map_err(server_failed)? {
            if args.step.is_some_and(|wanted| wanted != step.step) {
                continue;
            }
            if args.step.is_none() {
                let name = neutral::one_line(&step.name);
                let head = format!(
                    "{label} › {name} (step {}, {})",
                    step.step,
                    step.status.as_str()
                );
                out.line(&out.paint(Style::Bold, &head));
            }
            print_output(server, &mut out, (task, step.step), args.raw)?;
        }
    }
    Ok(())
}
