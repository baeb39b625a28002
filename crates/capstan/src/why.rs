//! `capstan why`: the verdicts of `plan`, and what came after them.

use capstan_server::Server;
use clap::Args;
use serde::Serialize;

use crate::data::Run;
use crate::exit::{Code, Failure};
use crate::history::{self, History};
use crate::render::out::Style;
use crate::render::{Out, neutral};
use crate::session::server_failed;
use crate::verdict::{self, Verdict};
use crate::{plan, select};

/// Arguments of `capstan why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// A run: an id or its beginning, #NUMBER, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Only this job: `job` or `workflow/job`
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// A verdict, and what came after it. `capstan why --json` prints these, one a line.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    verdict: Verdict,
    became: Vec<Became>,
}

/// How a workflow or job stands, in one of the times it was run.
#[derive(Serialize)]
struct Became {
    status: &'static str,
    /// Why, in words; empty for a workflow.
    reason: String,
    /// Whether it was run again.
    rerun: bool,
}

impl Answer {
    fn of(verdict: Verdict, plan: &capstan_model::Digest, history: &History) -> Self {
        let mut became = Vec::new();
        for workflow in &history.workflows {
            if workflow.name != verdict.workflow || workflow.plan != *plan {
                continue;
            }
            let rerun = workflow.rerun_of.is_some();
            let Some(job) = &verdict.job else {
                became.push(Became {
                    status: workflow.status.as_str(),
                    reason: String::new(),
                    rerun,
                });
                continue;
            };
            for row in history.jobs_of(workflow.id).filter(|row| row.name == *job) {
                became.push(Became {
                    status: row.status.as_str(),
                    reason: row.reason.clone(),
                    rerun,
                });
            }
        }
        Self { verdict, became }
    }

    fn path(&self) -> Option<String> {
        let job = self.verdict.job.as_ref()?;
        Some(format!("{}/{job}", self.verdict.workflow))
    }
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
    let plans = server.plans(run.file.pipeline).map_err(server_failed)?;
    if plans.is_empty() {
        return Err(Failure::config(
            "the config of this run did not compile; nothing was decided",
        ));
    }
    let history = History::read(server, run.file.pipeline).await?;
    let mut out = Out::new();
    let mut found = false;
    let verdicts = plans.iter().flat_map(|(digest, plan)| {
        let all = verdict::all(plan);
        all.into_iter().map(move |verdict| (digest, verdict))
    });
    for (plan, verdict) in verdicts {
        let answer = Answer::of(verdict, plan, &history);
        let path = answer.path();
        if let Some(wanted) = &args.job
            && !path.is_some_and(|path| select::approves(wanted, &path))
        {
            continue;
        }
        found = true;
        if args.json {
            let text = serde_json::to_string(&answer)
                .map_err(|error| Failure::setup(format!("cannot write JSON: {error}")))?;
            out.line(&text);
        } else {
            print(&mut out, &answer);
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

fn print(out: &mut Out, answer: &Answer) {
    let tail = plan::tail(out, &answer.verdict);
    let Some(job) = &answer.verdict.job else {
        let head = out.paint(Style::Bold, &answer.verdict.workflow);
        out.line(&format!("{head}  {tail}"));
        return;
    };
    out.line(&format!("  {job}  {tail}"));
    for became in &answer.became {
        let again = if became.rerun { "rerun: " } else { "" };
        let reason = neutral::one_line(&became.reason);
        let colon = if reason.is_empty() { "" } else { ": " };
        let text = format!("    {again}{}{colon}{reason}", became.status);
        out.line(&out.paint(Style::Dim, &text));
    }
}
