//! `capstan why`: the verdicts of `plan`, and what came after them.

use capstan_server::Server;
use clap::Args;

use crate::data::Run;
use crate::exit::{Code, Failure};
use crate::history::{self, History};
use crate::render::out::Style;
use crate::render::{Out, neutral};
use crate::session::server_failed;
use crate::{plan, select, verdict};

/// Arguments of `capstan why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// A run: an id or its beginning, #NUMBER, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// Only this job: `job` or `workflow/job`
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such run or job, or it cannot be read.
pub fn main(args: &WhyArgs) -> Result<Code, Failure> {
    history::open(&args.run, args.config.as_deref(), async |server, run| {
        why(server, run, args).await
    })?;
    Ok(Code::Success)
}

async fn why(server: &Server, run: &Run, args: &WhyArgs) -> Result<(), Failure> {
    let plan = server.plan(run.file.pipeline).map_err(server_failed)?;
    let Some(plan) = plan else {
        return Err(Failure::config(
            "the config of this run did not compile; nothing was decided",
        ));
    };
    let history = History::read(server, run.file.pipeline).await?;
    let mut out = Out::new();
    let mut found = false;
    for verdict in verdict::all(&plan) {
        let Some(job) = &verdict.job else {
            if args.job.is_none() {
                let head = out.paint(Style::Bold, &verdict.workflow);
                out.line(&format!("{head}  {}", plan::tail(&out, &verdict)));
            }
            continue;
        };
        let path = format!("{}/{job}", verdict.workflow);
        if args
            .job
            .as_ref()
            .is_some_and(|wanted| !select::approves(wanted, &path))
        {
            continue;
        }
        found = true;
        out.line(&format!("  {job}  {}", plan::tail(&out, &verdict)));
        for workflow in history
            .workflows
            .iter()
            .filter(|row| row.name == verdict.workflow)
        {
            for row in history.jobs_of(workflow.id).filter(|row| row.name == *job) {
                let again = if workflow.rerun_of.is_some() {
                    "rerun: "
                } else {
                    ""
                };
                let reason = neutral::one_line(&row.reason);
                let reason = if reason.is_empty() {
                    reason
                } else {
                    format!(": {reason}")
                };
                let text = format!("    {again}{}{reason}", row.status.as_str());
                out.line(&out.paint(Style::Dim, &text));
            }
        }
    }
    match &args.job {
        Some(job) if !found => Err(
            Failure::config(format!("there is no job {job:?} in this run"))
                .hint("`capstan show` lists its jobs"),
        ),
        _ => Ok(()),
    }
}
