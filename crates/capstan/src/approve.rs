//! `capstan approve`: a run that is on hold goes on.

use capstan_model::{JobId, JobStatus, WorkflowId};
use clap::Args;

use crate::args::{ExecutionArgs, OrbArgs};
use crate::data::Data;
use crate::exit::{Code, Failure};
use crate::history::History;
use crate::session::{Session, View, World, block_on, executors, server_failed};
use crate::sockets::Socket;
use crate::{project, run, select};

/// Arguments of `capstan approve`.
#[derive(Args, Clone, Debug)]
pub struct ApproveArgs {
    /// The config of the project, when it is not the one you stand in
    #[arg(long, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// An approval job that waits, `job` or `workflow/job`; before it the run, if it is not the last one:
    /// an id or its beginning, or #NUMBER
    #[arg(value_name = "NAME", num_args = 1..=2, required = true)]
    words: Vec<String>,
    #[command(flatten)]
    execution: ExecutionArgs,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such run, or nothing in it waits for this approval.
pub fn main(args: &ApproveArgs) -> Result<Code, Failure> {
    let (name, before) = match args.words.split_last() {
        Some((name, before)) => (name, before.first()),
        None => return Err(Failure::config("which approval?").hint("capstan approve NAME")),
    };
    let here = project::find(args.config.as_deref())?;
    let run = Data::locate()?.find(here.root(), before.map_or("latest", String::as_str))?;
    let orbs = crate::orb::sources::of(&args.orbs, args.execution.json)?;
    let world = World::of(&args.execution, orbs)?;
    let config = run.file.root.join(&run.file.config_path);
    let worktree = project::find(Some(&config))?;
    let directory = run.directory.clone();
    let pipeline = run.file.pipeline;
    let contexts = world.contexts.clone();
    let execution = &args.execution;
    block_on(async {
        let mut session = Session::start(worktree, run, Socket::place()?, execution, world).await?;
        let prepared = async {
            let history = History::read(&session.server, pipeline).await?;
            let (workflow, job) = waiting(&history, name)?;
            let plan = session.server.plan(pipeline).map_err(server_failed)?;
            if let Some(plan) = plan.as_deref() {
                select::check_approvals(plan, &execution.approve)?;
                run::warn_of_unknown_contexts(plan, &contexts);
            }
            let (choice, json) = (execution.executor, execution.json);
            let executors = executors::choose(choice, plan.as_deref(), json, &directory).await?;
            // What happened before has been seen.
            let seen = session.server.position(pipeline).map_err(server_failed)?;
            session
                .server
                .approve(pipeline, workflow, job, &project::actor())
                .await
                .map_err(|error| session.why_not(&error))?;
            let only = Some(vec![workflow]);
            Ok((executors, View { only, seen }))
        };
        match prepared.await {
            Ok((executors, view)) => {
                session.start_runner(executors)?;
                session.follow(pipeline, view).await
            }
            Err(failure) => {
                session.keep_status().await;
                Err(failure)
            }
        }
    })?
}

/// The approval job of this name that waits.
fn waiting(history: &History, name: &str) -> Result<(WorkflowId, JobId), Failure> {
    let mut found = Vec::new();
    let mut known = Vec::new();
    for workflow in history.newest_workflows() {
        let on_hold = |row: &&capstan_server::JobRow| row.status == JobStatus::OnHold;
        for job in history.jobs_of(workflow.id).filter(on_hold) {
            let path = format!("{}/{}", workflow.name, job.name);
            if select::approves(name, &path) {
                found.push((workflow.id, job.id));
            }
            known.push(path);
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] if known.is_empty() => Err(Failure::config("nothing in this run waits for an approval")
            .hint("`capstan show` says how it stands; `capstan runs` lists the others")),
        [] => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(select::unknown("approval that waits", name, &known))
        }
        _ => Err(
            Failure::config(format!("several workflows wait for {name:?}"))
                .hint(format!("name one: {}", known.join(", "))),
        ),
    }
}
