//! `capstan rerun`: a run again, or part of it, with the config, parameters and sources it had.

use capstan_model::{PipelineId, Plan, WorkflowId, WorkflowStatus};
use capstan_server::{JobRow, RerunScope, Server, WorkflowRow};
use clap::Args;

use crate::args::{ExecutionArgs, OrbArgs};
use crate::data::Data;
use crate::exit::{Code, Failure};
use crate::history::History;
use crate::orb::sources;
use crate::session::{Session, View, World, block_on, executors, server_failed};
use crate::sockets::Socket;
use crate::{project, run, select};

/// Arguments of `capstan rerun`.
#[derive(Args, Clone, Debug)]
pub struct RerunArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// A run: an id or its beginning, #NUMBER, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// Only this job, `job` or `workflow/job`, in whatever state it is (may be given several times)
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// Only what did not succeed, and what waited for it
    #[arg(long, conflicts_with = "jobs")]
    from_failed: bool,
    /// With --job: what follows it, too
    #[arg(long, requires = "jobs")]
    with_downstream: bool,
    #[command(flatten)]
    execution: ExecutionArgs,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// There is nothing to run again.
pub fn main(args: &RerunArgs) -> Result<Code, Failure> {
    let here = project::find(args.config.as_deref())?;
    let run = Data::locate()?.find(here.root(), &args.run)?;
    let orbs = sources::of(&args.orbs, args.execution.json)?;
    let world = World::of(&args.execution, orbs)?;
    let config = run.file.root.join(&run.file.config_path);
    let worktree = project::find(Some(&config))?;
    let directory = run.directory.clone();
    let pipeline = run.file.pipeline;
    let contexts = world.contexts.clone();
    block_on(async {
        let mut session =
            Session::start(worktree, run, Socket::place()?, &args.execution, world).await?;
        let prepared = prepare(&session.server, pipeline, args, &contexts, &directory).await;
        let (targets, executors) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                session.keep_status().await;
                return Err(failure);
            }
        };
        session.start_runner(executors)?;
        let mut made = Vec::new();
        for (workflow, scope) in targets {
            let again = session
                .server
                .rerun(pipeline, workflow, scope, &project::actor())
                .await;
            match again {
                Ok(id) => made.push(id),
                Err(error) => {
                    let failure = session.why_not(&error);
                    if made.is_empty() {
                        session.keep_status().await;
                    } else {
                        session.shut_down().await;
                    }
                    return Err(failure);
                }
            }
        }
        let only = Some(made);
        session.follow(pipeline, View { only, seen: 0 }).await
    })?
}

type Target = (WorkflowId, RerunScope);

async fn prepare(
    server: &Server,
    pipeline: PipelineId,
    args: &RerunArgs,
    contexts: &std::collections::BTreeMap<String, crate::dotenv::Variables>,
    directory: &std::path::Path,
) -> Result<(Vec<Target>, executors::Executors), Failure> {
    let history = History::read(server, pipeline).await?;
    let plan = server.plan(pipeline).map_err(server_failed)?;
    if let Some(plan) = plan.as_deref() {
        select::check_approvals(plan, &args.execution.approve)?;
        run::warn_of_unknown_contexts::<_>(plan, contexts);
    }
    let targets = targets(&history, args)?;
    let executors = choose(args, plan.as_deref(), directory).await?;
    Ok((targets, executors))
}

async fn choose(
    args: &RerunArgs,
    plan: Option<&Plan>,
    directory: &std::path::Path,
) -> Result<executors::Executors, Failure> {
    executors::choose(
        args.execution.executor,
        plan,
        args.execution.json,
        directory,
    )
    .await
}

/// Which workflows run again, and how much of each: of several reruns of one, the last is meant.
fn targets(history: &History, args: &RerunArgs) -> Result<Vec<Target>, Failure> {
    let newest: Vec<&WorkflowRow> = history.newest_workflows();
    if args.jobs.is_empty() {
        let wanted = |row: &&WorkflowRow| !args.from_failed || !went_well(row.status);
        let scope = if args.from_failed {
            RerunScope::FromFailed
        } else {
            RerunScope::FromStart
        };
        let targets: Vec<Target> = newest
            .into_iter()
            .filter(wanted)
            .map(|row| (row.id, scope.clone()))
            .collect();
        if targets.is_empty() {
            return Err(Failure::config("nothing of this run failed")
                .hint("without --from-failed everything runs again; --job NAME picks a job"));
        }
        return Ok(targets);
    }
    let mut targets: Vec<Target> = Vec::new();
    for name in &args.jobs {
        let (workflow, job) = find_job(history, &newest, name)?;
        let known = targets.iter_mut().find(|(id, _)| *id == workflow.id);
        match known {
            Some((_, RerunScope::Jobs { jobs, .. })) => jobs.push(job.id),
            _ => targets.push((
                workflow.id,
                RerunScope::Jobs {
                    jobs: vec![job.id],
                    with_downstream: args.with_downstream,
                },
            )),
        }
    }
    Ok(targets)
}

fn went_well(status: WorkflowStatus) -> bool {
    status == WorkflowStatus::Success
}

fn find_job<'a>(
    history: &'a History,
    newest: &[&'a WorkflowRow],
    name: &str,
) -> Result<(&'a WorkflowRow, &'a JobRow), Failure> {
    let all: Vec<(&WorkflowRow, &JobRow)> = newest
        .iter()
        .flat_map(|workflow| {
            history
                .jobs_of(workflow.id)
                .map(move |job| (*workflow, job))
        })
        .collect();
    let path =
        |(workflow, job): &(&WorkflowRow, &JobRow)| format!("{}/{}", workflow.name, job.name);
    let mut matching = all
        .iter()
        .filter(|found| select::approves(name, &path(found)));
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(*found),
        (Some(first), Some(second)) => Err(Failure::config(format!(
            "several workflows have a job {name:?}"
        ))
        .hint(format!("name one: {} or {}", path(first), path(second)))),
        (None, _) => {
            let known: Vec<String> = all.iter().map(path).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(select::unknown("job", name, &known))
        }
    }
}
